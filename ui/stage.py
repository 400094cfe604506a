"""The right side of a tab: picture, progress strip, caption plate and the visit's pictures."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.events import Failed, Progress, Queued
from ldm.jobs import JobQueue
from ui import favourite, unfinished, visitor, waiting
from ui.controls import IN_ORDER, QUIET, check_filled, named
from ui.gallery import Row, downloads, row_of_pictures
from ui.run import Picture, Visit, fail, in_words
from ui.unfinished import GoOn
from ui.values import make_request
from ui.waiting import Waiting
from ui.wall import look_closer, send_buttons, wall
from ui.words import caption_html, strip

FOLLOWERS = 32  # pages that can follow their runs at the same time
STOPPING = "Stopping…"  # until the run has come to its next pause
VARY, STEPS = "Vary it", "See its steps"
# minimum seconds between two updates of a page: a fast model makes hundreds of steps a second, and
# each update costs some hundredths of a second of processor time
PACE = 0.25
Updates = dict[gr.components.Component, Any]
log = logging.getLogger(__name__)


def or_skip(updates: Updates) -> Updates:
    """Replace empty updates by `gr.skip()`: Gradio would take an empty dictionary for a value."""
    return updates or gr.skip()


@dataclass(frozen=True)
class Stage:
    """The components that a run updates, and the buttons that start and stop it."""

    visit: gr.State  # a Visit
    picture: gr.Image
    status: gr.HTML
    plate: gr.HTML
    row: Row  # of the visit's pictures
    use: gr.Button  # copies the settings of the shown picture into the inputs
    vary: gr.Button  # makes variations of the shown picture
    steps: gr.Button | None  # makes a progression; None: not supported by the task
    star: gr.Button  # makes the shown picture a favourite
    send: dict[str, gr.Button]  # sends the shown picture to another tab, by task
    go: gr.Button
    stop: gr.Button
    rest: GoOn  # buttons for a stopped run
    queue: Waiting  # what is told of the runs after this one
    sign: gr.HTML  # outside the tab: whether a run is going, see ui/names.js
    labels: Mapping[str, str]  # field name -> its label on the page
    others: tuple[gr.Button, ...] = ()  # buttons that start runs of the shown picture
    beside: tuple[gr.components.Component, ...] = ()  # further components for the shown picture
    compare: Callable[[Picture | None], Updates] = lambda picture: {}  # updates of `beside`
    reword: Callable[[str], str] = str  # adapts error messages to the tab

    @property
    def outputs(self) -> list[gr.components.Component]:
        """All components that a run updates."""
        told = [self.status, self.sign, self.queue.line]
        return [self.go, self.stop, *told, *self.others, *self.shown]

    @property
    def shown(self) -> list[gr.components.Component]:
        """The components that show the visit's pictures."""
        return [*self.shown_one, *self.row.changed]

    @property
    def shown_one(self) -> list[gr.components.Component]:
        """The components that show one picture."""
        return [self.plate, self.picture, *self.beside]

    def running(self, event: Any, visit: Visit, *, previewed: bool) -> Updates:
        """Updates for an event of the visit's running job."""
        told = strip(event, visit.job_id, previewed=previewed)
        updates = self.buttons(busy=True) | {self.status: told}
        if visit.wants_stop:
            updates[self.stop] = gr.update(value=STOPPING, interactive=False, visible=True)
        return updates

    def ended(self, event: Any, visit: Visit, job_id: str = "") -> Updates:
        """Updates for the last event of a run; without a result, the chosen picture is shown."""
        if isinstance(event, Failed):
            event = Failed(self.told(event.message), event.unfinished)
        told = {self.status: strip(event, job_id, rest=visit.rest)} | self.queue.show(visit)
        return self.buttons(busy=visit.job_id is not None) | self.show(visit) | told

    def told(self, message: str) -> str:
        """An error message in the words of the page."""
        return in_words(self.reword(message), self.labels)

    def buttons(self, *, busy: bool) -> Updates:
        """Name Generate by what it does, show Cancel, tell the tab's sign whether a run is going.

        Gradio mishandles button updates without a value.
        """
        updates = {
            self.go: gr.update(value=waiting.ADD if busy else "Generate"),
            self.stop: gr.update(
                value="Cancel", interactive=True, visible=True if busy else "hidden"
            ),
            self.sign: "<i data-busy></i>" if busy else "",
        }
        for button in self.others:
            updates[button] = gr.update(value=button.value, interactive=not busy)
        return updates

    def show(self, visit: Visit) -> Updates:
        """Updates that show the visit's shown picture, its plate and the row."""
        return self.show_one(visit.shown) | self.row.show(visit)

    def show_one(self, shown: Picture | None) -> Updates:
        """Updates that show a picture and its plate; a sheet has no comparison beside it."""
        image = gr.Image(shown.path, alt_text=shown.title) if shown else None
        compared = self.compare(None if shown and shown.is_sheet else shown)
        return {self.picture: image, self.plate: caption_html(shown)} | compared


def create(
    task: str,
    go: gr.Button,
    stop: gr.Button,
    *,
    hint: str,
    labels: Mapping[str, str],
    has_steps: bool = False,
    **about: Any,
) -> Stage:
    """Build the stage of a tab.

    Args:
        task: The tab's task.
        go: Button that starts a run.
        stop: Button that cancels it.
        hint: Shown until there is a picture.
        labels: Field name -> its label on the page.
        has_steps: Whether to add a button for progressions.
        about: `beside`, `compare` and `reword` of a `Stage`.
    """
    picture = wall(task, hint)
    status = gr.HTML(strip(None), padding=False, **named(task, "strip"))
    rest, queue = unfinished.create(task), waiting.create(task)
    with gr.Row(**named(task, "about")):
        plate = gr.HTML(padding=False, **named(task, "plate"))
        with gr.Row(**named(task, "onward")):
            look_closer(task)
            use = gr.Button("Use these settings", size="sm", scale=0, **named(task, "use"))
            vary = gr.Button(VARY, size="sm", scale=0, **named(task, "vary"))
            steps = None
            if has_steps:
                steps = gr.Button(STEPS, size="sm", scale=0, **named(task, "see"))
            star = favourite.create(task)
            send = send_buttons(task)
    row = row_of_pictures(task)
    sign = gr.HTML(render=False, padding=False, **named(task, "sign"))  # the page places it
    parts = (picture, status, plate, row, use, vary, steps, star, send, go, stop, rest)
    others = (vary, *([steps] if steps else []))
    return Stage(gr.State(Visit()), *parts, queue, sign, labels, others, **about)


def _select(stage: Stage) -> Callable[..., Updates]:
    def select(visit: Visit, event: gr.SelectData) -> Updates:
        if event.index >= len(visit.pictures):  # of a page that is older than the app
            raise fail("The app was started anew since; reload the page to find this picture.")
        visit.is_elsewhere = visit.job_id is not None  # its previews do not take the stage back
        visit.shown = picture = visit.pictures[event.index]
        if Path(picture.path).exists():
            # how long the last run took is not of this picture
            told = {} if visit.is_elsewhere else {stage.status: strip(None, rest=visit.rest)}
            return stage.show_one(picture) | told
        gr.Warning(f"{Path(picture.path).name} is not in its folder any more.")
        visit.forget_gone()
        return stage.show(visit)

    return select


def connect(
    jobs: JobQueue,
    stage: Stage,
    request_type: type,
    inputs: dict[str, gr.components.Component],
    to_fields: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
    """Connect the buttons that start and stop runs and change the shown picture."""

    def asked(_: Visit, **values: Any) -> Any:
        check_filled(request_type, inputs, values)
        return make_request(request_type, to_fields(values))

    starts_run(jobs, stage, stage.go, asked, inputs)

    def cancel(visit: Visit) -> Any:
        visit.stop(jobs)
        return gr.update(value=STOPPING, interactive=False)

    stage.stop.click(cancel, stage.visit, stage.stop, queue=False, **QUIET)
    waiting.connect(jobs, stage.queue, stage.visit, **QUIET)
    seen = [*stage.shown, stage.status]
    stage.row.gallery.select(_select(stage), stage.visit, seen, **IN_ORDER, **QUIET)
    for button, change in ((stage.row.remove, Visit.remove), (stage.row.back, Visit.put_back)):
        button.click(_changing(stage, change), stage.visit, stage.shown, **QUIET)
    task, row = request_type.task, stage.row
    downloads(task, row.save, row.archive, _paths_of, stage.visit)


def _paths_of(visit: Visit) -> list[Path]:
    return [Path(picture.path) for picture in visit.pictures]


def starts_run(
    jobs: JobQueue,
    stage: Stage,
    button: gr.Button,
    wanted: Callable[..., Any],
    inputs: Mapping[str, gr.components.Component],
) -> None:
    """Let a button start a run of the request that `wanted(visit, **values)` returns.

    It waits behind the visit's other runs, if there are any.
    """

    def generate(visit: Visit, **values: Any) -> Iterator[Updates]:
        try:
            is_first = visit.submit(jobs, wanted(visit, **values))
        except gr.Error:  # told in a toast
            raise
        except Exception as error:
            if visit.job_id is not None:  # the strip tells of the run
                raise fail(stage.told(_said(error))) from error
            yield stage.ended(Failed(_said(error)), visit)
            return
        yield stage.queue.show(visit)
        if is_first:
            yield from follow(jobs, stage, visit)

    def let_go(visit: Visit) -> Iterator[Updates]:
        if visit.followers:  # what failed was to wait
            yield gr.skip()
            return
        visit.next_job(visit.job_id)
        yield stage.buttons(busy=False) | {stage.status: strip(None, rest=visit.rest)}
        yield from follow(jobs, stage, visit)

    about = {"inputs_kwargs": inputs, "trigger_mode": "multiple", "concurrency_limit": FOLLOWERS}
    run = button.click(generate, stage.visit, stage.outputs, **about, **QUIET)
    # also where an update cannot be brought to the page, which no handler sees
    run.failure(let_go, stage.visit, stage.outputs, concurrency_limit=FOLLOWERS, **QUIET)


def _changing(stage: Stage, change: Callable[[Visit], None]) -> Callable[[Visit], Updates]:
    def changed(visit: Visit) -> Updates:
        change(visit)
        return stage.show(visit)

    return changed


def _said(error: Exception) -> str:
    """What a page tells of an error. One that is nobody's fault goes to the log: Gradio would tell
    nothing of it."""
    if isinstance(error, LDMError):
        return str(error)
    log.error("a run is not followed any more", exc_info=error)
    return "something went wrong here; the log says what."


def follow(jobs: JobQueue, stage: Stage, visit: Visit) -> Iterator[Updates]:
    """Yield updates until the visit's jobs have ended, one after the other."""
    job_id = visit.job_id
    visit.followers += 1
    try:
        while job_id is not None:
            try:
                event, preview = yield from _running(jobs, stage, visit, job_id)
                following = visit.next_job(job_id)
                yield _end(stage, visit, event, job_id, preview=preview)
            except Exception as error:
                following = visit.next_job(job_id)
                yield stage.ended(Failed(_said(error)), visit)
            job_id = following
    finally:
        visit.followers -= 1


def _running(
    jobs: JobQueue, stage: Stage, visit: Visit, job_id: str
) -> Generator[Updates, None, tuple[Any, Any]]:
    """Yield updates until a job ends; return its last event and the preview on show."""
    preview, is_heard = None, visitor.reader()
    for event in jobs.follow(job_id, PACE, is_heard):
        if not isinstance(event, (Queued, Progress)):
            break
        is_new = isinstance(event, Progress) and event.preview is not preview
        preview = event.preview if is_new else preview
        is_seen = preview is not None and not visit.is_elsewhere
        updates = stage.running(event, visit, previewed=is_seen)
        if is_new and is_seen:
            # each preview once: Gradio would rewrite its file while a browser reads it
            updates[stage.picture] = preview
        if is_heard is None or is_heard():
            visit.look_after_waiting(jobs)
        yield updates
    return event, None if visit.is_elsewhere else preview


def _end(stage: Stage, visit: Visit, event: Any, job_id: str, *, preview: Any) -> Updates:
    """Updates for the end of a job, whose place the visit's next one has taken already."""
    visit.ended(event)
    if isinstance(event, Failed) and visit.job_id is not None:  # the next one takes the strip
        gr.Warning(html.escape(stage.told(event.message), quote=False))
    if preview is None or getattr(event, "unfinished", None) is None:
        return stage.ended(event, visit, job_id)
    # what there is of it stays on show: another picture would be taken for it
    visit.shown = None
    updates = stage.ended(event, visit, job_id)
    del updates[stage.picture]
    return updates
