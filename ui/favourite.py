"""A star on the picture on show in a tab: it becomes one of the favourites of the history."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ldm.errors import LDMError
from ldm.history import History
from ui.controls import IN_ORDER, QUIET, named
from ui.run import Visit, fail

STAR, STARRED_ONE = "☆ Favourite", "★ Favourite"


def create(task: str) -> gr.Button:
    """Build the button of a tab; the style sheet hides it where there is no history."""
    return gr.Button(STAR, size="sm", scale=0, **named(task, "star"))


def connect(star: gr.Button, plate: gr.HTML, visit: gr.State, history: History) -> None:
    """Let the button tell whether the picture on show is a favourite, and change it.

    It looks anew when the `plate` changes, as it does with the picture.
    """

    def look(visit: Visit) -> gr.Button:
        path = _made(visit, history)
        is_one = path is not None and history.is_starred(path)
        return gr.Button(STARRED_ONE if is_one else STAR, interactive=path is not None)

    def change(visit: Visit, seen: str) -> str:
        path = _made(visit, history)
        if path is None:
            raise fail("Only a picture that was made here can be a favourite.")
        try:
            # what was seen is changed, whatever was done to it in the history meanwhile
            if history.is_starred(path) == (seen == STARRED_ONE):
                history.toggle_star(path)
            return STAR if seen == STARRED_ONE else STARRED_ONE
        except LDMError as error:
            raise fail(str(error)) from error

    plate.change(look, visit, star, queue=False, **QUIET)
    star.click(change, [visit, star], star, **IN_ORDER, **QUIET)


def _made(visit: Visit, history: History) -> Path | None:
    """Return the picture on show, if it is one of the history's."""
    path = Path(visit.shown.path) if visit.shown else None
    return path if path is not None and path.is_relative_to(history.folder) else None
