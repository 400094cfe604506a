"""The text-to-image tab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr

from ldm import metadata
from ldm.catalog.registry import list_presets
from ldm.catalog.schema import Preset
from ldm.errors import LDMError
from ldm.jobs import JobQueue
from ldm.requests import Cancelled, Failed, Progress, Result, TextToImage
from ui.controls import widget, with_signature
from ui.run import READY, caption, fail, follow, make_request, strip

NAMES = tuple(field.name for field in fields(TextToImage))
SIZES = {"Square": (1, 1), "Wide": (2, 1), "Panorama": (4, 1), "Tall": (1, 2)}
STORAGE_KEY = "latent-canvas-text-to-image"
EXAMPLES = (
    "a calm lake with mountains at sunset",
    "a red house in the snow at night, the moon",
    "two pine trees, a green meadow, white clouds in the afternoon",
    "a sailing boat with a white sail on a quiet lake at dawn",
    "an autumn field with three trees, low hills, clear sky",
    "snow covered ground, distant mountains, falling snow",
    "a sandy beach, still water, the sun in the sky at noon",
    "a yellow cottage on the left, fog, early in the morning",
)
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class Tab:
    """The widgets that others connect to: one per request field, and the picture."""

    fields: dict[str, gr.components.Component]
    picture: gr.Image


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    presets = [preset for preset in list_presets() if preset.task == TextToImage.task]
    start = next((preset for preset in presets if preset.is_on_disk), presets[0])
    history = gr.State([])
    job = gr.State(None)
    shown = gr.State(None)
    with gr.Row(elem_id="studio"):
        with gr.Column(scale=2, elem_id="left"):
            inputs, buttons = _controls(presets, start)
        with gr.Column(scale=5, elem_id="right"):
            picture = gr.Image(
                type="filepath",
                format="png",
                interactive=False,
                show_label=False,
                height=560,
                elem_id="picture",
                buttons=["download", "fullscreen"],
            )
            status = gr.HTML(READY, elem_id="strip")
            gallery = gr.Gallery(
                show_label=False,
                columns=6,
                height="auto",
                object_fit="contain",
                preview=False,
                allow_preview=False,
                buttons=[],
                elem_id="results",
                interactive=False,
                visible=False,
            )
            gr.Markdown("Try one of these", elem_id="examples-title")
            with gr.Row(elem_classes="chips"):
                chips = [gr.Button(text, size="sm") for text in EXAMPLES]
    view = _View(job, history, shown, status, gallery, picture)
    _connect_run(jobs, inputs, buttons, view)
    _connect_tools(inputs, buttons, view, presets)
    for chip, text in zip(chips, EXAMPLES, strict=True):
        chip.click(lambda text=text: text, None, inputs["prompt"], **PRIVATE)
    return Tab(inputs, picture)


@dataclass(frozen=True)
class _View:
    """What a run writes to."""

    job: gr.State  # id of the job that this page follows
    history: gr.State  # [(path, caption, request as a dict)], newest first
    shown: gr.State  # the request of the picture on show, as a dict
    status: gr.HTML
    gallery: gr.Gallery
    picture: gr.Image

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The picture last: that is what an API caller looks for."""
        return [self.job, self.history, self.shown, self.status, self.gallery, self.picture]


def _controls(
    presets: list[Preset], start: Preset
) -> tuple[dict[str, gr.components.Component], dict[str, Any]]:
    make: dict[str, gr.components.Component] = {}
    buttons: dict[str, Any] = {}

    def field(name: str, **options: Any) -> None:
        make[name] = widget(TextToImage, name, **options)

    field("prompt", lines=3, info=None, placeholder=EXAMPLES[0], autofocus=True)
    with gr.Row():
        buttons["go"] = gr.Button(
            "Generate", variant="primary", elem_id="go", elem_classes="generate"
        )
        buttons["stop"] = gr.Button("Cancel", elem_id="stop", visible="hidden")
    field("negative_prompt", lines=1, value="", info=None, placeholder="what to leave out")
    choices = [(_title(preset), preset.name) for preset in presets]
    field("preset", kind=gr.Dropdown, choices=choices, value=start.name, info=None)
    with gr.Column(elem_classes="panel", elem_id="size"):
        with gr.Row(elem_classes="pair"):
            field("width", value=start.width, min_width=100)
            field("height", value=start.height, min_width=100)
        with gr.Row(elem_classes="quick"):
            buttons["sizes"] = [gr.Button(name, size="sm") for name in SIZES]
        buttons["trained"] = gr.Markdown(_trained(start), elem_id="trained")
    with gr.Row(elem_classes="panel pair", elem_id="seed-row"):
        field("seed", value="", info=None, max_lines=1, placeholder="new each time", min_width=120)
        buttons["dice"] = gr.Button("New", size="sm", min_width=60, elem_id="dice")
        buttons["reuse"] = gr.Button("Reuse", size="sm", min_width=60, elem_id="reuse")
    field("count", value=1)
    with gr.Accordion("Sampling", open=False, elem_id="sampling"):
        field("steps", value=start.defaults.steps, maximum=250)
        field("sampler", value=start.defaults.sampler)
        field("guidance_scale", value=start.defaults.guidance_scale, maximum=12)
        field("eta")
    with gr.Row(elem_classes="tools"):
        buttons["restore"] = gr.UploadButton(
            "Restore from PNG", file_types=["image"], size="sm", elem_id="restore"
        )
        buttons["link"] = gr.Button("Copy link", size="sm", elem_id="link")
    return {name: make[name] for name in NAMES}, buttons


def _title(preset: Preset) -> str:
    return preset.title if preset.is_on_disk else f"{preset.title} (not downloaded)"


def _trained(preset: Preset) -> str:
    return (
        f"Trained at {preset.width} x {preset.height} px. Larger sizes, in multiples of "
        f"{preset.size_multiple}, show more of the land."
    )


def _connect_run(
    jobs: JobQueue, inputs: dict[str, Any], buttons: dict[str, Any], view: _View
) -> None:
    go, stop = buttons["go"], buttons["stop"]
    # the state of the page comes first among the inputs: an API caller does not see it
    generate = _generator(jobs)
    begin = go.click(_busy, None, [go, stop], queue=False, **PRIVATE)
    run = begin.then(
        generate,
        [*inputs.values(), view.history],
        view.outputs,
        api_name="text_to_image",
        show_progress="hidden",
        concurrency_limit=16,
    )
    # each for its own end: `then` is not called after an error
    run.success(_idle, None, [go, stop], queue=False, **PRIVATE)
    run.failure(_idle, None, [go, stop], queue=False, **PRIVATE)

    def cancel(job_id: str | None) -> None:
        if job_id:
            jobs.cancel(job_id)

    stop.click(cancel, view.job, None, queue=False, **PRIVATE)


def _busy() -> tuple[gr.Button, gr.Button]:
    return gr.Button(interactive=False), gr.Button(visible=True)


def _idle() -> tuple[gr.Button, gr.Button]:
    return gr.Button(interactive=True), gr.Button(visible="hidden")


def _generator(jobs: JobQueue) -> Any:
    """The endpoint: request fields, then this page's history, in; the view's outputs out."""

    def text_to_image(*values: Any) -> Iterator[tuple[Any, ...]]:
        *settings, history = values
        request = make_request(TextToImage, tuple(settings))
        shown_preview = None
        for job_id, event in follow(jobs, request):
            if isinstance(event, Failed):
                raise fail(event.message)
            if isinstance(event, Result):
                yield _finished(event, history)
                return
            picture = gr.skip()
            if isinstance(event, Progress) and event.preview is not shown_preview:
                # once each: Gradio would write the same file again while a browser reads it
                picture = shown_preview = event.preview
            running = None if isinstance(event, Cancelled) else job_id
            yield running, gr.skip(), gr.skip(), strip(event), gr.skip(), picture

    named = with_signature(text_to_image, TextToImage)
    parameters = [*named.__signature__.parameters.values()]
    state = parameters[-1].replace(name="history", default=None)
    named.__signature__ = named.__signature__.replace(parameters=[*parameters, state])
    return named


def _finished(result: Result, history: list | None) -> tuple[Any, ...]:
    new = [
        (str(path), caption(request), json.dumps(_values(request)))
        for path, request in zip(result.paths, result.requests, strict=True)
    ]
    history = [*new, *(history or [])]
    gallery = gr.Gallery([(path, text) for path, text, _ in history], visible=True)
    return None, history, new[0][2], strip(result), gallery, new[0][0]


def _values(request: Any) -> dict[str, Any]:
    return {name: getattr(request, name) for name in NAMES}


def _connect_tools(
    inputs: dict[str, Any], buttons: dict[str, Any], view: _View, presets: list[Preset]
) -> None:
    by_name = {preset.name: preset for preset in presets}
    sides = [inputs["width"], inputs["height"]]
    follows = [*sides, inputs["steps"], inputs["sampler"], inputs["guidance_scale"]]

    def choose(name: str) -> tuple[Any, ...]:
        preset = by_name[name]
        about = preset.defaults
        sampling = (about.steps, about.sampler, about.guidance_scale)
        return preset.width, preset.height, *sampling, _trained(preset)

    inputs["preset"].input(choose, inputs["preset"], [*follows, buttons["trained"]], **PRIVATE)
    for button, (across, down) in zip(buttons["sizes"], SIZES.values(), strict=True):

        def size(name: str, across: int = across, down: int = down) -> tuple[int, int]:
            return by_name[name].width * across, by_name[name].height * down

        button.click(size, inputs["preset"], sides, **PRIVATE)
    buttons["dice"].click(lambda: "", None, inputs["seed"], **PRIVATE)
    buttons["reuse"].click(_seed_of, view.shown, inputs["seed"], **PRIVATE)
    buttons["restore"].upload(_restore, buttons["restore"], [*inputs.values()], **PRIVATE)
    view.gallery.select(_select, view.history, [view.picture, view.shown], **PRIVATE)
    _connect_memory(inputs, buttons)


def _seed_of(shown: str | None) -> str:
    return str(json.loads(shown)["seed"]) if shown else ""


def _select(history: list, event: gr.SelectData) -> tuple[str, str]:
    path, _, request = history[event.index]
    return path, request


def _restore(path: str) -> list[Any]:
    """All controls from a PNG that was made here."""
    try:
        request = metadata.load(Path(path)).request
    except LDMError as error:
        raise fail(str(error)) from error
    if not isinstance(request, TextToImage):
        raise fail(f"This picture was made by {request.task}, not by {TextToImage.task}.")
    return list((_values(request) | {"seed": str(request.seed)}).values())


def _connect_memory(inputs: dict[str, Any], buttons: dict[str, Any]) -> None:
    """Settings are kept across a reload, and can be copied as a link (functions of page.js)."""
    names, key = json.dumps(list(inputs)), json.dumps(STORAGE_KEY)
    widgets = list(inputs.values())
    for box in widgets:
        keep = f"(...values) => {{ latentCanvas.keep({key}, {names}, values); }}"
        box.change(None, widgets, None, js=keep, **PRIVATE)
    copy = f"(...values) => {{ latentCanvas.copyLink({names}, values); }}"
    buttons["link"].click(None, widgets, None, js=copy, **PRIVATE)
    recall = f"(...values) => latentCanvas.recall({key}, {names}, values)"
    gr.context.Context.root_block.load(None, widgets, widgets, js=recall, **PRIVATE)
