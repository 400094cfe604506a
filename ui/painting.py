"""The canvas to paint on: a mask over a picture, or a label map.

The browser keeps the painting as one class index per pixel of the picture (`painting.js`). It is
never read back from a drawing surface, so there are no soft edges and no colour management. It is
sent as runs (see `ui.labels`), which are small enough to send with every press of a button.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder, is_in_or_equal

from ldm.errors import LDMError, RequestError
from ldm.requests import EncodedImage
from ldm.requests.canvas import MAX_PIXELS, check_canvas
from ui import scripts
from ui.in_turn import in_turn
from ui.labels import decode_runs, encode_runs, read_map, read_mask
from ui.run import fail, in_words

HERE = Path(__file__).parent
KINDS = ("mask", "map")
MASK_PALETTE = (("Keep", "#000000"), ("Generate", "#e5484d"))
MAX_CLASSES = 256
FILE = {"_type": "gradio.FileData"}
TRANSPARENT = "What was transparent is marked."


@dataclass(frozen=True, eq=False)
class Painting:
    """A painted mask or label map.

    Attributes:
        labels: (H, W) uint8, the class of every pixel; in a mask, 1 is where to generate.
        picture: The picture below a mask, of the same size; None for a label map.
    """

    labels: np.ndarray
    picture: EncodedImage | None = None


class Painter(gr.HTML):
    """A canvas of class indices with brush, line, rectangle and fill.

    Its value is a `Painting`, or None while there is nothing to paint on.
    """

    def __init__(
        self,
        value: Painting | None = None,
        *,
        kind: str = "mask",
        palette: Sequence[Sequence[str]] = MASK_PALETTE,
        size: Sequence[int] = (512, 512),
        multiple: int = 1,
        first: Mapping[str, Any] | None = None,
        edge: Sequence[int] = (0, 0),
        **options: Any,
    ) -> None:
        """Build the canvas.

        Args:
            value: Initial painting.
            kind: "mask" over a picture, or "map" for a label map.
            palette: Name and `#rrggbb` of every class.
            size: Width and height in px of a new, blank label map.
            multiple: Sides of a new label map are multiples of this many px.
            first: Initial label map (from `labels_value`) if there is no value and the browser
                remembers none.
            edge: Initial px by which a mask is grown and feathered.
            options: Passed on to `gr.HTML`.
        """
        props = {
            "kind": kind,
            "palette": [list(pair) for pair in palette],
            "size": list(size),
            "multiple": multiple,
            "first": first,
            "edge": list(edge),
        }
        self.kind = kind
        options = {
            "html_template": "<div class='painter'></div>",
            "css_template": (HERE / "painting.css").read_text("utf-8"),
            "js_on_load": scripts.start("painter"),
            "apply_default_css": False,
            "server_functions": [picture_of_file, mask_of_file, map_of_file],
            **options,
        }
        super().__init__(value, store=options.get("elem_id"), **props, **options)

    def preprocess(self, payload: Any) -> Painting | None:
        """Parse and check the painting that the browser sent.

        Raises:
            gr.Error: If it is invalid.
        """
        try:
            return painting_of(payload, self.kind, Path(self.GRADIO_CACHE))
        except LDMError as error:
            raise fail(in_words(str(error), {})) from error

    def postprocess(self, value: Painting | None) -> dict[str, Any] | None:
        """Convert a painting to JSON for the browser."""
        if value is None:
            return None
        height, width = value.labels.shape
        picture = None
        if value.picture is not None:
            path = save_bytes_to_cache(value.picture.png, "picture.png", self.GRADIO_CACHE)
            picture = {"path": path, "meta": FILE}
        labels = encode_runs(value.labels)
        return {"width": width, "height": height, "labels": labels, "picture": picture}

    def api_info(self) -> dict[str, Any]:
        """JSON schema of the value that a client sends."""
        side = {"type": "integer"}
        kinds = {"width": side, "height": side, "labels": {"type": "string"}}
        return {"type": "object", "properties": kinds | {"picture": {"type": "object"}}}

    def example_payload(self) -> None:
        """None: a painting needs an uploaded picture."""

    def example_value(self) -> None:
        """None: a painting needs an uploaded picture."""


def painting_of(payload: Any, kind: str, cache: Path) -> Painting | None:
    """Convert the browser's value to a painting; None stays None.

    Args:
        payload: Untrusted mapping of width, height, labels (runs) and picture (a file in the
            cache), or None.
        kind: "mask" or "map".
        cache: The folder of uploaded files; files outside it are not opened.

    Raises:
        RequestError: If the payload is invalid, too large, or the picture has another size.
    """
    if payload is None:
        return None
    values = payload if isinstance(payload, Mapping) else {}
    width, height = values.get("width"), values.get("height")
    if not all(type(side) is int and side > 0 for side in (width, height)):
        raise RequestError(f"a painting must have a width and a height, got {payload!r:.80}.")
    if kind == "map":
        check_canvas("a painting", width, height)
    if width * height > MAX_PIXELS:
        limit = f"up to {MAX_PIXELS // 10**6} megapixels work"
        raise RequestError(f"the painting is {width} x {height} px; {limit}.")
    labels = decode_runs(values.get("labels"), width, height, 2 if kind == "mask" else MAX_CLASSES)
    if kind == "map":
        return Painting(labels)
    picture = _picture(values.get("picture"), cache)
    if picture is not None and picture.size != (width, height):
        raise RequestError(
            f"the mask must be as large as the picture, {picture.width} x {picture.height} px, "
            f"got {width} x {height} px."
        )
    return Painting(labels, picture)


def _picture(file: Any, cache: Path) -> EncodedImage | None:
    if file is None:
        return None
    path = _uploaded(file, cache)
    try:
        return EncodedImage(path.read_bytes())  # usually written by `picture_of_file`
    except LDMError:
        return in_turn(EncodedImage.from_file, path)


def _uploaded(file: Any, cache: Path) -> Path:
    """Check and return the path of an uploaded file.

    Raises:
        RequestError: If the path is outside the cache or the file does not exist.
    """
    path = file.get("path") if isinstance(file, Mapping) else None
    if not isinstance(path, str) or "\0" in path or not is_in_or_equal(path, cache):
        raise RequestError("the picture must be one that was uploaded here.")
    if not Path(path).is_file():
        raise RequestError("the picture is no longer on the server; please load it again.")
    return Path(path)


def picture_of_file(asked: Any) -> dict[str, Any]:
    """Server function of the canvas: uploaded file -> PNG of the picture, its width and height.

    Transparent parts are there to be filled: they come as labels.
    """

    def read(path: Path) -> dict[str, Any]:
        image = EncodedImage.from_file(path)
        saved = save_bytes_to_cache(image.png, f"{path.stem or 'picture'}.png", str(cache))
        file = {"path": saved, "orig_name": path.name, "meta": FILE}
        answer = {"file": file, "width": image.width, "height": image.height}
        gone = EncodedImage.transparent_in(path)
        return answer if gone is None else answer | labels_value(gone, TRANSPARENT)

    cache = Path(get_upload_folder())
    return _answer(asked, cache, read)


def mask_of_file(asked: Any) -> dict[str, Any]:
    """Server function of the canvas: uploaded file -> mask of the picture's size."""

    def read(path: Path) -> dict[str, Any]:
        return labels_value(*read_mask(path, *_size(asked)))

    return _answer(asked, Path(get_upload_folder()), read)


def map_of_file(asked: Any) -> dict[str, Any]:
    """Server function of the canvas: uploaded file -> label map of the palette's classes."""

    def read(path: Path) -> dict[str, Any]:
        labels, note = read_map(path, _colours(asked.get("colours")))
        check_canvas("a label map", *labels.shape[::-1])
        return labels_value(labels, note)

    return _answer(asked, Path(get_upload_folder()), read)


def _answer(asked: Any, cache: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Return `read(path of the uploaded file)`, or {"error": sentence} if it fails."""
    try:
        return in_turn(read, _uploaded(asked, cache))
    except LDMError as error:
        return {"error": in_words(str(error), {})}


def labels_value(labels: np.ndarray, note: str = "") -> dict[str, Any]:
    """Convert a label map (H, W) uint8 to JSON for the browser, with a note for the user."""
    height, width = labels.shape
    return {"width": width, "height": height, "labels": encode_runs(labels), "note": note}


def _size(asked: Mapping[str, Any]) -> tuple[int, int]:
    sides = asked.get("width"), asked.get("height")
    if not all(type(side) is int and side > 0 for side in sides) or math.prod(sides) > MAX_PIXELS:
        raise RequestError(f"the picture's width and height must be in px, got {sides!r:.80}.")
    return sides


def _colours(values: Any) -> list[str]:
    names = values if isinstance(values, list) else []
    if not 0 < len(names) <= MAX_CLASSES or not all(map(_is_colour, names)):
        raise RequestError("the palette must have 1 to 256 colours like #86bee8.")
    return names


def _is_colour(value: Any) -> bool:
    if not isinstance(value, str) or len(value) != 7 or value[0] != "#":
        return False
    return all(digit in "0123456789abcdefABCDEF" for digit in value[1:])
