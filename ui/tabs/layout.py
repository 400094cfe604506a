"""The layout tab: draw labelled boxes; the generated picture is shown under them."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ldm.catalog.schema import Preset
from ldm.jobs import JobQueue
from ldm.requests import Box, Layout
from ui import boxes
from ui.boxes import BoxEditor, read_boxes, sketch
from ui.controls import QUIET
from ui.form import Form
from ui.run import find_preset
from ui.tab import EXAMPLES, Tab, Values, fields_of, fills

HINT = "Draw boxes, say what is in them, and press Generate."
FIRST = (
    Box("moon", 0.62, 0.12, 0.74, 0.24),
    Box("pine", 0.1, 0.4, 0.3, 0.84),
    Box("house", 0.46, 0.56, 0.7, 0.8),
)
"""Initial boxes of the demo model's canvas, so that Generate works at once."""
SCENES = EXAMPLES / "layout" / "scenes.json"
BOXES_ID = "layout-boxes"
SHAPE = f"(width, height) => {{ latentCanvas.shapeBoxes({BOXES_ID!r}, width, height); }}"
UNDER = f"(picture) => {{ latentCanvas.showUnderBoxes({BOXES_ID!r}, picture); }}"


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    made = Form(Layout)
    with gr.Row(**made.named("studio")):
        with gr.Column(**made.named("left")):
            made.act()
            made.settings(sized=True)
        with gr.Column(**made.named("right")):
            with gr.Column(**made.named("canvas")):
                editor = made.add(
                    "boxes", kind=BoxEditor, value=_first(made.start), **about_classes(made.start)
                )
            made.show(HINT)
            drawn = [(sketch(scene, made.start.palette), name) for name, scene in scenes().items()]
            about = {"object_fit": "contain", "format": "png"}
            sketches = made.start_from("Start from a scene", drawn, **about)
    tab = made.tab(jobs, to_fields=to_fields, to_values=to_values)
    _connect(editor, tab)
    taken = [editor, tab.inputs["width"], tab.inputs["height"]]
    fills(made.task, sketches, _take, None, taken)
    return tab


def scenes() -> dict[str, Values]:
    """Example layouts by name, each as a value of the box editor."""
    return json.loads(SCENES.read_text("utf-8"))


def _take(event: gr.SelectData) -> tuple[Values, int, int]:
    """The clicked scene and its size, for the canvas; Undo brings back the drawn boxes."""
    scene = list(scenes().values())[event.index]
    return scene | {"picture": None}, scene["width"], scene["height"]


def _first(preset: Preset) -> dict[str, Any]:
    known = {name for name, _ in preset.palette}
    shown = [box for box in FIRST if box.label in known]
    return boxes.layout(shown, *preset.usual_sides)


def about_classes(preset: Preset) -> dict[str, Any]:
    """The properties of the box editor for a preset: classes or their number, and the box limit."""
    return {
        "classes": [list(pair) for pair in preset.palette],
        "numbers": 0 if preset.classes else preset.architecture.conditioner.vocab_size - 1,
        "limit": preset.max_boxes,
    }


def _connect(editor: BoxEditor, tab: Tab) -> None:
    """Update the canvas when preset or size change, and show each picture under the boxes.

    Shape and picture are changed in the browser, which has the current boxes; Gradio's copy of
    them may be older.
    """
    chooser, sides = tab.inputs["preset"], [tab.inputs["width"], tab.inputs["height"]]
    chooser.change(
        lambda name: gr.update(**about_classes(find_preset(name))), chooser, editor, **QUIET
    )
    for side in sides:
        side.change(None, sides, None, js=SHAPE, **QUIET)
    picture = tab.stage.picture
    picture.change(None, picture, None, js=UNDER, **QUIET)


def to_fields(values: Values) -> Values:
    """Convert input values to request fields.

    Raises:
        RequestError: If a box is invalid.
    """
    return values | {"boxes": read_boxes(values["boxes"])}


def to_values(request: Layout) -> Values:
    """Convert a request to input values, without `picture`: one under other boxes is removed."""
    shown = boxes.layout(request.boxes, request.width, request.height)
    del shown["picture"]
    return fields_of(request) | {"boxes": shown}
