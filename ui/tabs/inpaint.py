"""The inpaint tab: a picture, a mask of what to generate, and margins for outpainting."""

from __future__ import annotations

import dataclasses
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.errors import LDMError, RequestError
from ldm.jobs import JobQueue
from ldm.requests import EncodedImage, Inpaint, controls
from ui import prompt
from ui.controls import QUIET
from ui.form import Form, preset_values
from ui.painting import Painter, Painting
from ui.prompt import PROMPTS, Reader
from ui.run import Picture
from ui.slider import BeforeAfter, Pair
from ui.stage import Updates
from ui.tab import Tab, Values, fields_of

HINT = (
    "Load a picture and paint over what should go or change. Say what to draw there, or leave it "
    "to what is around, and press Generate."
)
PLACEHOLDER = "a sailing boat; or nothing, and what is around it goes on"
EDGE = ("mask_grow", "mask_feather")
# renamed, since "grow" means the canvas on this page
WORDS = {"mask_grow": {"label": "Widen", "info": "Widens the mask; negative narrows it"}}
SIDES = ("outpaint_left", "outpaint_top", "outpaint_right", "outpaint_bottom")
SIZE = controls(Inpaint)["working_size"]
WIDE = 0.7  # share of the width from which on a filling is nearly all of it
EDGE_SHARE = 0.04  # of the width that is left between the divider and what was filled
BEYOND = 236  # grey level of the outpainted margins in the picture before


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    made = Form(Inpaint)
    reader = Reader.of(made)
    with gr.Row(**made.named("studio")):
        with gr.Column(**made.named("left")):
            made.inputs["painting"] = Painter(edge=_given(*EDGE), **made.named("painting"))
            about = {"label": "What to draw there", "placeholder": PLACEHOLDER, "max_lines": 4}
            words = prompt.add(made, known=reader.reads, value="", **about)
            made.act()
            _hole(made)
            made.settings(sized=False)
            prompt.follow(made, words, reader.reads)
            prompt.choose_by_words(made, reader)
        with gr.Column(**made.named("right")):
            _show_beside_what_was(made)
    made.stage.send[made.task].value = "Inpaint more"
    _show_on_canvas(made)
    return made.tab(
        jobs,
        to_fields=lambda values: to_fields(reader.suited(values)),
        to_values=to_values,
        receive=lambda path, *_: received(path, reader.usual),
        not_kept=frozenset({"painting"}),
    )


def _hole(made: Form) -> None:
    """Add the inputs for the mask's edge and for outpainting."""
    with gr.Column(**made.named("edge")):
        with gr.Row(elem_classes="pair"):
            for name, value in zip(EDGE, _given(*EDGE), strict=True):
                made.add(name, kind=gr.Slider, value=value, min_width=120, **WORDS.get(name, {}))
        made.add("strength", value=_given("strength")[0])
    with gr.Accordion("Grow the canvas", open=False, **made.named("outpaint")):
        for pair in (SIDES[::2], SIDES[1::2]):
            with gr.Row(elem_classes="pair"):
                for name, value in zip(pair, _given(*pair), strict=True):
                    made.add(name, value=value, min_width=100, step=16)


def _given(*names: str) -> list[float]:
    """Default values of request fields."""
    defaults = {field.name: field.default for field in dataclasses.fields(Inpaint)}
    return [defaults[name] for name in names]


def _show_on_canvas(made: Form) -> None:
    """Let the canvas show the effect of these settings on the mask while they change."""
    boxes = [made.inputs[name] for name in (*SIDES, *EDGE, "seamless")]
    painter = made.named("painting")["elem_id"]
    adjust = f"(...values) => {{ latentCanvas.adjustPainter({painter!r}, values); }}"
    for box in boxes:
        box.change(None, boxes, None, js=adjust, **QUIET)
    # another picture grows only if that is asked for again
    sides = [made.inputs[name] for name in SIDES]
    made.inputs["painting"].upload(None, None, sides, js="() => [0, 0, 0, 0]", **QUIET)


def _show_beside_what_was(made: Form) -> None:
    with gr.Column(**made.named("compare")):
        slider = BeforeAfter(**made.named("slider"))

    def compare(shown: Picture | None) -> Updates:
        if shown is None:
            return {slider: None}
        return {slider: Pair(before(shown.request), shown.path, at=left_of(shown.request))}

    made.show(HINT, beside=(slider,), compare=compare, reword=about_the_area)


def before(request: Inpaint) -> str:
    """Save the input picture, padded to the outpainted canvas; return its path."""
    png = request.image.png
    left, top, right, bottom = request.outpaint
    if any(request.outpaint):
        sides = ((top, bottom), (left, right), (0, 0))
        array = request.image.array()
        array = np.pad(array, sides[: array.ndim], constant_values=BEYOND)
        png = EncodedImage.from_array(array).png
    return save_bytes_to_cache(png, "before.png", get_upload_folder())


def left_of(request: Inpaint) -> int:
    """Return what all that was filled is to the right of, in percent of the canvas' width.

    Where that is nearly all of the width, the middle: else nothing of before would be seen.
    """
    left, top, right, bottom = request.outpaint
    is_in = np.full(request.image.width, bool(top or bottom))
    if request.mask is not None:
        is_in |= request.mask.marked().any(axis=0)
    places = np.flatnonzero(np.pad(is_in, (left, right), constant_values=True))
    width = len(is_in) + left + right
    if not len(places) or np.ptp(places) > WIDE * width:
        return 50
    return max(0, int(100 * (places[0] / width - EDGE_SHARE)))


def about_the_area(message: str) -> str:
    """Reword a size error: it is about the area around the mask, and Working size changes it.

    Other messages are returned as they are.
    """
    sized = re.match(r"(?:a picture|\d+ pictures) of (\d+) x (\d+) px", message)
    if not sized:
        return message
    width, height = map(int, sized.groups())
    rest = message[sized.end() :].replace("take a smaller size.", "take a smaller Working size.")
    if less := re.search(r" or (\d+) x \d+ px\.$", rest):
        longest = int(less[1])  # the other side is shorter, and needs less
        side = int(longest // SIZE.step * SIZE.step)
        works = f" or set Working size to {side} px." if side >= SIZE.minimum else "."
        rest = rest[: less.start()] + works
    return f"the area around the mask, at {width} x {height} px,{rest}"


def to_fields(values: Values) -> Values:
    """Convert input values to request fields.

    Raises:
        RequestError: If there is no picture, or nothing to generate.
    """
    painting: Painting | None = values["painting"]
    if painting is None or painting.picture is None:
        raise RequestError("There is no picture yet; choose, drop or paste one.")
    if not painting.labels.any() and not any(values[side] for side in SIDES):
        raise RequestError("Nothing is marked yet; paint over what to change or grow the canvas.")
    mask = EncodedImage.from_array(255 * painting.labels) if painting.labels.any() else None
    others = {name: value for name, value in values.items() if name != "painting"}
    return others | {"image": painting.picture, "mask": mask}


def to_values(request: Any) -> Values:
    """Convert a request to input values."""
    if request.mask is None:
        labels = np.zeros(request.image.size[::-1], np.uint8)
    else:
        labels = request.mask.marked().astype(np.uint8)
    values = fields_of(request) | {"painting": Painting(labels, request.image)}
    if request.guidance_scale is None:  # of a picture from before there were words
        with suppress(LDMError):
            values["guidance_scale"] = load_preset(request.preset).defaults.guidance_scale
    return values | {"working_size": str(request.working_size or "")}


def received(path: Path, usual: Preset) -> Values:
    """Input values for a picture from another tab: an empty mask and no outpainting.

    Words that were there said what to draw in another hole, and how much of it to keep; the `usual`
    model needs none.
    """
    picture = EncodedImage.from_file(path)
    painting = Painting(np.zeros(picture.size[::-1], np.uint8), picture)
    new = {"painting": painting} | dict.fromkeys(SIDES, 0) | dict.fromkeys(PROMPTS, "")
    return new | {"strength": 1.0, "preset": usual.name} | preset_values(usual, Inpaint.task)
