"""Widgets for a picture to start from, in tabs whose requests accept one."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from PIL import ExifTags, Image

from ldm.catalog.schema import Preset
from ldm.errors import RequestError
from ldm.requests import EncodedImage, controls
from ldm.requests.canvas import CHOSEN_SIDE_PX
from ui.controls import QUIET, named, unchecked, widget
from ui.in_turn import in_turn
from ui.run import find_preset
from ui.tab import Component, Values, fields_of

TITLE, TITLE_WITH = "Start from a picture", "Start from a picture: one is chosen"
IMAGE = "image"
# Where shapes are kept, light and season change only if all is made anew; what was chosen stays.
SUITED = """(kept, strength) => {
  const usual = %s;
  if (kept > 0 && strength === usual) return 1;
  return kept === 0 && strength === 1 ? usual : strength;
}"""
# formats that browsers show, as Pillow calls them; MPO: a JPEG of some telephones
SHOWN = ("PNG", "JPEG", "MPO", "WEBP", "GIF")
KEPT_READ = 4  # pictures in the cache of `_read`
DROP = "# {}\nChoose a picture"  # the style sheet adds what mouse and keyboard can do
UPRIGHT = 4  # EXIF orientations above this swap width and height


def widgets(request_type: type, inputs: Mapping[str, Component]) -> dict[str, Component]:
    """Build the widgets for picture and strength, in an accordion that a picture opens.

    Args:
        request_type: A request type that can start from a picture.
        inputs: The tab's inputs so far: the preset and, if the request has a size, width and
            height, which follow the shape of an uploaded picture.

    Returns:
        The widgets by name.
    """
    task = request_type.task
    with gr.Accordion(TITLE, open=False, **named(task, "start")) as fold:
        image = unchecked(
            gr.Image(
                label="Picture to start from",
                show_label=False,
                placeholder=DROP.format("A picture to start from"),
                type="filepath",
                format="png",
                sources=["upload", "clipboard"],
                height=150,
                elem_id=f"{task}-{IMAGE}",
                elem_classes=["field-image", "takes-picture"],
            )
        )
        names = [name for name in ("strength", "inversion") if name in controls(request_type)]
        sliders = {n: widget(request_type, n, value=getattr(request_type, n)) for n in names}
    if "inversion" in sliders:
        kept, made_anew = sliders["inversion"], sliders["strength"]
        suited = SUITED % request_type.strength
        kept.input(None, [kept, made_anew], made_anew, js=suited, **QUIET)
    image.change(_headed, image, fold, **QUIET)
    only_pictures(image)
    if "width" in inputs:
        given, sides = [image, inputs["preset"]], [inputs["width"], inputs["height"]]
        image.upload(_shape_of, given, sides, **QUIET)
    return {IMAGE: image} | sliders


def _headed(file: str | None) -> gr.Accordion:
    """The accordion; it opens for a picture, and says that there is one when it is closed again."""
    return gr.Accordion(label=TITLE_WITH, open=True) if file else gr.Accordion(label=TITLE)


def added(
    to_fields: Callable[[Values], Values] = dict,
    to_values: Callable[[Any], Values] = fields_of,
    not_kept: frozenset[str] = frozenset(),
    **about: Any,
) -> dict[str, Any]:
    """Extend a tab's options (see `ui.tab.Tab`) so that they include the picture to start from."""
    with_it = {"to_fields": reading(to_fields), "to_values": showing(to_values)}
    return about | with_it | {"not_kept": not_kept | {IMAGE}}


def reading(to_fields: Callable[[Values], Values]) -> Callable[[Values], Values]:
    """Extend `to_fields` of a tab so that it reads the picture from its file.

    The returned function raises RequestError if the picture cannot be read.
    """

    def read(values: Values) -> Values:
        file = values[IMAGE]
        return to_fields(values) | {IMAGE: _read(Path(file.path)) if file else None}

    return read


def showing(to_values: Callable[[Any], Values]) -> Callable[[Any], Values]:
    """Extend `to_values` of a tab so that it returns the picture as an array."""

    def show(request: Any) -> Values:
        return to_values(request) | {IMAGE: request.image.array() if request.image else None}

    return show


def only_pictures(image: gr.Image) -> None:
    """Take only usable pictures; others are told, and the place is empty again.

    What comes meanwhile is left alone: a large picture takes seconds to read.
    """
    judged = gr.State()
    about = {"trigger_mode": "always_last"} | QUIET
    taken = image.upload(lambda file: judge(file) if file else None, image, judged, **about)
    taken.success(_settle, [image, judged], image, **QUIET)


@dataclass(frozen=True)
class Judged:
    """What becomes of an uploaded file."""

    path: str
    shown: str | None = None  # a PNG in its place, where browsers do not show it
    fault: str = ""  # why it cannot be used


def judge(file: Any) -> Judged:
    """Read an uploaded picture."""
    path = Path(file.path)
    try:
        picture = _read(path)
    except RequestError as error:
        return Judged(file.path, fault=str(error))
    with Image.open(path) as image:
        if image.format in SHOWN:
            return Judged(file.path)
    name = f"{path.stem}.png"
    return Judged(file.path, save_bytes_to_cache(picture.png, name, get_upload_folder()))


def _settle(file: Any, judged: Judged | None) -> Any:
    """The picture as it is, as a file that browsers show, or none, if it is still there."""
    if judged is None or file is None or file.path != judged.path:
        return gr.skip()
    if judged.fault:
        gr.Warning(html.escape(judged.fault, quote=False), title="No picture to use")
        return None
    return judged.shown or gr.skip()


def _shape_of(file: Any, name: str) -> list[Any]:
    """The width and height that suit an uploaded picture and a preset, if it is one."""
    sides = sides_like(Path(file.path), find_preset(name)) if file else {}
    return [*sides.values()] or [gr.skip(), gr.skip()]


def sides_like(path: Path, preset: Preset) -> Values:
    """Width and height of a canvas in the shape of a picture file; {} if it is not a picture.

    The canvas has the picture's own size where that is close to the preset's trained size, see
    `Preset.sides_like`.
    """
    try:
        with Image.open(path) as image:
            lies = image.getexif().get(ExifTags.Base.Orientation, 1) > UPRIGHT
            size = image.size[::-1] if lies else image.size
    except Exception:  # Pillow's readers raise nearly every kind of error
        return {}
    return dict(zip(("width", "height"), preset.sides_like(*size, CHOSEN_SIDE_PX), strict=True))


@functools.lru_cache(KEPT_READ)
def _read(path: Path) -> EncodedImage:
    """Read an uploaded picture; cached, since every estimate needs it. Equal paths, equal files."""
    return in_turn(EncodedImage.from_file, path)
