"""Stopped runs on the page: resume or discard them."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ldm.errors import RequestError
from ldm.events import Unfinished
from ldm.jobs import JobQueue
from ldm.outputs.unfinished import UnfinishedRuns
from ui.controls import named
from ui.run import Visit


@dataclass(frozen=True)
class GoOn:
    """The buttons for a stopped run.

    The style sheet shows them if the progress strip above names a stopped run. Updates of their
    visibility would be lost in a tab that was never opened.
    """

    go_on: gr.Button
    discard: gr.Button


def create(task: str) -> GoOn:
    """Build the buttons, to be placed under the progress strip of a tab."""
    with gr.Row(**named(task, "unfinished")):
        buttons = [
            gr.Button(title, size="sm", scale=0, **named(task, name))
            for title, name in (("Go on", "go-on"), ("Discard", "discard"))
        ]
    return GoOn(*buttons)


@dataclass(frozen=True)
class Kept:
    """The unfinished runs that can be resumed.

    Args:
        jobs: The job queue; runs that it is busy with are not offered.
        runs: Storage of unfinished runs; None: they are not saved.
        is_shared: Whether to offer a visit that has made nothing yet the newest unfinished run of
            the task: of another visit, or from before the app was restarted.
    """

    jobs: JobQueue
    runs: UnfinishedRuns | None = None
    is_shared: bool = False

    def look(self, visit: Visit, task: str, *, is_new: bool) -> None:
        """Update a visit's list of resumable runs; `is_new`: it has made nothing yet."""
        visit.unfinished = [rest for rest in visit.unfinished if self._can(rest)]
        if not visit.unfinished and is_new and self.is_shared and self.runs is not None:
            newest = self.runs.newest(task)
            visit.unfinished = [newest] if newest is not None and self._can(newest) else []

    def request(self, visit: Visit) -> object:
        """Return the request of the run to resume: the one that was stopped last.

        Raises:
            RequestError: If another job resumes it already, or it is no longer saved. In the
                latter case it is dropped, so that the one before it is offered next.
        """
        rest = visit.rest
        if rest is not None and self.jobs.is_busy_with(rest.request):
            raise RequestError("What was stopped goes on already, in another window.")
        if rest is None or not self._can(rest):
            del visit.unfinished[-1:]
            raise RequestError("What was stopped is not kept any more; Generate begins anew.")
        return rest.request

    def discard(self, visit: Visit) -> None:
        """Discard the run that was stopped last, and its saved state."""
        if visit.unfinished:
            rest = visit.unfinished.pop()
            if self._can(rest):
                self.runs.forget(rest.request)

    def _can(self, rest: Unfinished) -> bool:
        """Whether the run is saved and no job is busy with it."""
        is_there = self.runs is not None and self.runs.has(rest.request)
        return is_there and not self.jobs.is_busy_with(rest.request)
