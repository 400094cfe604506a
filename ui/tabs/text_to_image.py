"""The text-to-image tab."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from ldm import metadata
from ldm.catalog.registry import list_presets, load_preset
from ldm.catalog.schema import Preset
from ldm.errors import LDMError
from ldm.jobs import JobQueue
from ldm.requests import TextToImage
from ui import stage
from ui.controls import widget
from ui.run import Visit, fail
from ui.stage import QUIET, Stage

NAMES = tuple(field.name for field in fields(TextToImage))
RATIOS = ((1, 1), (3, 2), (2, 1), (4, 1), (2, 3))  # across, down
STORAGE_KEY = "latent-canvas-text-to-image"
EXAMPLES = Path(__file__).parents[1] / "examples"  # pictures that were made here
PLACEHOLDER = "a sailing boat on a quiet lake at dawn, high mountains"


@dataclass(frozen=True)
class Tab:
    """What others connect to: one widget per request field, and the stage."""

    inputs: dict[str, gr.components.Component]
    stage: Stage


@dataclass(frozen=True)
class _Tools:
    """Buttons and notes beside the request's fields."""

    about: gr.HTML  # of the model
    ratios: list[gr.Button]
    dice: gr.Button
    reuse: gr.Button
    restore: gr.UploadButton
    link: gr.Button


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    presets = list_presets(task=TextToImage.task)
    start = next((preset for preset in presets if preset.is_on_disk), presets[0])
    with gr.Row(elem_id="studio"):
        with gr.Column(elem_id="left"):
            inputs, tools, go, stop = _controls(presets, start)
        with gr.Column(elem_id="right"):
            place = stage.create(go, stop)
            examples = _examples()
    stage.connect(jobs, place, TextToImage, inputs)
    _connect_model(inputs, tools)
    _connect_settings(inputs, tools, place, examples)
    return Tab(inputs, place)


def on_load(page: gr.Blocks, jobs: JobQueue, tab: Tab) -> None:
    """Bring back settings, pictures and a running job when the page is loaded again."""
    names, key = json.dumps(NAMES), json.dumps(STORAGE_KEY)
    widgets = list(tab.inputs.values())
    recall = f"(...values) => latentCanvas.recall({key}, {names}, values)"
    page.load(None, widgets, widgets, js=recall, **QUIET)
    stage.resume_on_load(page, jobs, tab.stage)


def _controls(
    presets: list[Preset], start: Preset
) -> tuple[dict[str, gr.components.Component], _Tools, gr.Button, gr.Button]:
    made: dict[str, gr.components.Component] = {}

    def field(name: str, **options: Any) -> None:
        made[name] = widget(TextToImage, name, **options)

    with gr.Column(elem_classes="section", elem_id="words"):
        field("prompt", lines=3, max_lines=8, info=None, placeholder=PLACEHOLDER, autofocus=True)
        field("negative_prompt", max_lines=3, value="", info=None, placeholder="what to leave out")
    with gr.Row(elem_id="act"):
        go = gr.Button("Generate", variant="primary", elem_id="go", elem_classes="generate")
        stop = gr.Button("Cancel", elem_id="stop", visible="hidden")
    with gr.Column(elem_classes="section", elem_id="model"):
        choices = [(_title(preset), preset.name) for preset in presets]
        field("preset", kind=gr.Dropdown, choices=choices, value=start.name, info=None)
        about = gr.HTML(_about(start), elem_id="trained", padding=False)
        with gr.Row(elem_classes="ratios"):
            ratios = [_ratio_button(*ratio) for ratio in RATIOS]
        with gr.Row(elem_classes="pair"):
            field("width", value=start.width, min_width=100)
            field("height", value=start.height, min_width=100)
    with gr.Column(elem_classes="section", elem_id="choice"):
        with gr.Row(elem_id="seed-row"):
            field("seed", value="", info=None, max_lines=1, placeholder="new each time")
            dice = gr.Button("A new seed each time", elem_id="dice", elem_classes="icon", scale=0)
            reuse = gr.Button("Seed of the picture", elem_id="reuse", elem_classes="icon", scale=0)
        field("count", value=1)
    with gr.Accordion("Sampling", open=False, elem_id="sampling"):
        _sampling(field, start)
    with gr.Row(elem_id="tools"):
        restore = gr.UploadButton(
            "Restore from PNG", file_types=["image"], size="sm", elem_id="restore"
        )
        link = gr.Button("Copy link", size="sm", elem_id="link")
    inputs = {name: made[name] for name in NAMES}
    return inputs, _Tools(about, ratios, dice, reuse, restore, link), go, stop


def _sampling(field: Callable[..., None], start: Preset) -> None:
    defaults = start.defaults
    field("steps", value=defaults.steps, maximum=250)
    field("sampler", value=defaults.sampler)
    field("guidance_scale", value=defaults.guidance_scale, maximum=12)
    field("eta")


def _ratio_button(across: int, down: int) -> gr.Button:
    name = f"{across}:{down}"
    return gr.Button(name, size="sm", min_width=0, elem_classes=["ratio", f"ratio-{across}-{down}"])


def _examples() -> gr.Gallery:
    """Pictures that were made here, with their prompts; choosing one takes over its settings."""
    gr.set_static_paths([EXAMPLES])
    pictures = [
        (str(path), metadata.load(path).request.prompt) for path in sorted(EXAMPLES.glob("*.png"))
    ]
    gr.HTML("<h2>Start from one of these</h2>", elem_id="examples-title", padding=False)
    return gr.Gallery(
        pictures,
        label="Examples",
        show_label=False,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        buttons=[],
        interactive=False,
        elem_id="examples",
        elem_classes="strip-of-pictures",
    )


def _title(preset: Preset) -> str:
    return preset.title if preset.is_on_disk else f"{preset.title} (to be downloaded)"


def _about(preset: Preset) -> str:
    """The size a model was trained for, or how to get it; its texts are not ours: no HTML."""
    size = (
        f"Trained at {preset.width} × {preset.height} px. Larger sizes, in multiples of "
        f"{preset.size_multiple}, show more of the land."
    )
    if preset.is_on_disk:
        return f"<p>{size}</p>"
    return (
        "<p class='missing'>Not on this machine yet. Get it with "
        f"<code>python -m ldm download {html.escape(preset.name)}</code></p>"
    )


def _connect_model(inputs: dict[str, Any], tools: _Tools) -> None:
    """The model brings its defaults when a person chooses it, and its note in any case."""
    sides = [inputs["width"], inputs["height"]]
    brought = [*sides, inputs["steps"], inputs["sampler"], inputs["guidance_scale"]]

    def choose(name: str) -> tuple[Any, ...]:
        preset = _find(name)
        about = preset.defaults
        return preset.width, preset.height, about.steps, about.sampler, about.guidance_scale

    inputs["preset"].input(choose, inputs["preset"], brought, **QUIET)
    inputs["preset"].change(
        lambda name: _about(_find(name)), inputs["preset"], tools.about, **QUIET
    )
    for button, (across, down) in zip(tools.ratios, RATIOS, strict=True):

        def size(name: str, across: int = across, down: int = down) -> tuple[int, int]:
            return sides_of(_find(name), across, down)

        button.click(size, inputs["preset"], sides, **QUIET)


def sides_of(preset: Preset, across: int, down: int) -> tuple[int, int]:
    """Width and height of this ratio in px, the shorter side as it was trained."""
    unit, multiple = min(across, down), preset.size_multiple

    def side(trained: int, share: int) -> int:
        return round(trained * share / unit / multiple) * multiple

    return side(preset.width, across), side(preset.height, down)


def _find(name: str) -> Preset:
    """The preset as it is now: it may have been downloaded since the page was built."""
    try:
        return load_preset(name)
    except LDMError as error:
        raise fail(str(error)) from error


def _connect_settings(
    inputs: dict[str, Any], tools: _Tools, place: Stage, examples: gr.Gallery
) -> None:
    """Settings from a PNG, an example, the picture on show, the browser's memory or a link."""
    widgets, examples_paths = list(inputs.values()), sorted(EXAMPLES.glob("*.png"))

    def take_example(event: gr.SelectData) -> list[Any]:
        return restore(str(examples_paths[event.index]))

    def use(visit: Visit) -> list[Any]:
        return values_of(visit.shown.request) if visit.shown else [gr.skip()] * len(NAMES)

    def reuse(visit: Visit) -> str:
        return str(visit.shown.request.seed) if visit.shown else ""

    tools.restore.upload(restore, tools.restore, widgets, **QUIET)
    examples.select(take_example, None, widgets, **QUIET)
    place.use.click(use, place.visit, widgets, **QUIET)
    tools.reuse.click(reuse, place.visit, inputs["seed"], **QUIET)
    tools.dice.click(None, None, inputs["seed"], js="() => ''", **QUIET)
    names, key = json.dumps(NAMES), json.dumps(STORAGE_KEY)
    keep = f"(...values) => {{ latentCanvas.keep({key}, {names}, values); }}"
    for box in widgets:
        box.change(None, widgets, None, js=keep, **QUIET)
    copy = f"(...values) => {{ latentCanvas.copyLink({names}, values); }}"
    tools.link.click(None, widgets, None, js=copy, **QUIET)


def restore(path: str) -> list[Any]:
    """All controls' values from a PNG that was made here.

    Raises:
        gr.Error: If it was not.
    """
    try:
        request = metadata.load(Path(path)).request
    except LDMError as error:
        raise fail(str(error)) from error
    if not isinstance(request, TextToImage):
        raise fail(f"This picture was made by {request.task}, not by {TextToImage.task}.")
    return values_of(request)


def values_of(request: TextToImage) -> list[Any]:
    """The widgets' values for a request, in the order of its fields."""
    values = {name: getattr(request, name) for name in NAMES}
    return list((values | {"seed": str(request.seed)}).values())
