"""A finished tab: its inputs, its stage, and the conversion between inputs and requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.catalog.schema import Defaults
from ui.controls import IN_ORDER, QUIET
from ui.run import Picture, Visit, load_made
from ui.stage import Stage, or_skip

EXAMPLES = Path(__file__).parent / "examples"  # pictures with their requests, a folder per task
# the preset, and the fields that it has defaults for
MODELS_OWN = ("preset", *(field.name for field in fields(Defaults)))
Values = dict[str, Any]
Component = gr.components.Component


def fields_of(request: Any) -> Values:
    """A request's fields as widget values; the seed becomes text, since its box may be empty."""
    values = {f.name: getattr(request, f.name) for f in fields(request)}
    return values | {"seed": str(request.seed)}


@dataclass(frozen=True)
class Tab:
    """A finished tab, as the rest of the page uses it.

    `inputs` are the widgets that make a request, by name. Most have the name and the value of a
    request field. A tab whose inputs differ from the fields (a painted canvas is both picture and
    mask) provides `to_fields` and `to_values`, which convert between the two.
    """

    request_type: type
    inputs: dict[str, Component]
    stage: Stage
    restore: gr.UploadButton
    link: gr.Button
    undo: gr.Button  # restores the settings before the last replacement
    estimate: gr.HTML  # expected time and memory of the request
    examples: gr.Gallery | None = None
    to_fields: Callable[[Values], Values] = dict  # input values -> request fields
    to_values: Callable[[Any], Values] = fields_of  # request -> input values
    # (picture of another tab, current preset and prompt) -> input values; None: takes no pictures
    receive: Callable[[Path, str, str], Values] | None = None
    by_hand: gr.Checkbox | None = None  # whether the user chose the preset
    not_kept: frozenset[str] = frozenset()  # inputs too large for links and the browser's memory
    not_linked: frozenset[str] = frozenset()  # further inputs left out of links

    @property
    def task(self) -> str:
        """The name of the task, which is also the id of the tab."""
        return self.request_type.task

    @property
    def kept(self) -> dict[str, Component]:
        """The inputs that the browser remembers."""
        return {name: box for name, box in self.inputs.items() if name not in self.not_kept}

    @property
    def linked(self) -> dict[str, Component]:
        """The inputs that links include."""
        return {name: box for name, box in self.kept.items() if name not in self.not_linked}

    def updates(self, request: Any) -> dict[Component, Any]:
        """Updates that show a request's settings in the inputs."""
        return self.widgets(self.to_values(request))

    def widgets(self, values: Values) -> dict[Component, Any]:
        """Key values by widget instead of by input name; other names are dropped."""
        return {self.inputs[name]: values[name] for name in self.inputs if name in values}

    def take(self, values: Values, preset: str, by_hand: bool) -> dict[Component, Any]:
        """Updates for an incoming picture, whose values may suggest a preset.

        Args:
            values: Input values by name.
            preset: The current preset. If it is the suggested one, its settings are left alone.
            by_hand: Whether the user chose the current preset. If so, it is kept.
        """
        if by_hand or values.get("preset") == preset:
            values = {name: value for name, value in values.items() if name not in MODELS_OWN}
        return self.widgets(values)

    def open(self, path: Path, visit: Visit) -> dict[Component, Any]:
        """Show a picture that Latent Canvas made, and its settings in the inputs."""
        made = load_made(path)
        visit.shown = Picture.of(path, made)
        return self.updates(made) | self.stage.show_one(visit.shown)


def connect(tab: Tab, reuse: gr.Button) -> None:
    """Connect what fills in settings: examples, "Use these settings", "Seed of the picture"."""
    place, widgets = tab.stage, list(tab.inputs.values())

    def take_example(visit: Visit, event: gr.SelectData) -> Mapping[Component, Any]:
        return tab.open(example_paths(tab.task)[event.index], visit)

    def use(visit: Visit) -> Mapping[Component, Any]:
        return or_skip(tab.updates(load_made(Path(visit.shown.path))) if visit.shown else {})

    def seed(visit: Visit) -> Any:
        if visit.shown is None:
            return [gr.skip(), gr.skip()]
        request = visit.shown.request
        return [str(request.seed), request.variations]

    if tab.examples is not None:
        shown = [*widgets, *place.shown_one]
        fills(tab.task, tab.examples, take_example, place.visit, shown)
    place.use.click(use, place.visit, widgets, **QUIET)
    seeds = [tab.inputs["seed"], tab.inputs["variations"]]
    reuse.click(seed, place.visit, seeds, **QUIET)


def fills(task: str, gallery: gr.Gallery, take: Callable[..., Any], *places: Any) -> None:
    """Let a click on an example fill in settings; Generate waits until it has, see ui/row.js.

    Args:
        task: The tab's task.
        gallery: The examples.
        take: Event handler that returns the new values.
        places: Gradio inputs and outputs of `take`.
    """
    event = gallery.select(take, *places, **IN_ORDER, **QUIET)
    for follow, is_there in ((event.success, "true"), (event.failure, "false")):
        js = f"() => latentCanvas.filled({task!r}, {is_there})"
        follow(None, None, None, js=js, **QUIET)


def example_paths(task: str) -> list[Path]:
    """Paths of a task's example pictures, which contain their requests."""
    return sorted((EXAMPLES / task).glob("*.png"))
