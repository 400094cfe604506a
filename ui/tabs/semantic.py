"""The semantic tab: paint a label map and generate a picture of it."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from ldm.catalog.schema import Preset
from ldm.errors import RequestError
from ldm.jobs import JobQueue
from ldm.requests import EncodedImage, Semantic
from ui.controls import QUIET
from ui.form import Form
from ui.painting import Painter, Painting, labels_value
from ui.run import find_preset, load_request
from ui.tab import Tab, Values, example_paths, fields_of

HINT = (
    "Choose a class, paint over the map, and press Generate; or start from one of the maps below."
)


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    made = Form(Semantic)
    with gr.Row(**made.named("studio")):
        with gr.Column(**made.named("left")):
            canvas = made.inputs["label_map"] = _canvas(made)
            made.act()
            made.settings(sized=False)
        with gr.Column(**made.named("right")):
            made.show(HINT)
    chooser = made.inputs["preset"]
    chooser.change(
        lambda name: gr.update(**about_model(find_preset(name))), chooser, canvas, **QUIET
    )
    large = frozenset({"label_map"})
    return made.tab(jobs, to_fields=to_fields, to_values=to_values, not_kept=large)


def _canvas(made: Form) -> Painter:
    return Painter(kind="map", **about_model(made.start), **made.named("label-map"))


def about_model(preset: Preset) -> dict[str, Any]:
    """The properties of the canvas for a preset."""
    return {
        "palette": [list(pair) for pair in preset.palette],
        "size": _blank_size(preset),
        "multiple": preset.size_multiple,
        "first": _first_map(preset),
    }


def _first_map(preset: Preset) -> dict[str, Any]:
    """Initial label map: that of the preset's first example, or else a blank one."""
    requests = (load_request(path) for path in example_paths(Semantic.task))
    maps = (r.label_map.array() for r in requests if r.preset == preset.name)
    width, height = _blank_size(preset)
    return labels_value(next(maps, np.zeros((height, width), np.uint8)))


def _blank_size(preset: Preset) -> tuple[int, int]:
    return 3 * preset.width, 2 * preset.height


def to_fields(values: Values) -> Values:
    """Convert input values to request fields.

    Raises:
        RequestError: If there is no label map.
    """
    painting: Painting | None = values["label_map"]
    if painting is None:
        raise RequestError("There is no label map yet; paint one.")
    return values | {"label_map": EncodedImage.from_array(painting.labels)}


def to_values(request: Any) -> Values:
    """Convert a request to input values."""
    return fields_of(request) | {"label_map": Painting(request.label_map.array())}
