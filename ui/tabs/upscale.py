"""The upscaling tab: a picture at 4 or 16 times its size, compared with interpolation."""

from __future__ import annotations

import html
import warnings
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ldm.errors import LDMError, RequestError
from ldm.jobs import JobQueue
from ldm.outputs import metadata
from ldm.outputs.titles import title_of
from ldm.requests import EncodedImage, Upscale
from ldm.requests.canvas import check_canvas, largest
from ui.controls import QUIET, unchecked
from ui.form import Form, preset_values
from ui.in_turn import in_turn
from ui.run import Picture, Visit, find_preset, in_words
from ui.slider import BeforeAfter, Pair
from ui.stage import Updates, or_skip
from ui.start import DROP, only_pictures
from ui.tab import EXAMPLES, Tab, Values, example_paths, fields_of, fills

HINT = "Give it a picture and press Generate: it comes out four or sixteen times as large."
PASSES = (("4 times as large", 1), ("16 times, in two passes", 2))
PLAIN = {"Bicubic": Image.Resampling.BICUBIC, "Lanczos": Image.Resampling.LANCZOS}
FIRST = "Bicubic"
MAX_COMPARED_PX = 4096  # longer side of what a result is compared with: it is seen smaller anyway
SAMPLES = "Start from a small picture"
FOLDER = "samples"  # of the examples: small pictures with titles
CLEAN, WORN = "demo-upscale-bicubic", "demo-upscale-bsr"


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
            slider, radio = both = _comparison(made)
            made.show(HINT, beside=both, compare=lambda shown: _compare(slider, radio, shown))
            gr.set_static_paths([EXAMPLES])
            pictures = [(str(path), title_of(path)) for path in example_paths(FOLDER)]
            samples = made.start_from(SAMPLES, pictures)
    tab = made.tab(
        jobs,
        to_fields=to_fields,
        to_values=to_values,
        receive=received,
        not_kept=frozenset({"image"}),
    )
    _connect(tab, note, slider, radio)
    _suggest(tab, samples)
    return tab


def _suggest(tab: Tab, samples: gr.Gallery) -> None:
    """Suggest the preset that suits a picture that is uploaded or chosen from the samples."""
    image, chosen = tab.inputs["image"], [tab.inputs["preset"], tab.by_hand]
    widgets = list(tab.inputs.values())

    def uploaded(file: Any, *chosen: Any) -> Updates:
        model = model_for(is_made_here(Path(file.path))) if file else {}
        return or_skip(tab.take(model, *chosen))

    def sample(preset: str, by_hand: bool, event: gr.SelectData) -> Updates:
        image = str(example_paths(FOLDER)[event.index])
        return tab.take({"image": image} | model_for(False), preset, by_hand)

    image.upload(uploaded, [image, *chosen], widgets, **QUIET)
    fills(tab.task, samples, sample, chosen, widgets)


def model_for(made_here: bool) -> Values:
    """The preset that suits a picture, with its defaults; {} if it is not on this machine.

    Pictures that a model made are softer than shrunk ones, and the preset for degraded pictures
    sharpens them. It would take the finest details of a photograph for degradation and remove
    them; the other preset keeps them.
    """
    preset = find_preset(WORN if made_here else CLEAN)
    return (
        {"preset": preset.name} | preset_values(preset, Upscale.task) if preset.is_on_disk else {}
    )


def is_made_here(path: Path) -> bool:
    """Whether a picture file contains the request that made it."""
    try:
        metadata.load(path)
    except LDMError:
        return False
    return True


def _picture_and_passes(made: Form) -> gr.HTML:
    made.inputs["image"] = unchecked(
        gr.Image(
            label="Picture",
            placeholder=DROP.format("A picture to enlarge"),
            type="filepath",
            format="png",
            sources=["upload", "clipboard"],
            height=230,
            elem_id="upscale-image",
            elem_classes=["field-image", "takes-picture"],
        )
    )
    only_pictures(made.inputs["image"])
    made.add("passes", kind=gr.Radio, choices=list(PASSES), value=1, info=None)
    return gr.HTML(size_note(None, 1), padding=False, elem_classes="lc-trained")


def _comparison(made: Form) -> tuple[BeforeAfter, gr.Radio]:
    with gr.Column(**made.named("compare")):
        radio = gr.Radio(
            list(PLAIN),
            value=FIRST,
            label="Compared with",
            elem_id="upscale-plain",
            elem_classes="lc-plain",
        )
        slider = BeforeAfter(**made.named("slider"))
    return slider, radio


def _connect(tab: Tab, note: gr.HTML, slider: BeforeAfter, radio: gr.Radio) -> None:
    asked = [tab.inputs["image"], tab.inputs["passes"]]
    for box in asked:
        box.change(size_note, asked, note, **QUIET)

    def compare(visit: Visit, name: str) -> Any:
        if visit.shown is None or visit.shown.is_sheet or name not in PLAIN:
            return gr.skip()
        return beside(visit.shown, name)

    radio.input(compare, [tab.stage.visit, radio], slider, **QUIET)


def _compare(slider: BeforeAfter, radio: gr.Radio, picture: Picture | None) -> Updates:
    """Updates that compare a result with bicubic interpolation of its input picture."""
    return {slider: beside(picture, FIRST) if picture else None, radio: FIRST}


def beside(picture: Picture, name: str) -> Pair:
    """Pair of the interpolated input and the result; `name` is one of PLAIN."""
    return Pair(enlarged(picture.request, name), picture.path, names=(name, "Upscaled"))


def enlarged(request: Upscale, name: str) -> Image.Image:
    """The input picture, interpolated to the result's size or less; `name` is one of PLAIN."""
    given = Image.fromarray(request.image.array()).convert("RGB")
    times = min(4**request.passes, MAX_COMPARED_PX / max(given.size))
    return given.resize([round(side * times) for side in given.size], PLAIN[name])


def size_note(image: Any, passes: Any) -> str:
    """Note on input and output size, the limit, or the error, as HTML."""
    times = _times(passes)
    if image is None:
        return f"<p>Any shape, up to {largest(times)}.</p>"
    try:
        width, height = _read(image, times).size
    except LDMError as error:
        return f"<p class='refused' role='alert'>{html.escape(in_words(str(error), {}))}</p>"
    return f"<p>{width} × {height} px becomes {width * times} × {height * times} px.</p>"


def _times(passes: Any) -> int:
    return 4 ** (2 if passes == 2 else 1)


def _read(image: Any, times: int) -> Any:
    """Read the picture that the page sent, for the request.

    Raises:
        RequestError: If there is no picture, it cannot be read, or the result would be too large.
    """
    if image is None:
        raise RequestError("There is no picture yet; choose, drop or paste one.")
    width, height = _sides(Path(image.path))
    check_canvas("image", width, height, times)
    return in_turn(EncodedImage.from_file, Path(image.path))


def _sides(path: Path) -> tuple[int, int]:
    """Width and height in px from a file's header, without decoding the picture.

    (0, 0) if Pillow cannot open it; the code that reads the picture reports the error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path).size
    except Exception:  # Pillow's readers raise nearly every kind of error
        return 0, 0


def to_fields(values: Values) -> Values:
    """Convert input values to request fields.

    Raises:
        RequestError: If there is no picture, it cannot be read, or the result would be too large.
    """
    return values | {"image": _read(values["image"], _times(values["passes"]))}


def received(path: Path, *_: str) -> Values:
    """Input values for a picture from another tab, with the preset that suits it."""
    return {"image": str(path)} | model_for(made_here=True)


def to_values(request: Upscale) -> Values:
    """Convert a request to input values."""
    return fields_of(request) | {"image": request.image.array()}
