"""Small pictures side by side, to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr


class Strip(gr.Gallery):
    """A gallery that no endpoint gives or takes, so the page does not carry its long schema."""

    is_template = True  # to the browser it is a gallery

    @property
    def skip_api(self) -> bool:
        """Left out of what programs are told."""
        return True


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
    return Strip(pictures, elem_id=elem_id, elem_classes=classes, **(about | options))
