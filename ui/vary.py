"""What is made of the picture on show: others like it, and its steps."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ldm.errors import RequestError
from ldm.jobs import JobQueue
from ldm.progression import Progression
from ldm.seeds import read_variations, write_variations
from ui.run import Picture, Visit, make_request
from ui.stage import Stage, starts_run

VARIED = 0.3  # of the way to another seed


def connect(jobs: JobQueue, stage: Stage, count: gr.components.Component) -> None:
    """Let buttons make others like the picture on show, and show how it came to be; the settings
    stay as they are."""

    def wanted(visit: Visit, count: Any) -> Any:
        if visit.shown is None:
            raise RequestError("There is no picture to vary yet.")
        return varied(visit.shown, count)

    def progression(visit: Visit) -> Progression:
        if visit.shown is None:
            raise RequestError("There is no picture yet whose steps could be seen.")
        return stepwise(visit.shown)

    starts_run(jobs, stage, stage.vary, wanted, {"count": count})
    if stage.steps is not None:
        starts_run(jobs, stage, stage.steps, progression, {})


def stepwise(picture: Picture) -> Progression:
    """What shows the steps of a picture.

    Raises:
        gr.Error: If its file is gone or damaged.
        RequestError: If it is a sheet.
    """
    if picture.is_sheet:
        raise RequestError("This is a sheet of pictures; choose one of them in the row.")
    return Progression(picture.request)


def varied(picture: Picture, count: Any) -> Any:
    """The request for others like a picture: its noise, turned a part of the way to new seeds'.

    Raises:
        gr.Error: If its file is gone or damaged.
        RequestError: If it is a sheet, it was varied too often, or the number is out of range.
    """
    if picture.is_sheet:
        raise RequestError("This is a sheet of pictures; choose one of them in the row to vary it.")
    request = picture.request
    variations = write_variations([*read_variations(request.variations), (None, VARIED)])
    return make_request(type(request), vars(request) | {"variations": variations, "count": count})
