"""The right side of a tab: the picture, how far it is, its plate and what was made before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.jobs import JobQueue
from ldm.requests import Failed, Progress, Queued, Result
from ui.controls import as_endpoint, endpoint_widgets
from ui.run import Visit, fail, make_request, plate, say, settings, strip

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
FOLLOWERS = 32  # pages that can watch their runs at once
EMPTY = """
<div class="empty-canvas"><h2>An empty canvas</h2>
<p>Describe a landscape and press Generate, or start from one of the pictures below.</p></div>
"""
Updates = dict[gr.components.Component, Any]


@dataclass(frozen=True)
class Stage:
    """What a run writes to, and the buttons that start and stop it."""

    visit: gr.State  # a Visit
    picture: gr.Image
    status: gr.HTML
    plate: gr.HTML
    gallery: gr.Gallery
    use: gr.Button  # takes over the settings of the picture on show
    go: gr.Button
    stop: gr.Button

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What a run changes."""
        return [self.go, self.stop, self.status, self.plate, self.gallery, self.picture]

    def running(self, event: Any, job_id: str) -> Updates:
        """A run goes on: it can be stopped, not started again."""
        return self.buttons(busy=True) | {self.status: strip(event, job_id)}

    def ended(self, event: Any, visit: Visit, job_id: str = "") -> Updates:
        """A run is over: the picture on show is the newest, or the one from before."""
        return self.buttons(busy=False) | self.show(visit) | {self.status: strip(event, job_id)}

    def buttons(self, *, busy: bool) -> Updates:
        """Generate or Cancel. With their words: Gradio takes an update without them for none."""
        return {
            self.go: gr.update(value="Generate", interactive=not busy),
            self.stop: gr.update(value="Cancel", visible=True if busy else "hidden"),
        }

    def show(self, visit: Visit) -> Updates:
        """The visit's picture on show, its plate, and all of its pictures."""
        shown = visit.shown
        image = gr.Image(shown.path, alt_text=shown.request.prompt) if shown else None
        thumbnails = [(p.path, settings(p.request)) for p in visit.pictures]
        gallery = gr.Gallery(thumbnails, visible=bool(thumbnails))
        return {self.picture: image, self.plate: plate(shown), self.gallery: gallery}


def create(go: gr.Button, stop: gr.Button) -> Stage:
    """Build the stage for these two buttons."""
    with gr.Column(elem_id="wall"):
        picture = gr.Image(
            type="filepath",
            format="jpeg",  # of previews; a finished picture is a file already, and stays one
            interactive=False,
            show_label=False,
            elem_id="picture",
            buttons=["download", "fullscreen"],
        )
        gr.HTML(EMPTY, elem_id="empty", padding=False)
    status = gr.HTML(strip(None), elem_id="strip", padding=False)
    with gr.Row(elem_id="about"):
        about = gr.HTML(elem_id="plate", padding=False)
        use = gr.Button("Use these settings", size="sm", elem_id="use", scale=0)
    gallery = gr.Gallery(
        label="Pictures of this visit",
        show_label=False,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        buttons=[],
        interactive=False,
        visible=False,
        elem_id="results",
        elem_classes="strip-of-pictures",
    )
    stage = Stage(gr.State(Visit()), picture, status, about, gallery, use, go, stop)
    gallery.select(_select(stage), stage.visit, [picture, about], **QUIET)
    return stage


def _select(stage: Stage) -> Callable[..., Updates]:
    def select(visit: Visit, event: gr.SelectData) -> Updates:
        visit.shown = visit.pictures[event.index]
        shown = stage.show(visit)
        return {stage.picture: shown[stage.picture], stage.plate: shown[stage.plate]}

    return select


def connect(
    jobs: JobQueue,
    stage: Stage,
    request_type: type,
    inputs: dict[str, gr.components.Component],
) -> None:
    """Let the page's buttons start and stop runs, and open the endpoint of this task."""

    def generate(visit: Visit, **values: Any) -> Iterator[Updates]:
        try:
            visit.submit(jobs, make_request(request_type, values))
        except LDMError as error:
            yield stage.ended(Failed(str(error)), visit)
            raise fail(str(error)) from error
        yield from _follow(jobs, stage, visit)

    run = stage.go.click(
        generate,
        stage.visit,
        stage.outputs,
        inputs_kwargs=inputs,
        concurrency_limit=FOLLOWERS,
        **QUIET,
    )
    run.failure(
        lambda: stage.buttons(busy=False), None, [stage.go, stage.stop], queue=False, **QUIET
    )
    stage.stop.click(lambda visit: visit.stop(jobs), stage.visit, None, queue=False, **QUIET)
    _open_endpoint(jobs, request_type)


def _follow(jobs: JobQueue, stage: Stage, visit: Visit) -> Iterator[Updates]:
    """What the page shows from now to the end of the visit's job."""
    job_id, preview = visit.job_id, None
    for event in jobs.follow(job_id):
        if not isinstance(event, (Queued, Progress)):
            break
        updates = stage.running(event, job_id)
        if isinstance(event, Progress) and event.preview is not preview:
            # once each: Gradio would write the same file again while a browser reads it
            updates[stage.picture] = preview = event.preview
        yield updates
    visit.job_id = None
    if isinstance(event, Result):
        visit.keep(event)
    yield stage.ended(event, visit, job_id)
    if isinstance(event, Failed):
        raise fail(event.message)


def _open_endpoint(jobs: JobQueue, request_type: type) -> None:
    """The task for programs: fields in, (status, pictures, picture) out, the picture last.

    It has widgets of its own, never shown: what a caller leaves open is the preset's default,
    not what happens to stand on the page.
    """

    def run(**values: Any) -> Iterator[tuple[Any, ...]]:
        try:
            job_id = jobs.submit(make_request(request_type, values))
        except LDMError as error:
            raise fail(str(error)) from error
        try:
            for event in jobs.follow(job_id):
                if isinstance(event, Failed):
                    raise fail(event.message)
                paths = [str(path) for path in event.paths] if isinstance(event, Result) else []
                yield (
                    ": ".join(filter(None, say(event))),
                    paths or None,
                    paths[0] if paths else None,
                )
        finally:
            jobs.cancel(job_id)  # whoever asked has gone; nothing happens if it is over

    run.__name__ = request_type.task.replace("-", "_")
    run.__doc__ = request_type.__doc__.split("\n")[0]
    outputs = [
        gr.Textbox(label="Status", visible=False),
        gr.Gallery(label="Pictures", visible=False),
        gr.Image(label="Picture", type="filepath", visible=False),
    ]
    gr.Button(visible=False).click(
        as_endpoint(run, request_type),
        None,
        outputs,
        inputs_kwargs=endpoint_widgets(request_type),
        api_name=run.__name__,
        show_progress="hidden",
        concurrency_limit=FOLLOWERS,
    )


def resume_on_load(page: gr.Blocks, jobs: JobQueue, stage: Stage) -> None:
    """When the page is loaded again, bring back its pictures and go on with its running job."""

    def resume(visit: Visit, job_ids: str) -> Iterator[Updates]:
        for job_id in _job_ids(job_ids):
            try:
                event = jobs.status(job_id)
            except LDMError:  # too long ago, or of another start of the app
                continue
            if isinstance(event, Result) and all(Path(path).exists() for path in event.paths):
                visit.keep(event)
            elif isinstance(event, (Queued, Progress)):
                visit.job_id = job_id
        if visit.pictures:
            yield stage.show(visit)
        if visit.job_id:
            yield from _follow(jobs, stage, visit)

    page.load(
        resume,
        [stage.visit, gr.Textbox(visible=False)],
        stage.outputs,
        js="(visit) => [visit, latentCanvas.jobs()]",
        concurrency_limit=FOLLOWERS,
        **QUIET,
    )


def _job_ids(text: str) -> list[str]:
    """The ids that the browser remembers, oldest first; the browser may send anything."""
    try:
        ids = json.loads(text)
    except (TypeError, ValueError):
        return []
    return [str(job_id) for job_id in ids] if isinstance(ids, list) else []
