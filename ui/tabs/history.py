"""The history tab: what was made before, on any day and by whatever way, found again by words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr

from ldm import metadata
from ldm.errors import LDMError
from ldm.history import About, Entry, History
from ui.controls import named
from ui.gallery import strip_of_pictures
from ui.run import Picture, Visit, fail, plate_of
from ui.stage import QUIET, look_closer, onward, wall
from ui.thumbnails import Thumbnails

TASK = "history"  # what its widgets are called by, as those of a task
TITLE = "History"
PAGE = 48  # pictures at once
ANY = ""  # task
HINT = "Choose a picture: it comes here, and from here back to the tab that made it."
EMPTY = "Nothing has been made yet: what you make in the other tabs is kept here."
NONE = "No picture has all of this; try fewer words, or parts of them."
PLACEHOLDER = "words of the prompt, a seed, a model, a day"


@dataclass(frozen=True)
class Past:
    """What connects the tab to the others."""

    visit: gr.State  # a Visit: which picture is on show
    reopen: gr.Button  # the picture on show, in the tab that made it
    restore: gr.UploadButton
    send: dict[str, gr.Button]  # to another tab, by its task


@dataclass(frozen=True)
class Search:
    """The left side: what is asked for, and what was found."""

    words: gr.Textbox
    task: gr.Dropdown
    count: gr.HTML
    found: gr.State  # list[Entry]
    gallery: gr.Gallery
    more: gr.Button

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What shows what was found."""
        return [self.found, self.gallery, self.count, self.more]


def history_in(data_dir: Path) -> History:
    """The history of the pictures that the studio keeps under a folder."""
    return History(data_dir / "outputs", data_dir / "history.db", describe)


def describe(path: Path) -> About | None:
    """What a picture says of itself; None if it was not made here."""
    try:
        request = metadata.load(path).request
        picture = Picture.of(path, request)
    except LDMError:
        return None
    told = (picture.title, picture.settings, picture.without)
    words = (*told, request.task, request.preset, path.parent.name, path.stem)
    return About(request.task, *told, " ".join(words))


def create(room: gr.Tab, history: History, thumbnails: Thumbnails, titles: dict[str, str]) -> Past:
    """Build the tab.

    Args:
        room: The tab, which looks again whenever it is opened.
        history: What it shows.
        thumbnails: Small pictures of large ones.
        titles: What the other tabs are called, by their task.
    """
    with gr.Row(**named(TASK, "studio")):
        with gr.Column(**named(TASK, "left")):
            search, restore = _search(titles)
        with gr.Column(**named(TASK, "right")):
            picture = wall(TASK, HINT)
            with gr.Row(**named(TASK, "about")):
                plate = gr.HTML(padding=False, **named(TASK, "plate"))
                with gr.Row(**named(TASK, "onward")):
                    look_closer(TASK)
                    about = {"size": "sm", "scale": 0}
                    reopen = gr.Button("Open in its tab", **about, **named(TASK, "reopen"))
                    send = onward(TASK)
    visit = gr.State(Visit())
    _connect(room, search, history, thumbnails)

    def choose(found: list[Entry], visit: Visit, event: gr.SelectData) -> tuple[Any, str]:
        entry = found[event.index]
        visit.shown = picture_of(entry)
        plate = plate_of(visit.shown, f"{titles[entry.about.task]}, {when(entry)}")
        return gr.Image(visit.shown.path, alt_text=name_of(entry)), plate

    search.gallery.select(choose, [search.found, visit], [picture, plate], **QUIET)
    return Past(visit, reopen, restore, send)


def _search(titles: dict[str, str]) -> tuple[Search, gr.UploadButton]:
    with gr.Row(**named(TASK, "words")):
        words = gr.Textbox(
            label="Search", placeholder=PLACEHOLDER, max_lines=1, **named(TASK, "search")
        )
        kinds = [("Any kind", ANY), *((title, task) for task, title in titles.items())]
        task = gr.Dropdown(kinds, value=ANY, label="Made in", **named(TASK, "task"))
    count = gr.HTML(padding=False, **named(TASK, "trained"))
    gallery = strip_of_pictures(label="Pictures that were found", **named(TASK, "results"))
    more = gr.Button("Show more", size="sm", visible=False, **named(TASK, "more"))
    with gr.Row(**named(TASK, "tools")):
        about = {"file_types": ["image"], "size": "sm"}
        restore = gr.UploadButton("Restore from PNG", **about, **named(TASK, "restore"))
    return Search(words, task, count, gr.State([]), gallery, more), restore


def _connect(room: gr.Tab, search: Search, history: History, thumbnails: Thumbnails) -> None:
    """Opening the tab reads what is new; words and kinds find; a button shows more."""
    asked = [search.words, search.task]

    def show(found: list[Entry], words: str, task: str, to_read: int = 0) -> dict[Any, Any]:
        total, found = history.count(words, task), [one for one in found if one.path.exists()]
        shown = [(thumbnails.of(entry.path), name_of(entry)) for entry in found]
        return {
            search.found: found,
            search.gallery: gr.Gallery(shown),
            search.count: told(total, to_read, is_search=bool(words.strip() or task)),
            search.more: gr.Button(visible=total > len(found)),
        }

    def look(words: str, task: str) -> dict[Any, Any]:
        with _in_words():
            return show(history.find(words, task, limit=PAGE), words, task)

    def refresh(words: str, task: str) -> Iterator[dict[Any, Any]]:
        with _in_words():
            for to_read in history.refresh():
                yield show(history.find(words, task, limit=PAGE), words, task, to_read)

    def more(found: list[Entry], words: str, task: str) -> dict[Any, Any]:
        with _in_words():
            next_ones = history.find(words, task, after=found[-1] if found else None, limit=PAGE)
            return show([*found, *next_ones], words, task)

    room.select(refresh, asked, search.outputs, **QUIET)
    about = {"trigger_mode": "always_last"} | QUIET
    search.words.change(look, asked, search.outputs, **about)
    search.task.input(look, asked, search.outputs, **about)
    search.more.click(more, [search.found, *asked], search.outputs, **QUIET)


@contextmanager
def _in_words() -> Iterator[None]:
    """An index that cannot be kept is told as a sentence."""
    try:
        yield
    except LDMError as error:
        raise fail(str(error)) from error


def picture_of(entry: Entry) -> Picture:
    """The picture of an entry.

    Raises:
        gr.Error: If its file is gone.
    """
    if not entry.path.exists():
        raise fail(f"{entry.path.name} is not in its folder any more.")
    about = entry.about
    return Picture(str(entry.path), about.title, about.settings, about.without)


def name_of(entry: Entry) -> str:
    """What a picture is called: no two have the same seed at the same time."""
    return f"{entry.about.title}, {entry.about.settings}, {when(entry)}"


def when(entry: Entry) -> str:
    """When a picture was made, by the clock of this machine."""
    return f"{datetime.fromtimestamp(entry.made / 1e9):%Y-%m-%d %H:%M:%S}"


def told(count: int, to_read: int, *, is_search: bool) -> str:
    """How many were found, and how many are still to be read. HTML."""
    what = f"{count} picture{'' if count == 1 else 's'}"
    if to_read:
        what += f", {to_read} still to be read"
    elif not count:
        what = NONE if is_search else EMPTY
    return f"<p>{what}</p>"
