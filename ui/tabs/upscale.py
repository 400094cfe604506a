"""The upscaling tab: a picture at four or sixteen times its size, beside plain interpolation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ldm.errors import LDMError, RequestError
from ldm.jobs import JobQueue
from ldm.request_controls import MAX_SIDE_PX
from ldm.request_json import read_file
from ldm.requests import Upscale
from ui.controls import unchecked
from ui.form import Form
from ui.run import Picture, Visit
from ui.stage import QUIET, Updates, before_and_after
from ui.tab import Tab, Values, example_paths, fields_of

HINT = "Give it a picture and press Generate: it comes out four or sixteen times as large."
PASSES = (("4 times as large", 1), ("16 times, in two passes", 2))
PLAIN = {"Bicubic": Image.Resampling.BICUBIC, "Lanczos": Image.Resampling.LANCZOS}
FIRST = "Bicubic"
SAMPLES = "Start from a small picture"


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    made = Form(Upscale)
    with gr.Row(**made.named("studio")):
        with gr.Column(**made.named("left")):
            with gr.Column(**made.named("words")):
                note = _picture_and_passes(made)
            made.act()
            made.settings(sized=False)
        with gr.Column(**made.named("right")):
            slider, radio = beside = _comparison(made)
            made.show(HINT, beside=beside, compare=lambda shown: _compare(slider, radio, shown))
            samples = made.start_from(SAMPLES, shrunk(), format="png")
    tab = made.tab(
        jobs,
        to_fields=to_fields,
        to_values=to_values,
        receive=received,
        not_kept=frozenset({"image"}),
    )
    _connect(tab, note, slider, radio)
    samples.select(_take, None, tab.inputs["image"], **QUIET)
    return tab


def shrunk() -> list[np.ndarray]:
    """Sharp pictures, filled in here, at a quarter of their size, each (H, W, 3) uint8."""
    pictures = [Image.open(path).convert("RGB") for path in example_paths("inpaint")]
    return [
        np.asarray(picture.resize((picture.width // 4, picture.height // 4), PLAIN[FIRST]))
        for picture in pictures
    ]


def _take(event: gr.SelectData) -> np.ndarray:
    return shrunk()[event.index]


def _picture_and_passes(made: Form) -> gr.HTML:
    made.inputs["image"] = unchecked(
        gr.Image(
            label="Picture",
            type="filepath",
            format="png",
            sources=["upload", "clipboard"],
            height=230,
            elem_id="upscale-image",
            elem_classes=["field-image", "takes-picture"],
        )
    )
    made.add("passes", kind=gr.Radio, choices=list(PASSES), value=1, info=None)
    return gr.HTML(size_note(None, 1), padding=False, elem_classes="lc-trained")


def _comparison(made: Form) -> tuple[gr.ImageSlider, gr.Radio]:
    with gr.Column(**made.named("compare")):
        radio = gr.Radio(
            list(PLAIN),
            value=FIRST,
            label="Compared with",
            elem_id="upscale-plain",
            elem_classes="lc-plain",
        )
        slider = before_and_after(made.task)
    return slider, radio


def _connect(tab: Tab, note: gr.HTML, slider: gr.ImageSlider, radio: gr.Radio) -> None:
    asked = [tab.inputs["image"], tab.inputs["passes"]]
    for box in asked:
        box.change(size_note, asked, note, **QUIET)

    def compare(visit: Visit, name: str) -> Any:
        if visit.shown is None or name not in PLAIN:
            return gr.skip()
        return enlarged(visit.shown, name), visit.shown.path

    radio.input(compare, [tab.stage.visit, radio], slider, **QUIET)


def _compare(slider: gr.ImageSlider, radio: gr.Radio, picture: Picture | None) -> Updates:
    """The result beside bicubic interpolation of what was given."""
    pair = None if picture is None else (enlarged(picture, FIRST), picture.path)
    return {slider: pair, radio: FIRST}


def enlarged(picture: Picture, name: str) -> Image.Image:
    """What was given, at the result's size by plain interpolation; `name` is one of PLAIN."""
    request = picture.request
    given = Image.fromarray(request.image.array()).convert("RGB")
    times = 4**request.passes
    return given.resize((given.width * times, given.height * times), PLAIN[name])


def size_note(image: Any, passes: Any) -> str:
    """From which size to which; or what is allowed. HTML, of numbers alone."""
    times = 4 ** (2 if passes == 2 else 1)
    most = MAX_SIDE_PX // times
    limit = f"up to {most} px a side for {times} times the size"
    if image is None:
        return f"<p>Any size and shape, {limit}.</p>"
    try:
        width, height = _read(image).size
    except LDMError:
        return "<p class='missing'>This file is no readable picture; PNG and JPEG work.</p>"
    if max(width, height) > most:
        return f"<p class='missing'>{width} × {height} px is too large: {limit}.</p>"
    return f"<p>{width} × {height} px becomes {width * times} × {height * times} px.</p>"


def _read(image: Any) -> Any:
    """The picture that the page sent, as the request holds it."""
    if image is None:
        raise RequestError("image must be a picture to enlarge; there is none yet.")
    return read_file("image", Path(image.path))


def to_fields(values: Values) -> Values:
    """The page's values as the request's fields.

    Raises:
        RequestError: If there is no picture, or it cannot be read.
    """
    return values | {"image": _read(values["image"])}


def received(path: Path) -> Values:
    """A picture from another tab."""
    return {"image": str(path)}


def to_values(request: Upscale) -> Values:
    """The page's values for a request."""
    return fields_of(request) | {"image": request.image.array()}
