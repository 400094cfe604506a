"""The left side of a tab: widgets for a request's fields, the model, the seed, and what else every
task has. A tab adds what only its task has; see `ui/tabs/text_to_image.py` for the shortest one.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.catalog.registry import list_presets
from ldm.catalog.schema import Preset
from ldm.jobs import JobQueue
from ldm.requests import MET_BY, controls, starts
from ui import compare, stage, start, vary
from ui import tab as tabs
from ui.compare import Comparing
from ui.controls import QUIET, labels_of, named, widget
from ui.gallery import strip_of_pictures
from ui.run import find_preset, load_request
from ui.stage import Stage
from ui.tab import EXAMPLES, Component, Tab, Values, example_paths

PLACEHOLDERS = {"variations": "none"}  # of what is open and no number
FIXED = "<p>This seed is fixed: the same settings make the same picture.</p>"
LARGER_SIZES = "Larger sizes, in multiples of {}, show more of the land."
LARGER = {
    "inpaint": "It sees what is around the mask; the picture may have any size.",
    "semantic": "Larger maps show more of the land.",
}
RATIOS = ((1, 1), (3, 2), (2, 1), (4, 1), (2, 3))  # across, down


@dataclass
class Form:
    """The widgets of one tab while they are made; `inputs` fills up in the order of making.

    A tab says in which columns they stand and calls `act`, `settings` and `show` there, then `tab`.
    """

    request_type: type
    presets: list[Preset] = field(init=False)
    start: Preset = field(init=False)  # the preset that is chosen at first
    inputs: dict[str, Component] = field(default_factory=dict)
    go: gr.Button = field(init=False)
    stop: gr.Button = field(init=False)
    estimate: gr.HTML = field(init=False)  # what the request will take
    undo: gr.Button = field(init=False)  # brings back the settings that were replaced
    dice: gr.Button = field(init=False)  # a new seed each time
    reuse: gr.Button = field(init=False)  # the seed of the picture on show
    restore: gr.UploadButton = field(init=False)
    link: gr.Button = field(init=False)
    stage: Stage = field(init=False)
    examples: gr.Gallery | None = None
    comparing: Comparing = field(init=False)
    by_hand: gr.Checkbox = field(init=False)  # whether a person chose the model

    def __post_init__(self) -> None:
        self.presets = list_presets(tasks=MET_BY[self.task])
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

    def act(self) -> None:
        """Generate and Cancel, and what it will take."""
        with gr.Row(**self.named("act")):
            self.go = gr.Button("Generate", variant="primary", **self.named("go"))
            self.stop = gr.Button("Cancel", visible="hidden", **self.named("stop"))
        self.estimate = gr.HTML(padding=False, **self.named("estimate"))
        self.undo = gr.Button("Back to the settings before", size="sm", **self.named("undo"))

    def settings(self, *, sized: bool, count: int = 1) -> None:
        """What every task has: the model, the seed, sampling, and the tools.

        Args:
            sized: Whether the task chooses its size freely.
            count: How many pictures at first.
        """
        self._model(sized)
        if starts(self.request_type):
            self.inputs |= start.widgets(self.request_type, self.inputs)
        self._seed_and_count(count)
        self._sampling()
        seeds = [self.inputs["seed"], self.inputs["variations"]]
        self.dice.click(None, None, seeds, js="() => ['', '']", **QUIET)
        self.comparing = compare.create(self.request_type)
        self.inputs |= self.comparing.inputs
        self._tools()

    def show(self, hint: str, **about: Any) -> None:
        """The stage, see `ui.stage.create`, and the task's examples under it."""
        labels = labels_of(self.request_type, self.inputs)
        buttons = self.go, self.stop
        about["has_steps"] = starts(self.request_type)
        about["starters"] = (self.comparing.go,)
        self.stage = stage.create(self.task, *buttons, hint=hint, labels=labels, **about)
        paths = example_paths(self.task)
        if paths:
            gr.set_static_paths([EXAMPLES])
            pictures = [(str(path), _caption(path)) for path in paths]
            self.examples = self.start_from("Start from one of these", pictures)

    def start_from(self, title: str, pictures: Sequence[Any], **options: Any) -> gr.Gallery:
        """Pictures under a title, one of which can be chosen to start from."""
        about = self.named("examples-title")
        gr.HTML(f"<h2>{html.escape(title)}</h2>", padding=False, **about)
        return strip_of_pictures(pictures, label=title, **self.named("examples"), **options)

    def tab(self, jobs: JobQueue, **about: Any) -> Tab:
        """The finished tab, connected to the queue.

        Args:
            jobs: The queue.
            about: How this tab differs from one whose widgets are its request's fields, see `Tab`.
        """
        if starts(self.request_type):
            about = start.added(**about)
        about = compare.added(**about)
        kept = (self.stage, self.restore, self.link, self.undo, self.estimate, self.examples)
        made = Tab(self.request_type, self.inputs, *kept, by_hand=self.by_hand, **about)
        stage.connect(jobs, made.stage, made.request_type, made.inputs, made.to_fields)
        vary.connect(jobs, made.stage, made.inputs["count"])
        compare.connect(jobs, made, self.comparing)
        tabs.connect(made, self.reuse)
        return made

    def _model(self, sized: bool) -> None:
        """Which model; and, for a task that chooses it freely, at which size."""
        with gr.Column(**self.named("model")):
            choices = [(_title(preset), preset.name) for preset in self.presets]
            chooser = self.add(
                "preset", kind=gr.Dropdown, choices=choices, value=self.start.name, info=None
            )
            about = gr.HTML(about_model(self.start), padding=False, **self.named("trained"))
            if sized:
                self._size(chooser)
        chooser.change(lambda name: about_model(find_preset(name)), chooser, about, **QUIET)

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

    def _seed_and_count(self, count: int) -> None:
        """Seed, with the buttons for a new one and the picture's, and number of pictures."""
        with gr.Column(**self.named("choice")):
            about = {"max_lines": 1, "placeholder": "new each time"}
            seed = self.add("seed", value="", info=None, **about)
            gr.HTML(FIXED, padding=False, **self.named("fixed"))
            with gr.Row(**self.named("seed-row")):
                self.dice = gr.Button("New seed each time", size="sm", **self.named("dice"))
                self.reuse = gr.Button("Seed of the picture", size="sm", **self.named("reuse"))
            self.add("count", value=count)
        # as it is taken, so that nothing on the page calls it fixed
        seed.blur(None, seed, seed, js="(seed) => latentCanvas.seed(seed)", **QUIET)

    def _sampling(self) -> None:
        """How noise becomes a picture, closed at first; and what else is advanced."""
        about, before = controls(self.request_type), set(self.inputs)
        with gr.Accordion("Sampling", open=False, **self.named("sampling")):
            self._given("steps", maximum=250)
            self._given("sampler")
            if "guidance_scale" in about:
                self._given("guidance_scale", maximum=12)
            for name in (name for name in about if about[name].advanced):
                self._given(name)
            names = [name for name in self.inputs if name not in before]
            back = gr.Button("Back to the model's defaults", size="sm", **self.named("defaults"))

        def defaults(preset: str) -> Any:
            return [self._default(name, find_preset(preset)) for name in names]

        widgets = [self.inputs[name] for name in names]
        back.click(defaults, self.inputs["preset"], widgets, **QUIET)
        self._defaults_follow()

    def _given(self, name: str, **options: Any) -> None:
        """A field as the preset or the request has it, or left open."""
        given = self._default(name, self.start)
        if given == "":
            placeholder = PLACEHOLDERS.get(name, "as the model was trained")
            options = {"kind": gr.Textbox, "max_lines": 1, "placeholder": placeholder}
        self.add(name, value=given, **options)

    def _default(self, name: str, preset: Preset) -> Any:
        """What a preset says of a field, or the request; "" where both leave it open."""
        given = next(f.default for f in fields(self.request_type) if f.name == name)
        given = getattr(preset.defaults, name, given)
        return "" if given is None else given

    def _defaults_follow(self) -> None:
        """The model brings its defaults when a person chooses it, and is then theirs."""
        names = [name for name in brought_by(self.start) if name in self.inputs]
        self.by_hand = gr.Checkbox(visible=False)  # the browser remembers it, see ui/page.js

        def choose(name: str) -> list[Any]:
            values = brought_by(find_preset(name))
            return [True, *(values[n] for n in names)]

        chooser = self.inputs["preset"]
        widgets = [self.by_hand, *(self.inputs[name] for name in names)]
        kept = f"(name) => latentCanvas.chose({self.task!r}, name)"
        chosen = chooser.input(choose, chooser, widgets, js=kept, **QUIET)
        if starts(self.request_type):
            start.keep_shape(chosen, self.inputs)

    def _tools(self) -> None:
        """Restore and link."""
        with gr.Row(**self.named("tools")):
            self.restore = gr.UploadButton(
                "Restore from PNG", file_types=["image"], size="sm", **self.named("restore")
            )
            self.link = gr.Button("Copy link", size="sm", **self.named("link"))


def _ratio_button(across: int, down: int) -> gr.Button:
    name = f"{across}:{down}"
    return gr.Button(name, size="sm", min_width=0, elem_classes=["ratio", f"ratio-{across}-{down}"])


def _title(preset: Preset) -> str:
    return preset.title if preset.is_on_disk else f"{preset.title} (not on this machine)"


def about_model(preset: Preset) -> str:
    """The size a model was trained for, or how to get it; its texts are not ours: no HTML."""
    if preset.is_on_disk and preset.task == "upscale":
        about = preset.description or f"Makes pictures {preset.factor} times as large."
        return f"<p>{html.escape(about)}</p>"
    if preset.is_on_disk:
        larger = LARGER.get(preset.task, LARGER_SIZES).format(preset.size_multiple)
        return f"<p>Trained at {preset.width} × {preset.height} px. {larger}</p>"
    return (
        "<p class='missing'>Not on this machine yet. Get it with "
        f"<code>{html.escape(preset.how_to_get)}</code></p>"
    )


def brought_by(preset: Preset) -> Values:
    """What a model brings for a tab's widgets; no tab has them all."""
    return {"width": preset.width, "height": preset.height} | asdict(preset.defaults)


def sides_of(preset: Preset, across: int, down: int) -> tuple[int, int]:
    """Width and height of this ratio in px, the shorter side as it was trained."""
    unit, multiple = min(across, down), preset.size_multiple

    def side(trained: int, share: int) -> int:
        return round(trained * share / unit / multiple) * multiple

    return side(preset.width, across), side(preset.height, down)


def _caption(path: Path) -> str:
    """The prompt, or the name of the file without its number."""
    request = load_request(path)
    return getattr(request, "prompt", path.stem.split("-", 1)[-1].replace("-", " "))
