"""The class-conditional tab: pictures of one class, or of any class."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import gradio as gr

from ldm.catalog.schema import Preset
from ldm.jobs import JobQueue
from ldm.requests import ClassConditional
from ui.classes import ANY, ClassPicker, class_index
from ui.controls import QUIET
from ui.form import Form
from ui.run import find_preset
from ui.tab import EXAMPLES, Tab, Values, fields_of

HINT = "Choose a class and press Generate: every seed draws another picture of it."
COUNT = 4  # initial number of pictures: several show what a class has in common
THUMBNAILS = EXAMPLES / "classes"  # a folder per preset, a file per class: 0.jpg, 1.jpg, ...


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    made = Form(ClassConditional)
    gr.set_static_paths([EXAMPLES])
    with gr.Row(**made.named("studio")):
        with gr.Column(**made.named("left")):
            with gr.Column(**made.named("words")):
                picker = made.add("class_index", kind=ClassPicker, **about_classes(made.start))
            made.act()
            made.settings(sized=True, count=COUNT)
        with gr.Column(**made.named("right")):
            made.show(HINT)
    chooser = made.inputs["preset"]
    chooser.change(
        lambda name: gr.update(**about_classes(find_preset(name))), chooser, picker, **QUIET
    )
    return made.tab(jobs, to_fields=to_fields, to_values=to_values)


def about_classes(preset: Preset) -> dict[str, Any]:
    """The properties of the class picker for a preset."""
    folder = THUMBNAILS / preset.name
    tiles = [
        [name, colour, _address(folder / f"{number}.jpg") if folder.is_dir() else None]
        for number, (name, colour) in enumerate(preset.palette)
    ]
    if not tiles:
        return {"classes": [], "any": True, "value": ANY}
    return {"classes": tiles, "any": preset.null_class is not None}


def _address(path: Any) -> str | None:
    return f"gradio_api/file={quote(str(path))}" if path.is_file() else None


def to_fields(values: Values) -> Values:
    """Convert input values to request fields."""
    return values | {"class_index": class_index(values["class_index"])}


def to_values(request: ClassConditional) -> Values:
    """Convert a request to input values."""
    chosen = ANY if request.class_index is None else str(request.class_index)
    return fields_of(request) | {"class_index": chosen}
