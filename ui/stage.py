"""The right side of a tab: picture, progress strip, caption plate and the visit's pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.events import Failed, Progress, Queued
from ldm.jobs import JobQueue
from ui import unfinished, visitor
from ui.controls import IN_ORDER, QUIET, check_filled, named
from ui.gallery import Row, downloads, row_of_pictures
from ui.run import Picture, Visit, in_words
from ui.unfinished import GoOn
from ui.values import make_request
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
    send: dict[str, gr.Button]  # sends the shown picture to another tab, by task
    go: gr.Button
    stop: gr.Button
    rest: GoOn  # buttons for a stopped run
    sign: gr.HTML  # outside the tab: whether a run is going, see ui/names.js
    labels: Mapping[str, str]  # field name -> its label on the page
    others: tuple[gr.Button, ...] = ()  # further buttons that start runs
    beside: tuple[gr.components.Component, ...] = ()  # further components for the shown picture
    compare: Callable[[Picture | None], Updates] = lambda picture: {}  # updates of `beside`
    reword: Callable[[str], str] = str  # adapts error messages to the tab

    @property
    def outputs(self) -> list[gr.components.Component]:
        """All components that a run updates."""
        return [*self.started, *self.shown]

    @property
    def started(self) -> list[gr.components.Component]:
        """The components that the start of a run updates."""
        return [self.go, self.stop, self.status, self.sign, *self.others]

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
            event = Failed(in_words(self.reword(event.message), self.labels), event.unfinished)
        told = {self.status: strip(event, job_id, rest=visit.rest)}
        return self.buttons(busy=False) | self.show(visit) | told

    def buttons(self, *, busy: bool) -> Updates:
        """Enable either Generate or Cancel, and tell the tab's sign whether a run is going.

        Gradio mishandles button updates without a value.
        """
        updates = {
            self.go: gr.update(value="Generate", interactive=not busy),
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
    starters: tuple[gr.Button, ...] = (),
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
        starters: Further buttons that start runs.
        about: `beside`, `compare` and `reword` of a `Stage`.
    """
    picture = wall(task, hint)
    status = gr.HTML(strip(None), padding=False, **named(task, "strip"))
    rest = unfinished.create(task)
    with gr.Row(**named(task, "about")):
        plate = gr.HTML(padding=False, **named(task, "plate"))
        with gr.Row(**named(task, "onward")):
            look_closer(task)
            use = gr.Button("Use these settings", size="sm", scale=0, **named(task, "use"))
            vary = gr.Button(VARY, size="sm", scale=0, **named(task, "vary"))
            steps = None
            if has_steps:
                steps = gr.Button(STEPS, size="sm", scale=0, **named(task, "see"))
            send = send_buttons(task)
    row = row_of_pictures(task)
    sign = gr.HTML(render=False, padding=False, **named(task, "sign"))  # the page places it
    parts = (picture, status, plate, row, use, vary, steps, send, go, stop, rest, sign, labels)
    others = (*starters, vary, *([steps] if steps else []))
    return Stage(gr.State(Visit()), *parts, others, **about)


def _select(stage: Stage) -> Callable[..., Updates]:
    def select(visit: Visit, event: gr.SelectData) -> Updates:
        visit.shown = picture = visit.pictures[event.index]
        if Path(picture.path).exists():
            return stage.show_one(picture)
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
    stage.row.gallery.select(_select(stage), stage.visit, stage.shown, **IN_ORDER, **QUIET)
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
    """Let a button start a run of the request that `wanted(visit, **values)` returns."""

    def generate(visit: Visit, **values: Any) -> Iterator[Updates]:
        try:
            visit.submit(jobs, wanted(visit, **values))
            yield from follow(jobs, stage, visit)
        except LDMError as error:
            yield stage.ended(Failed(str(error)), visit)
        except gr.Error:  # told in a toast
            raise
        except Exception:  # Gradio would tell nothing
            log.exception("a run is not followed any more")
            yield stage.ended(Failed("something went wrong here; the log says what."), visit)

    about = {"inputs_kwargs": inputs, "concurrency_limit": FOLLOWERS}
    run = button.click(generate, stage.visit, stage.outputs, **about, **QUIET)
    # also where an update cannot be brought to the page, which no handler sees
    run.failure(
        lambda visit: stage.buttons(busy=False) | {stage.status: strip(None, rest=visit.rest)},
        stage.visit,
        stage.started,
        queue=False,
        **QUIET,
    )


def _changing(stage: Stage, change: Callable[[Visit], None]) -> Callable[[Visit], Updates]:
    def changed(visit: Visit) -> Updates:
        change(visit)
        return stage.show(visit)

    return changed


def follow(jobs: JobQueue, stage: Stage, visit: Visit) -> Iterator[Updates]:
    """Yield updates until the visit's job ends."""
    job_id, preview = visit.job_id, None
    for event in jobs.follow(job_id, PACE, visitor.reader()):
        if not isinstance(event, (Queued, Progress)):
            break
        is_new = isinstance(event, Progress) and event.preview is not preview
        preview = event.preview if is_new else preview
        updates = stage.running(event, visit, previewed=preview is not None)
        if is_new:
            # each preview once: Gradio would rewrite its file while a browser reads it
            updates[stage.picture] = preview
        yield updates
    visit.job_id = None
    visit.ended(event)
    if preview is None or getattr(event, "unfinished", None) is None:
        yield stage.ended(event, visit, job_id)
        return
    # what there is of it stays on show: another picture would be taken for it
    visit.shown = None
    updates = stage.ended(event, visit, job_id)
    del updates[stage.picture]
    yield updates
