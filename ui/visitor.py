"""Who is behind the event that is handled now, and whether its answers are still read."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr
from gradio.context import LocalContext

UNREAD = 8  # messages that a program that listens never leaves unread


def owner() -> str:
    """Return the visitor's address, by which visitors take turns; "" outside of any event.

    Behind a proxy it is what the proxy says of it, if uvicorn trusts that one: one on this machine,
    and those in the environment's FORWARDED_ALLOW_IPS. All programs and pages of one machine are
    one.
    """
    request = LocalContext.request.get(None)
    client = getattr(request, "client", None)
    return client.host if client else ""


def reader() -> Callable[[], bool] | None:
    """Return a function that tells whether the event's answers are read; None outside of any event.

    A program starts a run by one HTTP request and reads its answers by another, which it may never
    send. Gradio runs the event all the same and keeps its messages.
    """
    request, page = LocalContext.request.get(None), LocalContext.blocks.get(None)
    if request is None or page is None:
        return None
    return lambda: _unread(page, request.session_hash) <= UNREAD


def _unread(page: gr.Blocks, session: str | None) -> int:
    messages = page._queue.pending_messages_per_session.get(session)
    return 0 if messages is None else messages.qsize()
