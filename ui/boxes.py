"""A canvas on which boxes with classes are drawn, moved, resized and named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from ldm.errors import LDMError, RequestError
from ldm.requests import Box
from ldm.requests.as_json import boxes_of
from ui import scripts
from ui.run import fail

HERE = Path(__file__).parent
PAPER, INK = "#fbfaf5", "#1b2a2d"  # colours of the canvas, as in boxes.css
EDGES = ("left", "top", "right", "bottom")
MAX_SENT = 1000  # most boxes that are parsed; a request takes far fewer
Classes = Sequence[tuple[str, str]]
"""(name, "#rrggbb") of each class, in palette order."""


class BoxEditor(gr.HTML):
    """Editor for labelled boxes on a canvas of the picture's shape: mouse, touch and keyboard.

    In Python its value is `tuple[Box, ...]`. On the page, and in what a client sends, it is
    `{width, height, boxes: [{label, left, top, right, bottom}], picture}`: the size in px, the
    edges as fractions of the canvas, and the URL of a picture to show under the boxes, or null.
    A value sent to the page without a size keeps the current one; without `picture`, the current
    picture stays only if the boxes are the same.

    Args:
        value: Boxes, or a value of the page as `layout` returns it.
        classes: Names and colours of the classes that a box can have.
        limit: Maximum number of boxes; 0: unlimited.
        numbers: Number of classes if their names are unknown; labels are then 0 to numbers - 1.
        options: Passed on to `gr.HTML`.
    """

    def __init__(
        self,
        value: Any = None,
        *,
        classes: Classes = (),
        limit: int = 0,
        numbers: int = 0,
        **options: Any,
    ) -> None:
        for name, file in (("html_template", "boxes.html"), ("css_template", "boxes.css")):
            options.setdefault(name, (HERE / file).read_text("utf-8"))
        options.setdefault("apply_default_css", False)
        options.setdefault("js_on_load", scripts.start("boxes"))
        pairs = [list(pair) for pair in classes]
        super().__init__(value=value, classes=pairs, limit=limit, numbers=numbers, **options)

    def preprocess(self, payload: Any) -> tuple[Box, ...]:
        """Parse the value that the page sent.

        Raises:
            gr.Error: If an item is not a valid box.
        """
        try:
            return read_boxes(payload)
        except LDMError as error:
            raise fail(str(error)) from error

    def postprocess(self, value: Any) -> dict[str, Any] | None:
        """Convert boxes, or a value of the page, to JSON for the page."""
        if value is None:
            return None
        about = dict(value) if isinstance(value, Mapping) else {"boxes": value}
        return about | {"boxes": [as_plain(box) for box in read_boxes(about.get("boxes", ()))]}

    def api_info(self) -> dict[str, Any]:
        """JSON schema of the value that a client sends."""
        edges = {edge: {"type": "number", "minimum": 0, "maximum": 1} for edge in EDGES}
        box = {"type": "object", "properties": {"label": {"type": "string"}, **edges}}
        return {
            "type": "object",
            "properties": {
                "width": {"type": "integer"},
                "height": {"type": "integer"},
                "boxes": {"type": "array", "items": box},
                "picture": {"type": "string"},
            },
        }

    def example_payload(self) -> dict[str, Any]:
        """An example of a value that a client could send."""
        return layout((Box("tree", 0.1, 0.4, 0.35, 0.9),), 128, 128)

    def example_value(self) -> dict[str, Any]:
        """The value of `example_payload`."""
        return self.example_payload()


def layout(
    boxes: Iterable[Box], width: int, height: int, picture: str | None = None
) -> dict[str, Any]:
    """Build the editor's value for the page.

    Args:
        boxes: Labelled boxes, with edges as fractions of the canvas.
        width: Width of the canvas in px; only the aspect ratio matters.
        height: Height of the canvas in px.
        picture: URL of a picture to show under the boxes.
    """
    plain = [as_plain(box) for box in boxes]
    return {"width": width, "height": height, "boxes": plain, "picture": picture}


def as_plain(box: Box) -> dict[str, Any]:
    """A box as JSON for the page."""
    return {"label": box.label} | {edge: getattr(box, edge) for edge in EDGES}


def sketch(value: Mapping[str, Any], classes: Classes, side: int = 240) -> Image.Image:
    """Draw a layout as a thumbnail whose longer side is `side` px, boxes in class colours."""
    scale = side / max(value["width"], value["height"])
    size = (round(value["width"] * scale), round(value["height"] * scale))
    image = Image.new("RGB", size, PAPER)
    colours, pen = dict(classes), ImageDraw.Draw(image, "RGBA")
    for box in read_boxes(value):
        edges = [getattr(box, edge) * size[i % 2] for i, edge in enumerate(EDGES)]
        colour = colours.get(box.label, INK)
        pen.rounded_rectangle(edges, 3, fill=colour + "66", outline=INK + "60", width=3)
        pen.rounded_rectangle(edges, 3, outline=colour, width=2)
    return image


def read_boxes(payload: Any) -> tuple[Box, ...]:
    """Parse boxes from untrusted input of the page or of a client.

    Args:
        payload: A value of the page, its list of boxes, either of the two as a JSON string, or
            None or an empty string for no boxes.

    Raises:
        RequestError: If the payload is anything else, has more than MAX_SENT boxes, or an item is
            not a valid box.
    """
    if isinstance(payload, str) and payload.strip():
        try:
            payload = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"boxes must be a JSON list, got {payload!r:.80}.") from error
    if isinstance(payload, Mapping):
        payload = payload.get("boxes")
    if payload in (None, ""):
        return ()
    if isinstance(payload, (list, tuple)) and len(payload) > MAX_SENT:
        raise RequestError(f"boxes must be at most {MAX_SENT}, got {len(payload)}.")
    return boxes_of(payload)
