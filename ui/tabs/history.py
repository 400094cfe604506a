"""The history tab: search all saved pictures by words and reopen them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.history import OUTPUTS, Entry, History
from ui.controls import QUIET, named
from ui.favourite import STAR, STARRED_ONE
from ui.finder import ANY, STARRED, Asked, Finder, Search, in_words
from ui.gallery import downloads, putting_back, strip_of_pictures
from ui.run import Picture, Visit, fail
from ui.stage import Updates
from ui.thumbnails import Thumbnails
from ui.wall import look_closer, send_buttons, wall
from ui.words import caption_html, describe, entry_name, made_when

TASK = "history"  # used like a task name in element ids
TITLE = "History"
HINT = "Choose a picture: it comes here, and from here back to the tab that made it."
PLACEHOLDER = "sunset, 1234, 23 Nov"
LOOKING = "<p>Looking for the pictures…</p>"  # until the first answer


@dataclass(frozen=True)
class Past:
    """What other tabs connect to: the pictures, and components of the history tab."""

    history: History
    visit: gr.State  # a Visit, used for the shown picture only
    reopen: gr.Button  # opens the shown picture in the tab that made it
    restore: gr.UploadButton
    send: dict[str, gr.Button]  # sends the shown picture to another tab, by task


@dataclass(frozen=True)
class Chosen:
    """The right side: the chosen picture and its buttons."""

    visit: gr.State  # a Visit
    picture: gr.Image
    plate: gr.HTML
    reopen: gr.Button
    star: gr.Button  # makes the picture a favourite, or none any more
    send: dict[str, gr.Button]
    remove: gr.Button
    back: gr.Button  # puts back the picture that was removed last
    removed: gr.State  # list[Entry]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The components that show the picture."""
        return [self.picture, self.plate, self.star]


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
    _look_back(room, history, chosen)
    return Past(history, chosen.visit, chosen.reopen, restore, chosen.send)


def _search(titles: dict[str, str]) -> tuple[Search, gr.UploadButton]:
    with gr.Row(**named(TASK, "words")):
        about = {"placeholder": PLACEHOLDER, "max_lines": 1}
        words = gr.Textbox(label="Search", **about, **named(TASK, "search"))
        kinds = [("All pictures", ANY), ("Favourites", STARRED)]
        kinds += [(title, task) for task, title in titles.items()]
        task = gr.Dropdown(kinds, value=ANY, label="Show", **named(TASK, "task"))
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
            star = gr.Button(STAR, **small, **named(TASK, "star"))
            send = send_buttons(TASK)
            remove = gr.Button("Remove", **small, **named(TASK, "take-out"))
    back = gr.Button("Put back", **small, visible=False, **named(TASK, "back"))
    parts = (picture, plate, reopen, star, send, remove, back)
    return Chosen(gr.State(Visit()), *parts, gr.State([]))


def _look_back(room: gr.Tab, history: History, chosen: Chosen) -> None:
    """Let what an earlier visit removed be put back when the tab is opened."""

    def look(removed: list[Entry]) -> Updates:
        removed = removed or history.removed_pictures()
        return {chosen.removed: removed, chosen.back: putting_back(len(removed))}

    room.select(look, chosen.removed, [chosen.removed, chosen.back], **QUIET)


def _connect(finder: Finder, chosen: Chosen, titles: dict[str, str]) -> None:
    """Connect choosing, removing and putting back a picture."""
    search, history = finder.search, finder.history

    def show(entry: Entry | None, visit: Visit) -> Updates:
        visit.shown = picture_of(entry) if entry else None
        image = gr.Image(visit.shown.path, alt_text=entry_name(entry)) if entry else None
        more = f"{titles[entry.about.task]}, {made_when(entry)}" if entry else ""
        star = STARRED_ONE if entry and entry.is_favourite else STAR
        return {
            chosen.picture: image,
            chosen.plate: caption_html(visit.shown, more),
            chosen.star: star,
        }

    def choose(visit: Visit, found: list[Entry], event: gr.SelectData) -> Updates:
        return show(found[event.index], visit)

    def refreshed(removed: list[Entry], *asked: Any) -> Updates:
        *_, updates = finder.refresh(*asked)
        return updates | {chosen.back: putting_back(len(removed))}

    def remove(visit: Visit, removed: list[Entry], *asked: Any) -> Updates:
        paths = [str(entry.path) for entry in asked[-1]]
        if visit.shown is None or visit.shown.path not in paths:
            raise fail("The picture on show is not among those that were found.")
        at = paths.index(visit.shown.path)
        with in_words():
            history.remove(asked[-1][at])
        removed.append(asked[-1][at])
        updates = refreshed(removed, *asked)
        left = updates[search.found]
        return updates | show(left[min(at, len(left) - 1)] if left else None, visit)

    def star(visit: Visit, found: list[Entry]) -> Updates:
        if visit.shown is None:
            return {chosen.star: STAR}
        path = Path(visit.shown.path)
        with in_words():
            is_one = history.toggle_star(path)
        found = [replace(e, is_favourite=is_one) if e.path == path else e for e in found]
        button = STARRED_ONE if is_one else STAR
        return {search.found: found, search.gallery: finder.shown(found), chosen.star: button}

    def put_back(visit: Visit, removed: list[Entry], *asked: Any) -> Updates:
        with in_words():
            history.put_back(removed[-1])
        entry = removed.pop()
        return refreshed(removed, *asked) | show(entry, visit)

    given = [chosen.visit, search.found]
    chosen.star.click(star, given, [search.found, search.gallery, chosen.star], **QUIET)
    search.gallery.select(choose, [chosen.visit, search.found], chosen.outputs, **QUIET)
    given = [chosen.visit, chosen.removed, *search.asked]
    outputs = [*search.outputs, *chosen.outputs, chosen.back]
    chosen.remove.click(remove, given, outputs, **QUIET)
    chosen.back.click(put_back, given, outputs, **QUIET)


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
