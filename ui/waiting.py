"""The runs that wait behind a tab's running one: which they are, and a button to drop them."""

from __future__ import annotations

import html
from dataclasses import dataclass

import gradio as gr

from ldm.jobs import JobQueue
from ui.controls import named
from ui.run import Visit

ADD = "Add to queue"  # what Generate says while a run works
Updates = dict[gr.components.Component, str]


@dataclass(frozen=True)
class Waiting:
    """A line that tells of waiting runs; the style sheet shows it and the button if there are any.

    Updates of their visibility would be lost in a tab that was never opened.
    """

    line: gr.HTML
    drop: gr.Button  # drops all that wait

    def show(self, visit: Visit) -> Updates:
        """Updates that tell how many runs wait, and what the next one makes."""
        waiting = dict(visit.waiting)  # another event may take one out meanwhile
        if not waiting:
            return {self.line: ""}
        told = f"{len(waiting)} more in the queue, next: {next(iter(waiting.values()))}"
        # remembered by the browser, so that a reloaded page finds them, see ui/page.js
        ids = "".join(f'<i data-job="{html.escape(job_id)}"></i>' for job_id in waiting)
        return {self.line: f'<div class="waiting" role="status">{html.escape(told)}{ids}</div>'}


def create(task: str) -> Waiting:
    """Build the line and its button, to be placed under the progress strip of a tab."""
    with gr.Row(**named(task, "queue")):
        line = gr.HTML(padding=False, **named(task, "waiting"))
        drop = gr.Button("Empty the queue", size="sm", scale=0, **named(task, "drop"))
    return Waiting(line, drop)


def connect(jobs: JobQueue, waiting: Waiting, visit: gr.State, **options: object) -> None:
    """Let the button drop the runs that wait; the running one goes on."""

    def drop(visit: Visit) -> str:
        visit.drop_waiting(jobs)
        return waiting.show(visit)[waiting.line]

    waiting.drop.click(drop, visit, waiting.line, queue=False, **options)
