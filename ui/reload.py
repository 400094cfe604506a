"""What a reloaded page finds again: its pictures, its running job, a stopped run."""

from __future__ import annotations

import json
from collections.abc import Iterator

import gradio as gr

from ldm.events import Result
from ldm.jobs import JobQueue
from ui.controls import QUIET
from ui.run import Visit
from ui.stage import FOLLOWERS, Stage, Updates, follow, starts_run
from ui.unfinished import Kept
from ui.words import strip


def resume_on_load(page: gr.Blocks, jobs: JobQueue, stage: Stage, task: str, kept: Kept) -> None:
    """When the page is reloaded, restore its pictures, follow its running job, and offer to resume
    a stopped run."""

    def resume(visit: Visit, job_ids: str, removed: str) -> Iterator[Updates]:
        done = visit.recall(jobs, task, _names(job_ids))
        visit.remove_again(_names(removed))
        kept.look(visit, task, is_new=done is None)
        done = done if isinstance(done, Result) else visit.rest
        # always yield once: Gradio takes an empty generator for None in every output
        busy = stage.buttons(busy=visit.job_id is not None) | stage.queue.show(visit)
        yield stage.ended(done, visit) if done else busy
        yield from follow(jobs, stage, visit)

    def discard(visit: Visit) -> Updates:
        kept.discard(visit)
        return stage.show_one(visit.shown) | {stage.status: strip(None, rest=visit.rest)}

    starts_run(jobs, stage, stage.rest.go_on, kept.request, {})
    shown = [*stage.shown_one, stage.status]
    stage.rest.discard.click(discard, stage.visit, shown, **QUIET)
    page.load(
        resume,
        [stage.visit, gr.Textbox(visible=False), gr.Textbox(visible=False)],
        stage.outputs,
        js=f"(visit) => [visit, latentCanvas.jobs(), latentCanvas.removed({task!r})]",
        concurrency_limit=FOLLOWERS,
        **QUIET,
    )


def _names(text: str) -> list[str]:
    """Parse the browser's JSON list of job ids or file names, oldest first; untrusted input."""
    try:
        names = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
