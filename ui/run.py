"""From a click to a picture: submit a job, follow it, show its events; and errors as sentences."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.jobs import JobQueue
from ldm.requests import Cancelled, Failed, Progress, Queued, Result

READY = '<div class="strip idle"><span class="what">Ready</span></div>'


def fail(message: str) -> gr.Error:
    """A toast with one sentence."""
    return gr.Error(message, print_exception=False)


def make_request(request_type: type, values: tuple[Any, ...]) -> Any:
    """The request that the widgets' values make.

    Raises:
        gr.Error: If a value is out of range.
    """
    named = zip(fields(request_type), values, strict=True)
    try:
        return request_type(**{f.name: _plain(v, "int" in str(f.type)) for f, v in named})
    except LDMError as error:
        raise fail(str(error)) from error


def _plain(value: Any, is_whole: bool) -> Any:
    """Widgets give 3.0 for 3, and an optional whole number is typed into a text box."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_whole and isinstance(value, str):
        text = value.strip()
        return None if not text else int(text) if text.isascii() and text.isdigit() else text
    return value


def follow(jobs: JobQueue, request: Any) -> Iterator[tuple[str, Any]]:
    """Submit a request: (job id, event) until its end.

    Raises:
        gr.Error: If the queue does not take it.
    """
    try:
        job_id = jobs.submit(request)
        for event in jobs.follow(job_id):
            yield job_id, event
    except LDMError as error:
        raise fail(str(error)) from error


def strip(event: Any) -> str:
    """The progress strip: what goes on, how far it is, seconds and what is left of them."""
    if isinstance(event, Progress) and event.total:
        share = 100 * event.step / event.total
        left = f", about {event.eta_seconds:.0f} s left" if event.step < event.total else ""
        text = f"Step {event.step} of {event.total}"
        return _strip("busy", text, f"{event.seconds:.1f} s{left}", share)
    if isinstance(event, Progress):
        return _strip("busy", event.stage.capitalize(), "", 0)
    if isinstance(event, Queued):
        text = f"{event.position} before this one" if event.position else "Starting"
        return _strip("busy", text, "", 0)
    if isinstance(event, Result):
        return _strip("done", f"Done in {event.seconds:.1f} s", " ".join(event.notes), 100)
    if isinstance(event, Cancelled):
        return _strip("idle", "Cancelled", "", 0)
    if isinstance(event, Failed):
        return _strip("failed", event.message, "", 0)
    return READY


def _strip(kind: str, what: str, more: str, share: float) -> str:
    return (
        f'<div class="strip {kind}" role="status"><div class="line">'
        f'<span class="what">{html.escape(what)}</span>'
        f'<span class="more">{html.escape(more)}</span></div>'
        f'<div class="bar"><div style="width:{share:.1f}%"></div></div></div>'
    )


def caption(request: Any) -> str:
    """A finished picture's settings in a line."""
    return (
        f"seed {request.seed} · {request.width} x {request.height} · {request.steps} steps "
        f"{request.sampler} · guidance {request.guidance_scale:g}"
    )
