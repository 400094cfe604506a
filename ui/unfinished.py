"""What was stopped before its end, on the page: it can go on, or be let go of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ldm.unfinished import UnfinishedRuns
from ui.controls import named
from ui.run import Visit

Updates = dict[gr.components.Component, Any]
HIDDEN = "hidden"


@dataclass(frozen=True)
class GoOn:
    """Its buttons; they are there when something can go on."""

    go_on: gr.Button
    discard: gr.Button

    @property
    def changed(self) -> list[gr.components.Component]:
        """What shows whether something can."""
        return [self.go_on, self.discard]

    def show(self, visit: Visit) -> Updates:
        """The buttons, if this visit has something unfinished; the strip may be of another run."""
        rest = visit.unfinished
        if rest is None:
            return self.hide()
        words = f"Go on after step {rest.step} of {rest.total}"
        return {
            self.go_on: gr.update(value=words, visible=True),
            self.discard: gr.update(value=self.discard.value, visible=True),
        }

    def hide(self) -> Updates:
        """No buttons, while something runs."""
        return {one: gr.update(value=one.value, visible=HIDDEN) for one in self.changed}


def create(task: str) -> GoOn:
    """Build them, under the progress of a tab."""
    with gr.Row(**named(task, "unfinished")):
        buttons = [
            gr.Button(title, size="sm", scale=0, visible=HIDDEN, **named(task, name))
            for title, name in (("Go on", "go-on"), ("Discard", "discard"))
        ]
    return GoOn(*buttons)


@dataclass(frozen=True)
class Kept:
    """Where the app keeps what is unfinished.

    Args:
        runs: In which folder; None: nowhere.
        is_shared: Whether a visit that has made nothing yet is told of what others have stopped, or
            it before the app was started again.
    """

    runs: UnfinishedRuns | None = None
    is_shared: bool = False

    def find(self, visit: Visit, task: str, *, is_new: bool) -> None:
        """Let a visit have what can go on of this task; `is_new`: it has made nothing yet."""
        if self.runs is None or (visit.unfinished and not self.runs.has(visit.unfinished.request)):
            visit.unfinished = None
        if visit.unfinished is None and is_new and self.is_shared and self.runs is not None:
            visit.unfinished = self.runs.newest(task)

    def discard(self, visit: Visit) -> None:
        """Let go of what is unfinished."""
        if self.runs is not None and visit.unfinished is not None:
            self.runs.forget(visit.unfinished.request)
        visit.unfinished = None
