"""The HTTP API: one endpoint per task, named request fields in, pictures out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from gradio.exceptions import InvalidPathError
from gradio.state_holder import StateHolder
from gradio.utils import get_upload_folder, is_in_or_equal
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

from ldm.errors import LDMError, RequestError
from ldm.events import Failed, Result
from ldm.jobs import JobQueue
from ldm.requests.comparison import said
from ldm.requests.progression import MOST, Progression, lacks_sheet
from ui import visitor
from ui.controls import (
    A_FILE,
    COMPARED,
    FRAMES,
    EndpointWidget,
    as_endpoint,
    endpoint_widgets,
    from_files,
)
from ui.run import fail
from ui.stage import FOLLOWERS, PACE
from ui.values import make_request
from ui.visits import Visits
from ui.words import say

CALL = "/call/v2/"  # path of the requests whose fields have names


class Page(gr.Blocks):
    """Blocks that read files only if they were uploaded, and say so; a visit of it takes little."""

    @property
    def state_holder(self) -> StateHolder:
        """The visits, one for each open page and each call of an endpoint."""
        return self._visits

    @state_holder.setter
    def state_holder(self, visits: StateHolder) -> None:
        visits.__class__ = Visits  # the app has made it, and can be given no other one
        self._visits = visits

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *rest: Any, **about: Any
    ) -> list[Any]:
        """Preprocess an event's inputs, as in `gr.Blocks`.

        Raises:
            gr.Error: If a value names a file that was not uploaded, or one for a file parameter is
                none. Gradio would fetch what an address names, of any size.
        """
        traverse(inputs, _refuse_address, is_file_obj_with_meta)
        try:
            return await super().preprocess_data(block_fn, inputs, *rest, **about)
        except gr.Error:
            raise
        except Exception as error:  # Gradio raises many types here
            given = zip(block_fn.input_keyword_names, block_fn.inputs, inputs, strict=False)
            for name, block, value in given:
                if isinstance(block, gr.File) and value is not None and not _is_uploaded(value):
                    raise fail(f"{name} must be {A_FILE}, got {value!r:.120}.") from error
            if isinstance(error, InvalidPathError):
                raise fail(f"what names a file must be {A_FILE}.") from error
            raise


def _refuse_address(file: Mapping[str, Any]) -> None:
    if is_http_url_like(str(file["path"])):
        raise fail(f"what names a file must be {A_FILE}, got {file['path']!r:.120}.")


def _is_uploaded(value: Any) -> bool:
    """Whether the value is a valid Gradio file reference to an existing uploaded file."""
    try:
        path = Path(gr.FileData.model_validate(value, context={"validate_meta": True}).path)
        return is_in_or_equal(path, get_upload_folder()) and path.is_file()
    except Exception:  # untrusted input
        return False


def told_of_call(request: Request, error: Exception) -> Response:
    """Answer an HTTP request that Gradio cannot make a call of, in a sentence.

    Raises:
        Exception: The error, if it comes from anything else.
    """
    _, is_call, name = request.url.path.partition(CALL)
    if not is_call:
        raise error
    if error.args == ("/" + name,):  # of Gradio's table of endpoints
        return JSONResponse({"detail": f"there is no endpoint {name!r:.60}."}, 404)
    if found := re.match("Parameter `(.*)` is not a valid", str(error), re.DOTALL):
        why = f"{name} has no field {found[1]!r:.60}."
    elif found := re.match("No value provided for required argument: (.*)", str(error)):
        why = f"{name} needs {found[1]}."
    else:
        raise error
    return JSONResponse({"detail": why}, 422)


def told_of_upload(request: Request, error: Exception) -> Response:
    """Answer an upload that the disk has no room for, in a sentence.

    Raises:
        Exception: The error, if it comes from anything else.
    """
    if not request.url.path.endswith("/upload"):
        raise error
    why = getattr(error, "strerror", None) or type(error).__name__
    return JSONResponse({"detail": f"the file cannot be kept here: {why}."}, 507)


def open_endpoints(jobs: JobQueue, request_types: Sequence[type]) -> None:
    """Open one endpoint per task: fields in, (status, pictures, picture) out.

    The endpoints have hidden widgets of their own, so that an omitted field takes the preset's
    default and not the value on the page. Equal widgets are shared between endpoints, because
    every page load transfers them all.
    """
    outputs = [
        gr.Textbox(label="Status", visible=False),
        gr.Gallery(label="Pictures", visible=False),
        gr.Image(label="Picture", type="filepath", visible=False),
    ]
    made: dict[EndpointWidget, gr.components.Component] = {}
    for request_type in request_types:
        wanted = endpoint_widgets(request_type)
        for widget in wanted.values():
            if widget not in made:
                made[widget] = widget.make()
        inputs = {name: made[widget] for name, widget in wanted.items()}
        _open(jobs, request_type, inputs, outputs)


def asked(request: Any, across: Any, down: Any, frames: Any) -> Any:
    """Return the request, or its comparison or progression if the other arguments ask for one.

    Raises:
        RequestError: If the arguments make no valid comparison or progression, or ask for both.
    """
    across, down = ("" if value is None else value for value in (across, down))
    if isinstance(frames, float) and frames in range(MOST + 1):
        frames = int(frames)
    if across == "" and down == "" and not frames:
        return request
    wanted = Progression(request, frames) if frames else said(request, across, down)
    if request.count != 1:
        raise RequestError(
            f"count must be 1 where settings are compared or steps are shown, got {request.count}."
        )
    if frames and (across or down):
        raise RequestError(f"frames must be 0 where settings are compared, got {frames!r:.40}.")
    return wanted


def _open(
    jobs: JobQueue,
    request_type: type,
    inputs: Mapping[str, gr.components.Component],
    outputs: Sequence[gr.components.Component],
) -> None:
    def run(**values: Any) -> Iterator[tuple[Any, ...]]:
        beside = {name: values.pop(name) for name in (*COMPARED, FRAMES)}
        try:
            request = make_request(request_type, from_files(request_type, values))
            wanted = asked(request, **beside)
            job_id = jobs.submit(wanted, visitor.owner())
        except LDMError as error:
            raise fail(str(error)) from error
        try:
            for event in jobs.follow(job_id, PACE, visitor.reader()):
                if isinstance(event, Failed):
                    raise fail(event.message)
                paths = [str(path) for path in event.paths] if isinstance(event, Result) else []
                last = None if not paths or lacks_sheet(wanted, event) else paths[0]
                told = ": ".join(filter(None, say(event)))
                yield told, paths or None, last
        finally:
            with suppress(LDMError):  # the queue has forgotten the job
                jobs.cancel(job_id)  # the client has gone; no effect on a finished job

    run.__name__ = request_type.task.replace("-", "_")
    run.__doc__ = request_type.__doc__.split("\n")[0]
    gr.Button(visible=False).click(
        as_endpoint(run, request_type),
        None,
        outputs,
        inputs_kwargs=inputs,
        api_name=run.__name__,
        show_progress="hidden",
        concurrency_limit=FOLLOWERS,
    )
