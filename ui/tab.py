"""What a tab is to others: its widgets as a request, its stage, and how settings come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.catalog.schema import Defaults
from ui.controls import QUIET
from ui.run import Picture, Visit, load_made
from ui.stage import Stage, or_skip

EXAMPLES = Path(__file__).parent / "examples"  # pictures that were made here, a folder per task
MODELS_OWN = ("preset", *(field.name for field in fields(Defaults)))  # a model and what it brings
Values = dict[str, Any]
Component = gr.components.Component


def fields_of(request: Any) -> Values:
    """A request's fields as widgets show them: the seed is text, since it may be left open."""
    values = {f.name: getattr(request, f.name) for f in fields(request)}
    return values | {"seed": str(request.seed)}


@dataclass(frozen=True)
class Tab:
    """What others connect to.

    `inputs` are the widgets that make a request, by name. Most are called as the request's field
    and hold its value as it is. A tab whose widgets are not its fields (a painted canvas is both
    picture and mask) says how to get from the widgets' values to the fields', and back.
    """

    request_type: type
    inputs: dict[str, Component]
    stage: Stage
    restore: gr.UploadButton
    link: gr.Button
    undo: gr.Button  # brings back the settings that were replaced
    estimate: gr.HTML  # what the request will take
    examples: gr.Gallery | None = None
    to_fields: Callable[[Values], Values] = dict  # the widgets' values -> the request's fields
    to_values: Callable[[Any], Values] = fields_of  # and back
    # widgets' values for another tab's picture, and the model that is chosen
    receive: Callable[[Path, str], Values] | None = None
    by_hand: gr.Checkbox | None = None  # whether a person chose the model
    not_kept: frozenset[str] = frozenset()  # inputs too large for links and the browser's memory
    not_linked: frozenset[str] = frozenset()  # and what links do not need

    @property
    def task(self) -> str:
        """The name of the task, and of the tab."""
        return self.request_type.task

    @property
    def kept(self) -> dict[str, Component]:
        """The inputs that the browser remembers."""
        return {name: box for name, box in self.inputs.items() if name not in self.not_kept}

    @property
    def linked(self) -> dict[str, Component]:
        """The inputs that travel in links."""
        return {name: box for name, box in self.kept.items() if name not in self.not_linked}

    def updates(self, request: Any) -> dict[Component, Any]:
        """Widgets' new values for a request."""
        return self.widgets(self.to_values(request))

    def widgets(self, values: Values) -> dict[Component, Any]:
        """Values by widget instead of by name."""
        return {self.inputs[name]: values[name] for name in self.inputs if name in values}

    def take(self, values: Values, preset: str, by_hand: bool) -> dict[Component, Any]:
        """Widgets' new values for a picture that comes in, which may suggest a model.

        Args:
            values: By name.
            preset: The model that is chosen; what it brought is left if it is the one suggested.
            by_hand: Whether a person chose it: then it stays.
        """
        if by_hand or values.get("preset") == preset:
            values = {name: value for name, value in values.items() if name not in MODELS_OWN}
        return self.widgets(values)

    def open(self, path: Path, visit: Visit) -> dict[Component, Any]:
        """A picture that was made here comes on show, and its settings into the widgets."""
        made = load_made(path)
        visit.shown = Picture.of(path, made)
        return self.updates(made) | self.stage.show_one(visit.shown)


def connect(tab: Tab, reuse: gr.Button) -> None:
    """Settings from an example, from the picture on show, and into the browser's memory."""
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
    """Let an example of a gallery fill in what `take` gives; Generate waits for it, see ui/row.js.

    Args:
        task: Whose tab it is.
        gallery: The examples.
        take: From what stands in the first of `places` to what stands in the second.
        places: Inputs and outputs.
    """
    # each choice counts, in the order in which they were made
    in_order = {"trigger_mode": "multiple", "concurrency_limit": 1}
    event = gallery.select(take, *places, **in_order, **QUIET)
    for follow, is_there in ((event.success, "true"), (event.failure, "false")):
        js = f"() => latentCanvas.filled({task!r}, {is_there})"
        follow(None, None, None, js=js, **QUIET)


def example_paths(task: str) -> list[Path]:
    """Pictures of a task that were made here, each with its request inside."""
    return sorted((EXAMPLES / task).glob("*.png"))
