"""Small pictures side by side, to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr


def strip_of_pictures(
    pictures: Sequence[Any] | None = None,
    *,
    label: str,
    elem_id: str,
    elem_classes: str,
    **options: Any,
) -> gr.Gallery:
    """A gallery without a frame and without a preview of its own: a click chooses.

    Args:
        pictures: As `gr.Gallery` takes them.
        label: For those who hear it.
        elem_id: Its id.
        elem_classes: What it is called in the style sheet.
        options: Passed on to `gr.Gallery`.
    """
    about = {
        "label": label,
        "show_label": False,
        "height": "auto",
        "object_fit": "cover",
        "allow_preview": False,
        "buttons": [],
        "interactive": False,
    }
    classes = [elem_classes, "strip-of-pictures"]
    return gr.Gallery(pictures, elem_id=elem_id, elem_classes=classes, **(about | options))
