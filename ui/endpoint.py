"""The tasks for programs, over HTTP: named fields in, pictures out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.events import Failed, Result
from ldm.jobs import JobQueue
from ui.controls import as_endpoint, endpoint_widgets, from_files
from ui.run import fail, make_request, say
from ui.stage import FOLLOWERS, PACE


def open_endpoint(jobs: JobQueue, request_type: type) -> None:
    """The task for programs: fields in, (status, pictures, picture) out, the picture last.

    It has widgets of its own, never shown: what a caller leaves open is the preset's default,
    not what happens to stand on the page.
    """

    def run(**values: Any) -> Iterator[tuple[Any, ...]]:
        try:
            job_id = jobs.submit(make_request(request_type, from_files(values)))
        except LDMError as error:
            raise fail(str(error)) from error
        try:
            for event in jobs.follow(job_id, PACE):
                if isinstance(event, Failed):
                    raise fail(event.message)
                paths = [str(path) for path in event.paths] if isinstance(event, Result) else []
                yield (
                    ": ".join(filter(None, say(event))),
                    paths or None,
                    paths[0] if paths else None,
                )
        finally:
            with suppress(LDMError):  # it is over and forgotten
                jobs.cancel(job_id)  # whoever asked has gone; nothing happens if it is over

    run.__name__ = request_type.task.replace("-", "_")
    run.__doc__ = request_type.__doc__.split("\n")[0]
    outputs = [
        gr.Textbox(label="Status", visible=False),
        gr.Gallery(label="Pictures", visible=False),
        gr.Image(label="Picture", type="filepath", visible=False),
    ]
    gr.Button(visible=False).click(
        as_endpoint(run, request_type),
        None,
        outputs,
        inputs_kwargs=endpoint_widgets(request_type),
        api_name=run.__name__,
        show_progress="hidden",
        concurrency_limit=FOLLOWERS,
    )
