"""A picture to start from, in tabs whose requests take one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import ExifTags, Image

from ldm.catalog.schema import Preset
from ldm.request_controls import MAX_SIDE_PX
from ldm.request_json import read_file
from ldm.requests import EncodedImage
from ui.controls import QUIET, named, unchecked, widget
from ui.run import fail, find_preset
from ui.tab import Component, Values, fields_of

TITLE = "Start from a picture"
IMAGE = "image"
KEPT_READ = 4  # pictures
UPRIGHT = 4  # orientations of a photograph up to this one are not on their side


def widgets(request_type: type, inputs: Mapping[str, Component]) -> dict[str, Component]:
    """The picture and how much of it is made anew, closed until there is a picture. By name.

    Args:
        request_type: A request that takes one.
        inputs: The tab's model and, where it is free, the size, which follows a picture's shape.
    """
    task = request_type.task
    with gr.Accordion(TITLE, open=False, **named(task, "start")) as fold:
        image = unchecked(
            gr.Image(
                show_label=False,
                type="filepath",
                format="png",
                sources=["upload", "clipboard"],
                height=150,
                elem_id=f"{task}-{IMAGE}",
                elem_classes=["field-image", "takes-picture"],
            )
        )
        strength = widget(request_type, "strength", value=request_type.strength)
    image.change(lambda file: gr.Accordion(open=True) if file else gr.skip(), image, fold, **QUIET)
    if "width" in inputs:
        given, sides = [image, inputs["preset"]], [inputs["width"], inputs["height"]]
        image.upload(_shape, given, sides, **QUIET)
    return {IMAGE: image, "strength": strength}


def added(
    to_fields: Callable[[Values], Values] = dict,
    to_values: Callable[[Any], Values] = fields_of,
    not_kept: frozenset[str] = frozenset(),
    **about: Any,
) -> dict[str, Any]:
    """How a tab differs from others (see `ui.tab.Tab`), with the picture read and shown."""
    with_it = {"to_fields": reading(to_fields), "to_values": showing(to_values)}
    return about | with_it | {"not_kept": not_kept | {IMAGE}}


def reading(to_fields: Callable[[Values], Values]) -> Callable[[Values], Values]:
    """What makes a request's fields of the widgets' values, with the picture read from its file.

    Raises:
        RequestError: If it cannot be read.
    """

    def read(values: Values) -> Values:
        file = values[IMAGE]
        return to_fields(values) | {IMAGE: _read(Path(file.path)) if file else None}

    return read


def showing(to_values: Callable[[Any], Values]) -> Callable[[Any], Values]:
    """And back: the picture as an array."""

    def show(request: Any) -> Values:
        return to_values(request) | {IMAGE: request.image.array() if request.image else None}

    return show


def keep_shape(chosen: gr.events.Dependency, inputs: Mapping[str, Component]) -> None:
    """When another model is chosen, which brings its own size, a picture still has its shape."""
    if "width" in inputs:
        sides = [inputs["width"], inputs["height"]]
        chosen.then(_shape, [inputs[IMAGE], inputs["preset"]], sides, **QUIET)


def _shape(file: Any, preset: str) -> list[Any]:
    if not file:
        return [gr.skip(), gr.skip()]
    path = Path(file.path)
    sides = sides_like(path, find_preset(preset))
    if not sides:
        raise fail(f"{path.name} is no readable picture; PNG and JPEG work.")
    return [*sides.values()]


def sides_like(path: Path, preset: Preset) -> Values:
    """Width and height for a picture to start from, as its file says them: in its shape, at its own
    size where that is about what the model was trained for. Nothing of what is no picture."""
    try:
        with Image.open(path) as image:
            lies = image.getexif().get(ExifTags.Base.Orientation, 1) > UPRIGHT
            size = image.size[::-1] if lies else image.size
    except Exception:  # Pillow's readers raise nearly every kind of error
        return {}
    return dict(zip(("width", "height"), preset.sides_like(*size, MAX_SIDE_PX), strict=True))


@functools.lru_cache(KEPT_READ)
def _read(path: Path) -> EncodedImage:
    """Once: an estimate asks for it at every change. Uploads of the same name are the same."""
    return read_file(IMAGE, path)
