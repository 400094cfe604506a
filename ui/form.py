"""The left side of a tab: widgets for a request's fields, the model, the seed, and what else every
task has. A tab adds what only its task has; see `ui/tabs/text_to_image.py` for the shortest one.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import gradio as gr

from ldm import metadata
from ldm.catalog.registry import list_presets, load_preset
from ldm.catalog.schema import Preset
from ldm.errors import LDMError
from ui.controls import widget
from ui.run import Visit, fail
from ui.stage import QUIET, Stage, named

RATIOS = ((1, 1), (3, 2), (2, 1), (4, 1), (2, 3))  # across, down
EXAMPLES = Path(__file__).parent / "examples"  # pictures that were made here, a folder per task
Values = dict[str, Any]
Component = gr.components.Component


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
    estimate: gr.HTML  # what the request will take
    examples: gr.Gallery | None = None
    to_fields: Callable[[Values], Values] = dict  # the widgets' values -> the request's fields
    to_values: Callable[[Any], Values] = lambda request: fields_of(request)  # and back
    receives: str | None = None  # the input that takes a picture from another tab
    receive: Callable[[Path], Any] = str  # a picture's path -> the value of that input
    not_kept: frozenset[str] = frozenset()  # inputs too large for links and the browser's memory

    @property
    def task(self) -> str:
        """The name of the task, and of the tab."""
        return self.request_type.task

    @property
    def kept(self) -> dict[str, Component]:
        """The inputs that travel in links and that the browser remembers."""
        return {name: box for name, box in self.inputs.items() if name not in self.not_kept}

    def updates(self, request: Any) -> dict[Component, Any]:
        """Widgets' new values for a request."""
        values = self.to_values(request)
        return {self.inputs[name]: values[name] for name in self.inputs if name in values}


def fields_of(request: Any) -> Values:
    """A request's fields as widgets show them: the seed is text, since it may be left open."""
    values = {f.name: getattr(request, f.name) for f in fields(request)}
    return values | {"seed": str(request.seed)}


@dataclass
class Form:
    """The widgets of one tab while they are made; `inputs` fills up in the order of making."""

    request_type: type
    presets: list[Preset] = field(init=False)
    start: Preset = field(init=False)  # the preset that is chosen at first
    inputs: dict[str, Component] = field(default_factory=dict)
    estimate: gr.HTML | None = None  # what the request will take; made with the buttons

    def __post_init__(self) -> None:
        self.presets = list_presets(task=self.request_type.task)
        chosen = next(f.default for f in fields(self.request_type) if f.name == "preset")
        on_disk = [preset for preset in self.presets if preset.is_on_disk] or self.presets
        self.start = next((preset for preset in on_disk if preset.name == chosen), on_disk[0])

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.request_type.task

    def add(self, name: str, **options: Any) -> Component:
        """The widget of a request field, see `ui.controls.widget`."""
        self.inputs[name] = widget(self.request_type, name, **options)
        return self.inputs[name]

    def named(self, name: str) -> dict[str, Any]:
        """An id of this tab alone, and a class for what looks alike in all tabs."""
        return named(self.task, name)

    def act(self) -> tuple[gr.Button, gr.Button]:
        """Generate and Cancel."""
        with gr.Row(**self.named("act")):
            go = gr.Button("Generate", variant="primary", **self.named("go"))
            stop = gr.Button("Cancel", visible="hidden", **self.named("stop"))
        self.estimate = gr.HTML(padding=False, **self.named("estimate"))
        return go, stop

    def model(self, *, sized: bool) -> None:
        """Which model; and, for a task that chooses it freely, at which size."""
        with gr.Column(**self.named("model")):
            choices = [(_title(preset), preset.name) for preset in self.presets]
            chooser = self.add(
                "preset", kind=gr.Dropdown, choices=choices, value=self.start.name, info=None
            )
            about = gr.HTML(_about(self.start), padding=False, **self.named("trained"))
            if sized:
                self._size(chooser)
        chooser.change(lambda name: _about(find_preset(name)), chooser, about, **QUIET)

    def _size(self, chooser: Component) -> None:
        with gr.Row(elem_classes="ratios"):
            ratios = [_ratio_button(*ratio) for ratio in RATIOS]
        with gr.Row(elem_classes="pair"):
            sides = [
                self.add("width", value=self.start.width, min_width=100),
                self.add("height", value=self.start.height, min_width=100),
            ]
        for button, (across, down) in zip(ratios, RATIOS, strict=True):

            def size(name: str, across: int = across, down: int = down) -> tuple[int, int]:
                return sides_of(find_preset(name), across, down)

            button.click(size, chooser, sides, **QUIET)

    def seed_and_count(self, count: int = 1) -> tuple[gr.Button, gr.Button]:
        """Seed and number of pictures; returns the buttons for a new seed and the picture's."""
        with gr.Column(**self.named("choice")):
            with gr.Row(**self.named("seed-row")):
                self.add("seed", value="", info=None, max_lines=1, placeholder="new each time")
                dice = gr.Button("A new seed each time", scale=0, **self.named("dice"))
                reuse = gr.Button("Seed of the picture", scale=0, **self.named("reuse"))
            self.add("count", value=count)
        dice.click(None, None, self.inputs["seed"], js="() => ''", **QUIET)
        return dice, reuse

    def sampling(self, *optional: str) -> None:
        """How the model gets from noise to a picture, closed at first; and what else is advanced.

        Args:
            optional: More fields with a number that may be left open.
        """
        defaults = self.start.defaults
        names = {f.name for f in fields(self.request_type)}
        with gr.Accordion("Sampling", open=False, **self.named("sampling")):
            self.add("steps", value=defaults.steps, maximum=250)
            self.add("sampler", value=defaults.sampler)
            if "guidance_scale" in names:
                self.add("guidance_scale", value=defaults.guidance_scale, maximum=12)
            self.add("eta", value=defaults.eta)
            for name in optional:
                about = {"max_lines": 1, "placeholder": "as the model was trained"}
                self.add(name, kind=gr.Textbox, value="", **about)
        self._defaults_follow()

    def _defaults_follow(self) -> None:
        """The model brings its defaults when a person chooses it."""
        names = ("width", "height", "steps", "sampler", "guidance_scale", "eta")
        brought = [name for name in names if name in self.inputs]

        def choose(name: str) -> Any:
            preset = find_preset(name)
            about = preset.defaults
            sides = {"width": preset.width, "height": preset.height}
            values = sides | {n: getattr(about, n) for n in names[2:]}
            return [values[n] for n in brought]

        chooser = self.inputs["preset"]
        chooser.input(choose, chooser, [self.inputs[name] for name in brought], **QUIET)

    def tools(self) -> tuple[gr.UploadButton, gr.Button]:
        """Restore and link."""
        with gr.Row(**self.named("tools")):
            restore = gr.UploadButton(
                "Restore from PNG", file_types=["image"], size="sm", **self.named("restore")
            )
            link = gr.Button("Copy link", size="sm", **self.named("link"))
        return restore, link


def _ratio_button(across: int, down: int) -> gr.Button:
    name = f"{across}:{down}"
    return gr.Button(name, size="sm", min_width=0, elem_classes=["ratio", f"ratio-{across}-{down}"])


def _title(preset: Preset) -> str:
    return preset.title if preset.is_on_disk else f"{preset.title} (not on this machine)"


def _about(preset: Preset) -> str:
    """The size a model was trained for, or how to get it; its texts are not ours: no HTML."""
    if preset.is_on_disk and preset.task == "upscale":
        return f"<p>Trained to make pictures {preset.factor} times as large.</p>"
    if preset.is_on_disk:
        return (
            f"<p>Trained at {preset.width} × {preset.height} px. Larger sizes, in multiples of "
            f"{preset.size_multiple}, show more of the land.</p>"
        )
    return (
        "<p class='missing'>Not on this machine yet. Get it with "
        f"<code>{html.escape(preset.how_to_get)}</code></p>"
    )


def sides_of(preset: Preset, across: int, down: int) -> tuple[int, int]:
    """Width and height of this ratio in px, the shorter side as it was trained."""
    unit, multiple = min(across, down), preset.size_multiple

    def side(trained: int, share: int) -> int:
        return round(trained * share / unit / multiple) * multiple

    return side(preset.width, across), side(preset.height, down)


def find_preset(name: str) -> Preset:
    """The preset as it is now: it may have been downloaded since the page was built.

    Raises:
        gr.Error: If there is none of that name.
    """
    try:
        return load_preset(name)
    except LDMError as error:
        raise fail(str(error)) from error


def example_paths(task: str) -> list[Path]:
    """Pictures of a task that were made here, each with its request inside."""
    return sorted((EXAMPLES / task).glob("*.png"))


def examples(task: str, title: str = "Start from one of these") -> gr.Gallery | None:
    """A task's examples as a gallery; None where there are none yet."""
    paths = example_paths(task)
    if not paths:
        return None
    gr.set_static_paths([EXAMPLES])
    gr.HTML(f"<h2>{html.escape(title)}</h2>", padding=False, **named(task, "examples-title"))
    about = named(task, "examples")
    about["elem_classes"] = [about["elem_classes"], "strip-of-pictures"]
    return gr.Gallery(
        [(str(path), _caption(path)) for path in paths],
        label="Examples",
        show_label=False,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        buttons=[],
        interactive=False,
        **about,
    )


def _caption(path: Path) -> str:
    """The prompt, or the name of the file without its number."""
    request = metadata.load(path).request
    return getattr(request, "prompt", path.stem.split("-", 1)[-1].replace("-", " "))


def connect(tab: Tab, reuse: gr.Button) -> None:
    """Settings from an example, from the picture on show, and into the browser's memory."""
    place, widgets = tab.stage, list(tab.inputs.values())

    def take_example(event: gr.SelectData) -> Mapping[Component, Any]:
        return tab.updates(load_request(example_paths(tab.task)[event.index]))

    def use(visit: Visit) -> Mapping[Component, Any]:
        return tab.updates(visit.shown.request) if visit.shown else {}

    def seed(visit: Visit) -> str:
        return str(visit.shown.request.seed) if visit.shown else ""

    if tab.examples is not None:
        tab.examples.select(take_example, None, widgets, **QUIET)
    place.use.click(use, place.visit, widgets, **QUIET)
    reuse.click(seed, place.visit, tab.inputs["seed"], **QUIET)


def load_request(path: Path) -> Any:
    """The request in a PNG that was made here.

    Raises:
        gr.Error: If it was not.
    """
    try:
        return metadata.load(path).request
    except LDMError as error:
        raise fail(str(error)) from error
