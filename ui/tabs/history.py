"""The history tab: search all saved pictures by words and reopen them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.history import OUTPUTS, Entry, History
from ui.controls import QUIET, named
from ui.gallery import downloads, strip_of_pictures
from ui.run import Picture, Visit, fail
from ui.stage import Updates
from ui.thumbnails import Thumbnails
from ui.wall import look_closer, send_buttons, wall
from ui.words import caption_html, count_html, describe, entry_name, made_when

TASK = "history"  # used like a task name in element ids
TITLE = "History"
PAGE = 48  # pictures per page
ANY = ""  # the task filter that lets all pass
HINT = "Choose a picture: it comes here, and from here back to the tab that made it."
PLACEHOLDER = "sunset, 1234, 23 Nov"
LOOKING = "<p>Looking for the pictures…</p>"  # until the first answer


@dataclass(frozen=True)
class Past:
    """The components of the history tab that other tabs connect to."""

    visit: gr.State  # a Visit, used for the shown picture only
    reopen: gr.Button  # opens the shown picture in the tab that made it
    restore: gr.UploadButton
    send: dict[str, gr.Button]  # sends the shown picture to another tab, by task


@dataclass
class Asked:
    """The latest search of an open page; changed in place, even while `Finder.refresh` runs."""

    words: str = ""
    task: str = ANY
    known: bool = False  # whether the page has sent a search yet

    def take(self, words: str, task: str) -> None:
        """Set the search."""
        self.words, self.task, self.known = words, task, True

    @property
    def now(self) -> tuple[str, str]:
        """The current words and task."""
        return self.words, self.task


@dataclass(frozen=True)
class Search:
    """The left side: the search and its results."""

    words: gr.Textbox
    task: gr.Dropdown
    count: gr.HTML
    found: gr.State  # list[Entry]
    gallery: gr.Gallery
    more: gr.Button
    save: gr.Button  # packs the pictures that are seen into one file
    archive: gr.DownloadButton  # hidden: downloads that file
    now: gr.State  # an Asked

    @property
    def asked(self) -> list[gr.components.Component]:
        """Inputs of the search handlers."""
        return [self.words, self.task, self.now, self.found]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The components that show the results."""
        return [self.found, self.gallery, self.count, self.more, self.save]


@dataclass(frozen=True)
class Chosen:
    """The right side: the chosen picture and its buttons."""

    visit: gr.State  # a Visit
    picture: gr.Image
    plate: gr.HTML
    reopen: gr.Button
    send: dict[str, gr.Button]
    remove: gr.Button
    back: gr.Button  # puts back the picture that was removed last
    removed: gr.State  # list[Entry]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The components that show the picture."""
        return [self.picture, self.plate]


def history_in(data_dir: Path) -> History:
    """The history of the pictures in a studio's data folder."""
    return History(data_dir / OUTPUTS, data_dir / "history.db", data_dir / "removed", describe)


def create(room: gr.Tab, history: History, thumbnails: Thumbnails, titles: dict[str, str]) -> Past:
    """Build the tab.

    Args:
        room: The Gradio tab; the history is refreshed whenever it is opened.
        history: The history to show.
        thumbnails: Thumbnails of large pictures.
        titles: Task -> title of its tab.
    """
    with gr.Row(**named(TASK, "studio")):
        with gr.Column(**named(TASK, "left")):
            search, restore = _search(titles)
        with gr.Column(**named(TASK, "right")):
            chosen = _chosen()
    finder = Finder(history, thumbnails, search)
    room.select(finder.refresh, search.asked, search.outputs, **QUIET)
    for box in (search.words, search.task):
        about = {"trigger_mode": "always_last"} | QUIET
        box.change(finder.look, search.asked[:3], search.outputs, **about)
    search.more.click(finder.more, search.asked, search.outputs, **QUIET)
    downloads(TASK, search.save, search.archive, _paths_of, search.found)
    _connect(finder, chosen, titles)
    return Past(chosen.visit, chosen.reopen, restore, chosen.send)


def _search(titles: dict[str, str]) -> tuple[Search, gr.UploadButton]:
    with gr.Row(**named(TASK, "words")):
        about = {"placeholder": PLACEHOLDER, "max_lines": 1}
        words = gr.Textbox(label="Search", **about, **named(TASK, "search"))
        kinds = [("Any kind", ANY), *((title, task) for task, title in titles.items())]
        task = gr.Dropdown(kinds, value=ANY, label="Made in", **named(TASK, "task"))
    count = gr.HTML(LOOKING, padding=False, **named(TASK, "trained"))
    gallery = strip_of_pictures(label="Pictures that were found", **named(TASK, "results"))
    more = gr.Button("Show more", size="sm", visible=False, **named(TASK, "more"))
    with gr.Row(**named(TASK, "tools")):
        restore = gr.UploadButton("Restore from PNG", size="sm", **named(TASK, "restore"))
        save = gr.Button("Download these", size="sm", visible=False, **named(TASK, "save"))
        archive = gr.DownloadButton(visible="hidden", **named(TASK, "archive"))
    parts = (words, task, count, gr.State([]), gallery, more, save, archive, gr.State(Asked()))
    return Search(*parts), restore


def _paths_of(found: list[Entry]) -> list[Path]:
    return [entry.path for entry in found]


def _chosen() -> Chosen:
    picture = wall(TASK, HINT)
    small = {"size": "sm", "scale": 0}
    with gr.Row(**named(TASK, "about")):
        plate = gr.HTML(padding=False, **named(TASK, "plate"))
        with gr.Row(**named(TASK, "onward")):
            look_closer(TASK)
            reopen = gr.Button("Open in its tab", **small, **named(TASK, "reopen"))
            send = send_buttons(TASK)
            remove = gr.Button("Remove", **small, **named(TASK, "take-out"))
    back = gr.Button("Put back", **small, visible=False, **named(TASK, "back"))
    parts = (picture, plate, reopen, send, remove, back)
    return Chosen(gr.State(Visit()), *parts, gr.State([]))


@dataclass(frozen=True)
class Finder:
    """Handlers of the search; each returns or yields updates of the results."""

    history: History
    thumbnails: Thumbnails
    search: Search

    def show(self, found: list[Entry], words: str, task: str, to_read: int = 0) -> Updates:
        """Updates that show the found entries whose files still exist.

        Args:
            found: Entries of all pages so far.
            words: Words of the search.
            task: Task of the search; ANY for all.
            to_read: Number of new pictures that are not in the index yet.
        """
        total = self.history.count(words, task)
        found = [entry for entry in found if entry.path.exists()]
        small = [self.thumbnails.of(entry.path, entry.about.kind) for entry in found]
        shown = list(zip(small, map(entry_name, found), strict=True))
        return {
            self.search.found: found,
            self.search.gallery: gr.Gallery(shown),
            self.search.count: count_html(total, to_read, is_search=bool(words.strip() or task)),
            self.search.more: gr.Button(visible=total > len(found)),
            self.search.save: gr.Button(f"Download these {len(found)}", visible=len(found) > 1),
        }

    def look(self, words: str, task: str, asked: Asked) -> Updates:
        """Show the first page of a new search."""
        asked.take(words, task)
        with _in_words():
            self.history.forget_gone()
            return self.show(self.history.find(words, task, limit=PAGE), words, task)

    def refresh(self, words: str, task: str, asked: Asked, found: list[Entry]) -> Iterator[Updates]:
        """Index new pictures and show as many results as before, for the latest search.

        The search may change while this runs, so it is read from `asked` before each update, and
        the results are shown once more if it changed during the last one.
        """
        if not asked.known:
            asked.take(words, task)
        limit, shown = max(PAGE, len(found)), None
        with _in_words():
            for to_read in self.history.refresh():
                shown = asked.now
                yield self.show(self.history.find(*shown, limit=limit), *shown, to_read)
            while shown != asked.now:
                shown = asked.now
                yield self.show(self.history.find(*shown, limit=limit), *shown)

    def more(self, words: str, task: str, _: Asked, found: list[Entry]) -> Updates:
        """Show one more page."""
        last = found[-1] if found else None
        with _in_words():
            self.history.forget_gone()
            next_ones = self.history.find(words, task, after=last, limit=PAGE)
            return self.show([*found, *next_ones], words, task)


def _connect(finder: Finder, chosen: Chosen, titles: dict[str, str]) -> None:
    """Connect choosing, removing and putting back a picture."""
    search, history = finder.search, finder.history

    def show(entry: Entry | None, visit: Visit) -> Updates:
        visit.shown = picture_of(entry) if entry else None
        image = gr.Image(visit.shown.path, alt_text=entry_name(entry)) if entry else None
        more = f"{titles[entry.about.task]}, {made_when(entry)}" if entry else ""
        return {chosen.picture: image, chosen.plate: caption_html(visit.shown, more)}

    def choose(visit: Visit, found: list[Entry], event: gr.SelectData) -> Updates:
        return show(found[event.index], visit)

    def refreshed(removed: list[Entry], *asked: Any) -> Updates:
        *_, updates = finder.refresh(*asked)
        back = f"Put back what was removed ({len(removed)})"
        return updates | {chosen.back: gr.Button(back, visible=bool(removed))}

    def remove(visit: Visit, removed: list[Entry], *asked: Any) -> Updates:
        paths = [str(entry.path) for entry in asked[-1]]
        if visit.shown is None or visit.shown.path not in paths:
            raise fail("The picture on show is not among those that were found.")
        at = paths.index(visit.shown.path)
        with _in_words():
            history.remove(asked[-1][at])
        removed.append(asked[-1][at])
        updates = refreshed(removed, *asked)
        left = updates[search.found]
        return updates | show(left[min(at, len(left) - 1)] if left else None, visit)

    def put_back(visit: Visit, removed: list[Entry], *asked: Any) -> Updates:
        with _in_words():
            history.put_back(removed[-1])
        entry = removed.pop()
        return refreshed(removed, *asked) | show(entry, visit)

    search.gallery.select(choose, [chosen.visit, search.found], chosen.outputs, **QUIET)
    given = [chosen.visit, chosen.removed, *search.asked]
    outputs = [*search.outputs, *chosen.outputs, chosen.back]
    chosen.remove.click(remove, given, outputs, **QUIET)
    chosen.back.click(put_back, given, outputs, **QUIET)


@contextmanager
def _in_words() -> Iterator[None]:
    """Turn errors of the history into Gradio error messages."""
    try:
        yield
    except LDMError as error:
        raise fail(str(error)) from error


def picture_of(entry: Entry) -> Picture:
    """The picture of an entry.

    Raises:
        gr.Error: If the file is gone.
    """
    if not entry.path.exists():
        raise fail(f"{entry.path.name} is not in its folder any more.")
    about = entry.about
    told = (about.title, about.settings, about.without)
    return Picture(str(entry.path), *told, is_sheet=bool(about.kind))
