"""The runs that wait behind a tab's running one: which they are, and buttons to drop them."""

from __future__ import annotations

import html
from dataclasses import dataclass

import gradio as gr

from ldm.jobs import JobQueue
from ui.controls import named
from ui.run import Visit

ADD = "Add to queue"  # what Generate says while a run works
LISTED = 8  # most waiting runs that are listed
# the page's script presses the hidden button and says for which runs, see ui/row.js
ONE = "(_, visit) => [latentCanvas.dropped.splice(0).join(' '), visit]"
Updates = dict[gr.components.Component, str]


@dataclass(frozen=True)
class Waiting:
    """A list of waiting runs; the style sheet shows it and the button if there are any.

    Updates of their visibility would be lost in a tab that was never opened.
    """

    line: gr.HTML
    drop: gr.Button  # drops all that wait
    drop_one: gr.Button  # hidden: drops those of these ids
    one: gr.Textbox  # hidden: ids, with spaces between them

    def show(self, visit: Visit) -> Updates:
        """Updates that tell how many runs wait, and what each of them makes."""
        waiting = dict(visit.waiting)  # another event may take one out meanwhile
        if not waiting:
            return {self.line: ""}
        told = f"{len(waiting)} more in the queue"
        if len(waiting) == 1:
            told += f", next: {next(iter(waiting.values()))}"
        line = f'<p role="status">{html.escape(told)}</p>'
        # remembered by the browser, so that a reloaded page finds them, see ui/page.js
        line += "".join(f'<i data-job="{html.escape(job_id)}"></i>' for job_id in waiting)
        if len(waiting) > 1:
            listed = [_item(*pair) for pair in list(waiting.items())[:LISTED]]
            more = len(waiting) - len(listed)
            line += f"<ol>{''.join(listed)}{f'<li>and {more} more</li>' if more else ''}</ol>"
        return {self.line: f'<div class="waiting">{line}</div>'}


def _item(job_id: str, makes: str) -> str:
    makes, about = html.escape(makes), "out of the queue"
    return (
        f'<li><span title="{makes}">{makes}</span><button type="button" title="Take it {about}" '
        f'aria-label="Take {makes} {about}" data-drop="{html.escape(job_id)}">×</button></li>'
    )


def create(task: str) -> Waiting:
    """Build the line and its button, to be placed under the progress strip of a tab."""
    with gr.Row(**named(task, "queue")):
        line = gr.HTML(padding=False, **named(task, "waiting"))
        drop = gr.Button("Empty the queue", size="sm", scale=0, **named(task, "drop"))
        drop_one = gr.Button(visible="hidden", **named(task, "drop-one"))
        one = gr.Textbox(visible="hidden", **named(task, "dropped"))
    return Waiting(line, drop, drop_one, one)


def connect(jobs: JobQueue, waiting: Waiting, visit: gr.State, **options: object) -> None:
    """Let the buttons drop the runs that wait, or one of them; the running one goes on."""

    def drop(visit: Visit) -> str:
        visit.drop_waiting(jobs, list(visit.waiting))
        return waiting.show(visit)[waiting.line]

    def drop_one(job_ids: str, visit: Visit) -> str:
        visit.drop_waiting(jobs, job_ids.split())
        return waiting.show(visit)[waiting.line]

    waiting.drop.click(drop, visit, waiting.line, queue=False, **options)
    about = {"js": ONE, "queue": False, "trigger_mode": "multiple"} | options
    waiting.drop_one.click(drop_one, [waiting.one, visit], waiting.line, **about)
