"""JavaScript of the page's custom components, each included once in the page's head.

A component's `js_on_load` only calls its script. This also avoids a problem of Gradio, which takes
every quoted word in `js_on_load` for an event name: it attached the whole page to a property of
that name, and copied it for every visitor.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
ARGUMENTS = "element, trigger, props, server, upload, watch"  # what Gradio passes to `js_on_load`
PAINTER = ("raster", "edge", "view", "history", "files", "bar")  # these do not depend on the page
COMPONENTS = {
    "painter": (*(f"painting_{part}.js" for part in PAINTER), "painting.js"),
    "boxes": ("boxes.js",),
    "classes": ("classes.js",),
    "slider": ("slider.js",),
}
"""Component -> its JavaScript files, which share one scope."""


def start(component: str) -> str:
    """The `js_on_load` of a component."""
    return f"latentCanvas.components.{component}({ARGUMENTS});"


def all_components() -> str:
    """JavaScript that defines all components; it must follow page.js."""
    return "\n".join(_defined(name, files) for name, files in COMPONENTS.items())


def _defined(component: str, files: tuple[str, ...]) -> str:
    body = "\n".join((HERE / file).read_text("utf-8") for file in files)
    return f"latentCanvas.components.{component} = ({ARGUMENTS}) => {{\n{body}\n}};"
