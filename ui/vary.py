"""Runs based on the shown picture: variations of it, and the progression of its steps."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ldm.errors import RequestError
from ldm.jobs import JobQueue
from ldm.requests.progression import Progression
from ldm.requests.seeds import read_variations, write_variations
from ui.run import Picture, Visit
from ui.stage import Stage, starts_run
from ui.values import make_request

VARIED = 0.3  # share of the way to another seed's noise


def connect(jobs: JobQueue, stage: Stage, count: gr.components.Component) -> None:
    """Connect the buttons for variations and for the progression of the shown picture.

    The settings in the inputs do not change.
    """

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
    """Return the progression of a picture.

    Raises:
        gr.Error: If the picture's file is gone or damaged.
        RequestError: If the picture is a sheet.
    """
    if picture.is_sheet:
        raise RequestError("This is a sheet of pictures; choose one of them in the row.")
    return Progression(picture.request)


def varied(picture: Picture, count: Any) -> Any:
    """Return the request for variations: the picture's noise, turned partly to new seeds' noise.

    Raises:
        gr.Error: If the picture's file is gone or damaged.
        RequestError: If the picture is a sheet or was varied too often, or `count` is out of range.
    """
    if picture.is_sheet:
        raise RequestError("This is a sheet of pictures; choose one of them in the row to vary it.")
    request = picture.request
    variations = write_variations([*read_variations(request.variations), (None, VARIED)])
    return make_request(type(request), vars(request) | {"variations": variations, "count": count})
