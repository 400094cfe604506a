"""What was stopped before its end, on the page: it can go on, or be let go of."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ldm.errors import RequestError
from ldm.events import Unfinished
from ldm.jobs import JobQueue
from ldm.unfinished import UnfinishedRuns
from ui.controls import named
from ui.run import Visit


@dataclass(frozen=True)
class GoOn:
    """Its buttons, seen when the strip above them has something to go on with: what the page is
    told of a button is lost where its tab was never open."""

    go_on: gr.Button
    discard: gr.Button


def create(task: str) -> GoOn:
    """Build them, under the progress of a tab."""
    with gr.Row(**named(task, "unfinished")):
        buttons = [
            gr.Button(title, size="sm", scale=0, **named(task, name))
            for title, name in (("Go on", "go-on"), ("Discard", "discard"))
        ]
    return GoOn(*buttons)


@dataclass(frozen=True)
class Kept:
    """What can go on.

    Args:
        jobs: The queue, whose own runs are not unfinished.
        runs: Where its studio keeps them; None: nowhere.
        is_shared: Whether a visit that has made nothing yet is told of what others have stopped, or
            it before the app was started again.
    """

    jobs: JobQueue
    runs: UnfinishedRuns | None = None
    is_shared: bool = False

    def look(self, visit: Visit, task: str, *, is_new: bool) -> None:
        """Let a visit have what can go on of this task still; `is_new`: it has made nothing yet."""
        visit.unfinished = [rest for rest in visit.unfinished if self._can(rest)]
        if not visit.unfinished and is_new and self.is_shared and self.runs is not None:
            newest = self.runs.newest(task)
            visit.unfinished = [newest] if newest is not None and self._can(newest) else []

    def request(self, visit: Visit) -> object:
        """The request that goes on.

        Raises:
            RequestError: If it does already, or there is nothing any more that could: then the next
                is offered.
        """
        rest = visit.rest
        if rest is not None and self.jobs.is_busy_with(rest.request):
            raise RequestError("What was stopped goes on already, in another window.")
        if rest is None or not self._can(rest):
            del visit.unfinished[-1:]
            raise RequestError("What was stopped is not kept any more; Generate begins anew.")
        return rest.request

    def discard(self, visit: Visit) -> None:
        """Let go of what was stopped last."""
        if visit.unfinished:
            rest = visit.unfinished.pop()
            if self._can(rest):
                self.runs.forget(rest.request)

    def _can(self, rest: Unfinished) -> bool:
        """Whether it is kept, and nobody is at it."""
        is_there = self.runs is not None and self.runs.has(rest.request)
        return is_there and not self.jobs.is_busy_with(rest.request)
