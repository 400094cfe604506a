"""The scripts of the page's own components: each stands once in the head, however often it is used.

A component's `js_on_load` only calls its script. That also keeps Gradio from taking every word in
quotes there for the name of an event, which hung the whole page on a property of that name, to be
copied with it for every visitor.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
ARGUMENTS = "element, trigger, props, server, upload, watch"  # what Gradio gives a component
PAINTER = ("raster", "edge", "view", "history", "files", "bar")  # none of them knows the page
COMPONENTS = {
    "painter": (*(f"painting_{part}.js" for part in PAINTER), "painting.js"),
    "boxes": ("boxes.js",),
    "classes": ("classes.js",),
    "slider": ("slider.js",),
}
"""Component -> its files, which share one scope."""


def start(component: str) -> str:
    """What a component does when it is loaded."""
    return f"latentCanvas.components.{component}({ARGUMENTS});"


def all_components() -> str:
    """JavaScript that a page needs once, after page.js."""
    return "\n".join(_defined(name, files) for name, files in COMPONENTS.items())


def _defined(component: str, files: tuple[str, ...]) -> str:
    body = "\n".join((HERE / file).read_text("utf-8") for file in files)
    return f"latentCanvas.components.{component} = ({ARGUMENTS}) => {{\n{body}\n}};"
