"""Component to pick a class: tiles with thumbnails or colours, and a search for long lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ui import scripts

HERE = Path(__file__).parent
ANY = "any"
Tiles = Sequence[tuple[str, str, str | None]]
"""(name, "#rrggbb", URL of a thumbnail or None) of each class, by class index."""


class ClassPicker(gr.HTML):
    """Picker of one class or of "any". The value is the class index as text, or `ANY`.

    Args:
        value: Initial value.
        classes: Names, colours and thumbnails of the classes.
        any: Whether to offer "any", for models that can sample without a class.
        options: Passed on to `gr.HTML`.
    """

    def __init__(
        self, value: str = ANY, *, classes: Tiles = (), any: bool = False, **options: Any
    ) -> None:
        for name, kind in (("html_template", "html"), ("css_template", "css")):
            options.setdefault(name, (HERE / f"classes.{kind}").read_text("utf-8"))
        options.setdefault("apply_default_css", False)
        options.setdefault("js_on_load", scripts.start("classes"))
        super().__init__(value=value, classes=[list(tile) for tile in classes], any=any, **options)


def class_index(value: Any) -> Any:
    """Convert the picker's value to the request field; leave invalid values for its check."""
    text = str(value).strip()
    if value is None or text in ("", ANY):
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else value
