"""The left side of a tab: the widgets that all tasks share, such as preset, seed and sampler.

A tab adds the widgets of its own task; see `ui/tabs/text_to_image.py` for the shortest example.
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
from ldm.requests import PRESET_TASKS, controls, takes_start_image
from ui import compare, stage, start, vary
from ui import tab as tabs
from ui.compare import Comparing
from ui.controls import QUIET, labels_of, named, on_choice, widget
from ui.gallery import strip_of_pictures
from ui.run import find_preset, load_request
from ui.stage import Stage
from ui.tab import EXAMPLES, Component, Tab, Values, example_paths

# for empty fields that are not numbers
PLACEHOLDERS = {"variations": "none", "negative_prompt": "none"}
FIXED = "<p>This seed is fixed: the same settings make the same picture.</p>"
LARGER_SIZES = "Larger sizes, in multiples of {}, show more of the land."
OF_ANYTHING = "Larger sizes, in multiples of {}, show more, at times things twice: see Small first."
LARGER = {
    "inpaint": "It sees what is around the mask; the picture may have any size.",
    "semantic": "Larger maps show more of the land.",
}
UNTRAINED = (
    "It was not trained on holes: what is around one is put back in every step. Describe the whole "
    "picture, not only what is new."
)
RATIOS = ((1, 1), (3, 2), (2, 1), (4, 1), (2, 3))  # width, height


@dataclass
class Form:
    """Builder of one tab's widgets; `inputs` holds them in the order in which they were added.

    A tab lays out its columns, calls `act`, `settings` and `show` inside them, and then `tab`.
    """

    request_type: type
    presets: list[Preset] = field(init=False)
    start: Preset = field(init=False)  # the initial preset
    inputs: dict[str, Component] = field(default_factory=dict)
    go: gr.Button = field(init=False)
    stop: gr.Button = field(init=False)
    estimate: gr.HTML = field(init=False)  # expected time and memory of the request
    undo: gr.Button = field(init=False)  # restores the settings before the last replacement
    dice: gr.Button = field(init=False)  # empties the seed: a new one for each run
    reuse: gr.Button = field(init=False)  # takes the seed of the shown picture
    restore: gr.UploadButton = field(init=False)
    link: gr.Button = field(init=False)
    stage: Stage = field(init=False)
    examples: gr.Gallery | None = None
    comparing: Comparing = field(init=False)
    by_hand: gr.Checkbox = field(init=False)  # whether the user chose the preset

    def __post_init__(self) -> None:
        self.presets = list_presets(tasks=PRESET_TASKS[self.task])
        chosen = next(f.default for f in fields(self.request_type) if f.name == "preset")
        on_disk = [preset for preset in self.presets if preset.is_on_disk] or self.presets
        self.start = next((preset for preset in on_disk if preset.name == chosen), on_disk[0])

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.request_type.task

    def add(self, name: str, **options: Any) -> Component:
        """Add the widget of a request field, see `ui.controls.widget`."""
        self.inputs[name] = widget(self.request_type, name, **options)
        return self.inputs[name]

    def named(self, name: str) -> dict[str, Any]:
        """Element id that is unique to this tab, and a CSS class shared by all tabs."""
        return named(self.task, name)

    def act(self) -> None:
        """Add the buttons Generate and Cancel, the estimate, and the undo button."""
        with gr.Row(**self.named("act")):
            self.go = gr.Button("Generate", variant="primary", **self.named("go"))
            self.stop = gr.Button("Cancel", visible="hidden", **self.named("stop"))
        self.estimate = gr.HTML(padding=False, **self.named("estimate"))
        self.undo = gr.Button("Back to the settings before", size="sm", **self.named("undo"))

    def settings(self, *, sized: bool, count: int = 1) -> None:
        """Add the settings of every task: preset, seed, sampling, comparison and tools.

        Args:
            sized: Whether the request has width and height.
            count: Initial number of pictures.
        """
        self._model(sized)
        if takes_start_image(self.request_type):
            self.inputs |= start.widgets(self.request_type, self.inputs)
        self._seed_and_count(count)
        self._sampling()
        seeds = [self.inputs["seed"], self.inputs["variations"]]
        self.dice.click(None, None, seeds, js="() => ['', '']", **QUIET)
        self.comparing = compare.create(self.request_type)
        self.inputs |= self.comparing.inputs
        self._tools()

    def show(self, hint: str, **about: Any) -> None:
        """Add the stage, see `ui.stage.create`, and the task's example pictures under it."""
        labels = labels_of(self.request_type, self.inputs)
        buttons = self.go, self.stop
        about["has_steps"] = takes_start_image(self.request_type)
        self.stage = stage.create(self.task, *buttons, hint=hint, labels=labels, **about)
        paths = example_paths(self.task)
        if paths:
            gr.set_static_paths([EXAMPLES])
            pictures = [(str(path), _caption(path)) for path in paths]
            about = {"object_fit": "cover"}  # they are of nearly one shape
            self.examples = self.start_from("Start from one of these", pictures, **about)

    def start_from(self, title: str, pictures: Sequence[Any], **options: Any) -> gr.Gallery:
        """Add a titled gallery of pictures to start from."""
        about = self.named("examples-title")
        gr.HTML(f"<h2>{html.escape(title)}</h2>", padding=False, **about)
        return strip_of_pictures(pictures, label=title, **self.named("examples"), **options)

    def tab(self, jobs: JobQueue, **about: Any) -> Tab:
        """Return the finished tab, connected to the job queue.

        Args:
            jobs: The job queue.
            about: Further fields of `Tab`, if the widgets are not simply the request's fields.
        """
        if takes_start_image(self.request_type):
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
        """Add the preset chooser and, if `sized`, width and height."""
        with gr.Column(**self.named("model")):
            choices = [(_title(preset), preset.name) for preset in self.presets]
            chooser = self.add(
                "preset", kind=gr.Dropdown, choices=choices, value=self.start.name, info=None
            )
            about = gr.HTML(
                about_model(self.start, self.task), padding=False, **self.named("trained")
            )
            if sized:
                self._size(chooser)

        def told(name: str) -> str:
            return about_model(find_preset(name), self.task)

        chooser.change(told, chooser, about, **QUIET)

    def _size(self, chooser: Component) -> None:
        with gr.Row(elem_classes="ratios"):
            ratios = [_ratio_button(*ratio) for ratio in RATIOS]
        with gr.Row(elem_classes="pair"):
            usual = zip(("width", "height"), self.start.usual_sides, strict=True)
            sides = [self.add(name, value=side, min_width=100) for name, side in usual]
        ratio_of = dict(zip((button._id for button in ratios), RATIOS, strict=True))

        def size(name: str, event: gr.EventData) -> tuple[int, int]:
            return sides_of(find_preset(name), *ratio_of[event.target._id])

        gr.on([button.click for button in ratios], size, chooser, sides, **QUIET)

    def _seed_and_count(self, count: int) -> None:
        """Add the seed with its two buttons, and the number of pictures."""
        with gr.Column(**self.named("choice")):
            about = {"max_lines": 1, "placeholder": "new each time"}
            seed = self.add("seed", value="", info=None, **about)
            gr.HTML(FIXED, padding=False, **self.named("fixed"))
            with gr.Row(**self.named("seed-row")):
                self.dice = gr.Button("New seed each time", size="sm", **self.named("dice"))
                self.reuse = gr.Button("Seed of the picture", size="sm", **self.named("reuse"))
            self.add("count", value=count)
        # -1 empties the box: it means a new seed, too, so the page must not call it fixed
        seed.blur(None, seed, seed, js="(seed) => latentCanvas.seed(seed)", **QUIET)

    def _sampling(self) -> None:
        """Add sampler settings and all advanced fields, in an accordion that is closed at first."""
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
        eta = self.inputs["eta"]

        def suited(sampler: str, preset: str) -> list[Any]:  # others refuse that of DDIM
            return [find_preset(preset).defaults_for(self.task).eta_for(sampler)]

        on_choice(self.inputs["sampler"], suited, [self.inputs["preset"]], [eta])

    def _given(self, name: str, **options: Any) -> None:
        """Add a field with its default; without one, as a text box that may stay empty."""
        given = self._default(name, self.start)
        if given == "":
            placeholder = PLACEHOLDERS.get(name, "as the model was trained")
            options = {"kind": gr.Textbox, "max_lines": 1, "placeholder": placeholder}
        self.add(name, value=given, **options)

    def _default(self, name: str, preset: Preset) -> Any:
        """The field's default in the preset, else in the request; "" for None."""
        given = next(f.default for f in fields(self.request_type) if f.name == name)
        given = getattr(preset.defaults_for(self.task), name, given)
        return "" if given is None else given

    def _defaults_follow(self) -> None:
        """Fill in a preset's defaults when the user chooses it, and note that the user chose it."""
        names = [name for name in preset_values(self.start, self.task) if name in self.inputs]
        self.by_hand = gr.Checkbox(visible=False)  # the browser remembers it, see ui/page.js

        def choose(name: str, image: Any = None) -> list[Any]:
            preset = find_preset(name)
            values = preset_values(preset, self.task) | (
                start.sides_like(Path(image.path), preset) if image else {}
            )
            return [True, *(values[n] for n in names)]

        widgets = [self.by_hand, *(self.inputs[name] for name in names)]
        images = [self.inputs[start.IMAGE]] if takes_start_image(self.request_type) else []
        kept = f"(name) => latentCanvas.chose({self.task!r}, name)"
        on_choice(self.inputs["preset"], choose, images, widgets, kept)

    def _tools(self) -> None:
        """Add the buttons that restore settings from a PNG and copy a link."""
        with gr.Row(**self.named("tools")):
            self.restore = gr.UploadButton("Restore from PNG", size="sm", **self.named("restore"))
            self.link = gr.Button("Copy link", size="sm", **self.named("link"))


def _ratio_button(across: int, down: int) -> gr.Button:
    name = f"{across}:{down}"
    return gr.Button(name, size="sm", min_width=0, elem_classes=["ratio", f"ratio-{across}-{down}"])


def _title(preset: Preset) -> str:
    return preset.title if preset.is_on_disk else f"{preset.title} (not on this machine)"


def about_model(preset: Preset, task: str) -> str:
    """A note on a preset in a task as HTML: its trained size or factor, or how to get it.

    The preset's texts are escaped, since presets may come from third parties.
    """
    if preset.is_on_disk and preset.task == "upscale":
        about = preset.description or f"Makes pictures {preset.factor} times as large."
        return f"<p>{html.escape(about)}</p>"
    if preset.is_on_disk and task == "inpaint" != preset.task:
        return f"<p>{UNTRAINED}</p>"
    if preset.is_on_disk:
        of_size = LARGER_SIZES if preset.origin == "shipped" else OF_ANYTHING
        larger = LARGER.get(preset.task, of_size).format(preset.size_multiple)
        return f"<p>Trained at {preset.width} × {preset.height} px. {larger}</p>"
    return (
        "<p class='missing'>Not on this machine yet. Get it with "
        f"<code>{html.escape(preset.how_to_get)}</code></p>"
    )


def preset_values(preset: Preset, task: str) -> Values:
    """A preset's size and defaults for a task, by input name; no tab has all of these inputs."""
    width, height = preset.usual_sides
    return {"width": width, "height": height} | asdict(preset.defaults_for(task))


def sides_of(preset: Preset, across: int, down: int) -> tuple[int, int]:
    """Width and height in px for an aspect ratio, with the shorter side at its usual length."""
    unit, multiple = min(across, down), preset.size_multiple

    def side(usual: int, share: int) -> int:
        return round(usual * share / unit / multiple) * multiple

    width, height = preset.usual_sides
    return side(width, across), side(height, down)


def _caption(path: Path) -> str:
    """The prompt of an example picture, or else its file name without the number."""
    prompt = getattr(load_request(path), "prompt", "")
    return prompt or path.stem.split("-", 1)[-1].replace("-", " ")
