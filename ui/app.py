"""The page: builds all tabs in order, then connects them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ldm.history import OUTPUTS, THUMBNAILS
from ldm.jobs import JobQueue
from ldm.jobs.line import MAX_QUEUED
from ldm.outputs.unfinished import UnfinishedRuns
from ui import estimate, favourite, reload, theme
from ui.body_limit import BodyLimit
from ui.controls import QUIET, limits
from ui.delivery import Delivery
from ui.endpoint import Page, open_endpoints, told_of_call, told_of_upload
from ui.run import Visit, load_request, present
from ui.stage import or_skip
from ui.tab import Component, Tab
from ui.tabs import class_conditional, history, inpaint, layout, semantic, text_to_image, upscale
from ui.tabs.history import Past
from ui.thumbnails import Thumbnails
from ui.unfinished import Kept

TITLE = "Latent Canvas"
MAX_UPLOAD = 320 * 2**20  # bytes; fits a 40 megapixel result PNG that embeds its input picture
EVENTS = 16  # events of one kind that are answered at the same time
POLL = 0.02  # seconds between two looks for new events; Gradio's 0.001 keep a tenth of a core busy
CACHE_SECONDS = (3600, 86400)  # interval of the clean-up of previews, and their maximum age
TABS: dict[str, tuple[str, Callable[[JobQueue], Tab]]] = {
    "text-to-image": ("Text to image", text_to_image.create),
    "inpaint": ("Inpaint", inpaint.create),
    "semantic": ("Paint a scene", semantic.create),
    "layout": ("Layout", layout.create),
    "upscale": ("Upscale", upscale.create),
    "class-conditional": ("Classes", class_conditional.create),
}
"""Task -> (title of its tab, function that builds the tab)."""


def build(
    jobs: JobQueue, past_in: Path | None = None, unfinished_in: Path | None = None
) -> gr.Blocks:
    """Build the whole page and connect it to the job queue.

    Args:
        jobs: The job queue.
        past_in: Data folder whose pictures the history tab shows to every visitor. With it, a new
            visitor is also offered runs that others left unfinished. None: no history tab.
        unfinished_in: Folder in which the studio saves unfinished runs; None: they are not saved.
    """
    made_in = past_in and past_in / OUTPUTS
    kept = Kept(jobs, unfinished_in and UnfinishedRuns(unfinished_in), past_in is not None)
    with Page(
        title=TITLE, delete_cache=CACHE_SECONDS, analytics_enabled=False, fill_width=True
    ) as page:
        gr.HTML(theme.header(), elem_id="masthead", padding=False)
        tabs, opened = [], {}
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as frame:
            for task, (title, create) in TABS.items():
                with gr.Tab(title, id=task, elem_id=f"tab-{task}") as room:
                    tabs.append(create(jobs))
                opened[task] = [room.select]
            past = _past(past_in) if past_in else None
        for tab in tabs:
            tab.stage.sign.render()
        opened[tabs[0].task].append(page.load)
        _restore(frame, tabs, past)
        _send(frame, tabs, past)
        _remember(page, tabs)
        open_endpoints(jobs, [tab.request_type for tab in tabs])
        for tab in tabs:
            reload.resume_on_load(page, jobs, tab.stage, tab.task, kept, made_in)
            estimate.connect(jobs, tab, opened[tab.task])
            if past:
                favourite.connect(tab.stage.star, tab.stage.plate, tab.stage.visit, past.history)
    page.queue(default_concurrency_limit=EVENTS)
    page._queue.sleep_when_free = POLL
    return page


def _past(data_dir: Path) -> Past:
    """Build the history tab."""
    titles = {task: title for task, (title, _) in TABS.items()}
    with gr.Tab(history.TITLE, id=history.TASK, elem_id=f"tab-{history.TASK}") as room:
        kept = history.history_in(data_dir), Thumbnails(data_dir / THUMBNAILS)
        return history.create(room, *kept, titles)


def _restore(frame: gr.Tabs, tabs: list[Tab], past: Past | None) -> None:
    """Connect the buttons that restore a picture: its tab opens with all settings filled in.

    This takes two steps, and the second one outputs to that tab alone: an update clears a canvas in
    a tab that was never opened, even if it changes nothing.
    """
    wanted = {tab.task: gr.State() for tab in tabs}  # (path, time), so that each click differs

    def restore(path: str) -> dict[Component, Any]:
        task = load_request(Path(path)).task
        return {frame: gr.Tabs(selected=task), wanted[task]: (path, time.monotonic())}

    for tab in tabs:

        def fill(picture: tuple[str, float], visit: Visit, tab: Tab = tab) -> dict[Component, Any]:
            return tab.open(Path(picture[0]), visit)

        outputs = [*tab.inputs.values(), *tab.stage.shown_one]
        wanted[tab.task].change(fill, [wanted[tab.task], tab.stage.visit], outputs, **QUIET)
    places = [frame, *wanted.values()]
    for button in (one.restore for one in [*tabs, past] if one):
        button.upload(restore, button, places, **QUIET)
    if past:
        past.reopen.click(lambda visit: restore(visit.shown.path), past.visit, places, **QUIET)


def _send(frame: gr.Tabs, tabs: list[Tab], past: Past | None) -> None:
    """Connect the buttons that send the shown picture to another tab."""
    sources = [*(tab.stage for tab in tabs), *([past] if past else [])]
    takers = [tab for tab in tabs if tab.receive is not None]
    visits = [source.visit for source in sources]
    for target in takers:
        buttons = [source.send[target.task] for source in sources]
        pressed = {button._id: place for place, button in enumerate(buttons)}

        def send(
            event: gr.EventData, *values: Any, target: Tab = target, pressed: dict = pressed
        ) -> dict[Any, Any]:
            shown = values[pressed[event.target._id]].shown
            if shown is None:
                return or_skip({})
            preset, by_hand, *prompt = values[len(pressed) :]
            taken = target.receive(present(shown.path), preset, *prompt)
            return {frame: gr.Tabs(selected=target.task)} | target.take(taken, preset, by_hand)

        chosen = [target.inputs["preset"], target.by_hand]
        chosen += [target.inputs["prompt"]] if "prompt" in target.inputs else []
        outputs = [frame, *target.inputs.values()]
        clicks = [button.click for button in buttons]
        sent = gr.on(clicks, send, [*visits, *chosen], outputs, **QUIET)
        sent.success(None, None, None, js=f"() => latentCanvas.arrived({target.task!r})", **QUIET)
    for source in sources:
        for task, button in source.send.items():
            button.visible = task in {taker.task for taker in takers}


def _remember(page: gr.Blocks, tabs: list[Tab]) -> None:
    """Let the browser remember each tab's settings, restore them from links, and undo changes."""
    names = [
        [tab.task, name, limits(tab.request_type, name, box)]
        for tab in tabs
        for name, box in tab.kept.items()
    ]
    widgets = [box for tab in tabs for box in tab.kept.values()]
    recall = f"(...values) => latentCanvas.recall({json.dumps(names)}, values)"
    recalled = [*widgets, *(tab.by_hand for tab in tabs)]
    page.load(None, widgets, recalled, js=recall, **QUIET)
    loaded = {
        (tab.task, name): tab.inputs[name]
        for tab in tabs
        for name in tab.not_kept
        if isinstance(tab.inputs[name], gr.Image)
    }
    pictures = f"() => latentCanvas.pictures({json.dumps(list(loaded))})"
    page.load(None, None, list(loaded.values()), js=pictures, **QUIET)
    for tab in tabs:
        large = {name: tab.inputs[name] for name in tab.not_kept}
        for boxes, deed in ((tab.kept, "keep"), (large, "hold")):
            if boxes:
                changes, values = [box.change for box in boxes.values()], list(boxes.values())
                about = {"trigger_mode": "multiple", "js": _call(deed, tab, boxes)}
                gr.on(changes, None, values, None, **about, **QUIET)
        own = list(tab.linked.values())
        tab.link.click(None, own, None, js=_call("copyLink", tab, tab.linked), **QUIET)
        every = list(tab.inputs.values())
        tab.undo.click(None, every, every, js=_call("undo", tab, tab.inputs), **QUIET)


def _call(deed: str, tab: Tab, names: Iterable[str]) -> str:
    """JavaScript that calls `latentCanvas.<deed>` with the values of the named inputs of a tab."""
    about = f"{json.dumps(tab.task)}, {json.dumps(list(names))}"
    return f"(...values) => latentCanvas.{deed}({about}, values)"


def files_of(page: gr.Blocks) -> set[Path]:
    """Return the files in Gradio's cache that belong to the page itself, such as its examples."""
    return {Path(path) for block in page.blocks.values() for path in block.keep_in_cache}


def launch_options() -> dict[str, Any]:
    """Options of `launch` besides host and port: appearance, limits, and no telemetry."""
    return {
        "theme": theme.theme(),
        "css": theme.css(),
        "head": theme.head(),
        "favicon_path": str(theme.MARK),
        "footer_links": ["api"],
        "run_history": False,
        "ssr_mode": False,
        "show_error": False,
        "max_file_size": MAX_UPLOAD,
        "app_kwargs": {
            "middleware": [
                Middleware(Delivery, theme.first_script()),
                Middleware(BodyLimit, MAX_UPLOAD),
            ],
            "exception_handlers": dict.fromkeys((TypeError, KeyError), told_of_call)
            | {OSError: told_of_upload},
        },
        # each waiting page or program takes one thread, and the whole queue can be waiting
        "max_threads": MAX_QUEUED + 60,
        "quiet": True,
        # skip Gradio's start-up check: its 3 s timeout fails on a busy machine
        "_frontend": False,
    }
