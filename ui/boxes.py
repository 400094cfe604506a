"""A canvas on which boxes with classes are drawn, moved, resized and named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from ldm.errors import LDMError, RequestError
from ldm.request_json import boxes_of
from ldm.requests import Box
from ui import scripts
from ui.run import fail

HERE = Path(__file__).parent
PAPER, INK = "#fbfaf5", "#1b2a2d"  # of the canvas, as in boxes.css
EDGES = ("left", "top", "right", "bottom")
MAX_SENT = 1000  # boxes that are looked at; a request has room for far fewer
Classes = Sequence[tuple[str, str]]
"""(name, "#rrggbb") in the order of the palette."""


class BoxEditor(gr.HTML):
    """Boxes over a canvas of the picture's shape, by mouse, pen, finger and keyboard.

    In Python its value is `tuple[Box, ...]`; on the page, and for whoever sends one, it is
    `{width, height, boxes: [{label, left, top, right, bottom}], picture}` with the edges as
    fractions of the canvas, its size in px and the address of a picture under the boxes, or null.
    What is left out of a value that goes to the page stays there as it is.

    Args:
        value: Boxes, or such a value; see `layout`.
        classes: What boxes can be.
        limit: How many boxes there can be; 0: as many as one likes.
        numbers: Without known class names the labels are numbers, from 0 to below this.
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
        """What the page sent, as boxes.

        Raises:
            gr.Error: If one of them is no box.
        """
        try:
            return read_boxes(payload)
        except LDMError as error:
            raise fail(str(error)) from error

    def postprocess(self, value: Any) -> dict[str, Any] | None:
        """Boxes, or a value of the page, for the page."""
        if value is None:
            return None
        about = dict(value) if isinstance(value, Mapping) else {"boxes": value}
        return about | {"boxes": [as_plain(box) for box in read_boxes(about.get("boxes", ()))]}

    def api_info(self) -> dict[str, Any]:
        """The JSON schema of what is sent."""
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
        """What a program could send."""
        return layout((Box("tree", 0.1, 0.4, 0.35, 0.9),), 128, 128)

    def example_value(self) -> dict[str, Any]:
        """The same."""
        return self.example_payload()


def layout(
    boxes: Iterable[Box], width: int, height: int, picture: str | None = None
) -> dict[str, Any]:
    """The value of the page.

    Args:
        boxes: What is where.
        width: Of the canvas in px; only the shape matters.
        height: Of the canvas in px.
        picture: Address of a picture under the boxes.
    """
    plain = [as_plain(box) for box in boxes]
    return {"width": width, "height": height, "boxes": plain, "picture": picture}


def as_plain(box: Box) -> dict[str, Any]:
    """A box as it goes to the page."""
    return {"label": box.label} | {edge: getattr(box, edge) for edge in EDGES}


def sketch(value: Mapping[str, Any], classes: Classes, side: int = 240) -> Image.Image:
    """A layout as a small picture: its boxes in their classes' colours, the longer side in px."""
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
    """Boxes from what the page or a program sent, which may be anything.

    Args:
        payload: A value of the page, its list of boxes, either as JSON, or nothing.

    Raises:
        RequestError: If it is something else, or a box is none.
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
