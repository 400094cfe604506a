"""A picker of one class: tiles with thumbnails or colours, and a search where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ui import scripts

HERE = Path(__file__).parent
ANY = "any"
Tiles = Sequence[tuple[str, str, str | None]]
"""(name, "#rrggbb", address of a thumbnail or None) in the order of the classes' numbers."""


class ClassPicker(gr.HTML):
    """One class, or any. The value is the number of the class as text, or `ANY`.

    Args:
        value: What is chosen at first.
        classes: What can be chosen.
        any: Whether the model can do without a class.
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
    """The request's field from the picker's value; what is no number is left to be refused."""
    text = str(value).strip()
    if value is None or text in ("", ANY):
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else value
