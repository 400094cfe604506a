"""What a reloaded page finds again: its pictures, its running job, a stopped run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from ldm.events import Result
from ldm.jobs import JobQueue
from ui.controls import QUIET
from ui.run import MAX_SHOWN, Visit
from ui.stage import FOLLOWERS, Stage, Updates, follow, starts_run
from ui.unfinished import Kept
from ui.words import strip

# of a picture that was made: the folder of its day, and its file
PLACE = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)/(?P<file>\w[\w .,()+-]*\.png)")


def resume_on_load(  # noqa: PLR0913  (what a page is made of)
    page: gr.Blocks, jobs: JobQueue, stage: Stage, task: str, kept: Kept, made_in: Path | None
) -> None:
    """When the page is reloaded, restore its pictures, follow its running job, and offer to resume
    a stopped run.

    `made_in`: the folder of all pictures, by which those are found whose jobs are forgotten, as
    after a restart of the app; None: a page tells nobody of files by their names.
    """

    def resume(visit: Visit, job_ids: str, removed: str, row: str) -> Iterator[Updates]:
        done = visit.recall(jobs, task, _names(job_ids))
        visit.recall_files(_files(made_in, [*_names(row), *_names(removed)]), task)
        visit.remove_again(_names(removed))
        kept.look(visit, task, is_new=done is None)
        done = done if isinstance(done, Result) else visit.rest
        # always yield once: Gradio takes an empty generator for None in every output
        busy = stage.buttons(busy=visit.job_id is not None) | stage.queue.show(visit)
        if visit.pictures:
            busy |= stage.show(visit)
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
        [stage.visit, *(gr.Textbox(visible=False) for _ in range(3))],
        stage.outputs,
        js=f"(visit) => [visit, latentCanvas.jobs(), ...latentCanvas.names({task!r})]",
        concurrency_limit=FOLLOWERS,
        **QUIET,
    )


def _files(folder: Path | None, names: list[str]) -> list[Path]:
    """Return the pictures of these names, day and file, that are in their folder."""
    if folder is None:
        return []
    # a name may be anything: no drive, no other host and nothing above the folder is looked at
    places = [place for name in names[:MAX_SHOWN] if (place := PLACE.fullmatch(name))]
    paths = (folder / place["day"] / place["file"] for place in places)
    return [path for path in paths if path.is_file()]


def _names(text: str) -> list[str]:
    """Parse the browser's JSON list of job ids or file names, oldest first; untrusted input."""
    try:
        names = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
