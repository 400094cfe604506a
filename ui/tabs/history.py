"""The history tab: search all saved pictures by words and reopen them."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.history import OUTPUTS, Entry, History
from ui import several
from ui.controls import IN_ORDER, QUIET, named
from ui.favourite import STAR, STARRED_ONE
from ui.finder import ANY, STARRED, Asked, Finder, Search, in_words
from ui.gallery import downloads, putting_back, strip_of_pictures, zipped
from ui.run import Picture, Visit, fail
from ui.several import MARKED, Several
from ui.stage import Updates
from ui.thumbnails import Thumbnails
from ui.wall import look_closer, send_buttons, wall
from ui.words import caption_html, describe, entry_name, made_when

TASK = "history"  # used like a task name in element ids
TITLE = "History"
HINT = "Choose a picture: it comes here, and from here back to the tab that made it."
PLACEHOLDER = "sunset, 1234, 23 Nov"
Removed = list[list[Entry]]  # what was removed together, each time
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
    removed: gr.State  # Removed

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
            search, restore, bar = _search(titles)
        with gr.Column(**named(TASK, "right")):
            chosen = _chosen()
    finder = Finder(history, thumbnails, search)
    room.select(finder.refresh, search.asked, search.outputs, **QUIET)
    for box in (search.words, search.task):
        about = {"trigger_mode": "always_last"} | QUIET
        box.change(finder.look, search.asked[:3], search.outputs, **about)
    search.more.click(finder.more, search.asked, search.outputs, **QUIET)
    downloads(TASK, search.save, search.archive, finder.paths, search.now)
    _connect(Acts(finder, chosen, titles), bar)
    _look_back(room, history, chosen)
    return Past(history, chosen.visit, chosen.reopen, restore, chosen.send)


def _search(titles: dict[str, str]) -> tuple[Search, gr.UploadButton, Several]:
    with gr.Row(**named(TASK, "words")):
        about = {"placeholder": PLACEHOLDER, "max_lines": 1}
        words = gr.Textbox(label="Search", **about, **named(TASK, "search"))
        kinds = [("All pictures", ANY), ("Favourites", STARRED)]
        kinds += [(title, task) for task, title in titles.items()]
        task = gr.Dropdown(kinds, value=ANY, label="Show", **named(TASK, "task"))
    count = gr.HTML(LOOKING, padding=False, **named(TASK, "trained"))
    gallery = strip_of_pictures(label="Pictures that were found", **named(TASK, "results"))
    bar = several.create(TASK)
    more = gr.Button("Show more", size="sm", visible=False, **named(TASK, "more"))
    with gr.Row(**named(TASK, "tools")):
        restore = gr.UploadButton("Restore from PNG", size="sm", **named(TASK, "restore"))
        save = gr.Button("Download these", size="sm", visible=False, **named(TASK, "save"))
        gr.Button("Choose several", size="sm", **named(TASK, "several-begin"))
        archive = gr.DownloadButton(visible="hidden", **named(TASK, "archive"))
    parts = (words, task, count, gr.State([]), gallery, more, save, archive, gr.State(Asked()))
    return Search(*parts), restore, bar


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

    def look(removed: Removed) -> Updates:
        removed = removed or [[entry] for entry in history.removed_pictures()]
        return {chosen.removed: removed, chosen.back: _back(removed)}

    room.select(look, chosen.removed, [chosen.removed, chosen.back], **QUIET)


def _connect(acts: Acts, bar: Several) -> None:
    """Connect choosing, removing and putting back pictures, one or several at once."""
    search, chosen = acts.finder.search, acts.chosen
    given = [chosen.visit, search.found]
    search.gallery.select(acts.choose, given, chosen.outputs, **IN_ORDER, **QUIET)
    stars = [search.found, search.gallery, chosen.star]
    chosen.star.click(acts.star, given, stars, **QUIET)
    given = [chosen.visit, chosen.removed, *search.asked]
    outputs = [*search.outputs, *chosen.outputs, chosen.back]
    chosen.remove.click(acts.remove, given, outputs, **QUIET)
    chosen.back.click(acts.put_back, given, outputs, **QUIET)

    def save(marked: str, found: list[Entry]) -> str:
        return zipped(_paths_of(bar.of(marked, found)))

    def star(marked: str, visit: Visit, found: list[Entry]) -> Updates:
        return acts.star_all(_paths_of(bar.of(marked, found)), visit, found)

    def remove(marked: str, visit: Visit, removed: Removed, *asked: Any) -> Updates:
        return acts.remove_all(bar.of(marked, asked[-1]), visit, removed, *asked)

    about = {"js": MARKED} | QUIET
    packed = bar.save.click(save, [bar.marked, search.found], search.archive, **about)
    packed.success(None, None, None, js=f"() => latentCanvas.download({TASK!r})", **QUIET)
    bar.star.click(star, [bar.marked, chosen.visit, search.found], stars, **about)
    gone = bar.remove.click(remove, [bar.marked, *given], outputs, **about)
    gone.success(None, None, None, js="() => latentCanvas.choosing(false)", **QUIET)


@dataclass(frozen=True)
class Acts:
    """Handlers of what is done to pictures that were found; each returns updates."""

    finder: Finder
    chosen: Chosen
    titles: dict[str, str]  # task -> title of its tab

    @property
    def history(self) -> History:
        """The history in which they were found."""
        return self.finder.history

    def show(self, entry: Entry | None, visit: Visit) -> Updates:
        """Show a picture, or none."""
        visit.shown = picture_of(entry) if entry else None
        image = gr.Image(visit.shown.path, alt_text=entry_name(entry)) if entry else None
        more = f"{self.titles[entry.about.task]}, {made_when(entry)}" if entry else ""
        star = STARRED_ONE if entry and entry.is_favourite else STAR
        return {
            self.chosen.picture: image,
            self.chosen.plate: caption_html(visit.shown, more),
            self.chosen.star: star,
        }

    def choose(self, visit: Visit, found: list[Entry], event: gr.SelectData) -> Updates:
        """Show the picture that was clicked on."""
        return self.show(found[event.index], visit)

    def remove(self, visit: Visit, removed: Removed, *asked: Any) -> Updates:
        """Remove the picture on show and show its neighbour."""
        paths = [str(entry.path) for entry in asked[-1]]
        if visit.shown is None or visit.shown.path not in paths:
            raise fail("The picture on show is not among those that were found.")
        at = paths.index(visit.shown.path)
        updates = self.remove_all([asked[-1][at]], visit, removed, *asked)
        left = updates[self.finder.search.found]
        return updates | self.show(left[min(at, len(left) - 1)] if left else None, visit)

    def remove_all(
        self, entries: list[Entry], visit: Visit, removed: Removed, *asked: Any
    ) -> Updates:
        """Remove pictures, which are put back together; one of them that is on show goes, too.

        What cannot be removed is told, and stays.
        """
        gone: list[Entry] = []
        for entry in entries:
            try:
                self.history.remove(entry)
                gone.append(entry)
            except LDMError as error:
                warn(error)
        if gone:
            removed.append(gone)
        is_shown = visit.shown is not None and Path(visit.shown.path) in _paths_of(gone)
        updates = self._refreshed(removed, *asked)
        return updates | self.show(None, visit) if is_shown else updates

    def put_back(self, visit: Visit, removed: Removed, *asked: Any) -> Updates:
        """Put back what was removed last and show its first picture; what cannot be is told."""
        there = None
        for entry in reversed(removed.pop() if removed else []):  # of two quick clicks
            try:
                self.history.put_back(entry)
                there = entry
            except LDMError as error:
                warn(error)
        updates = self._refreshed(removed, *asked)
        return updates | self.show(there, visit) if there else updates

    def star(self, visit: Visit, found: list[Entry]) -> Updates:
        """Make the picture on show a favourite, or none any more."""
        if visit.shown is None:
            return {self.chosen.star: STAR}
        return self.star_all([Path(visit.shown.path)], visit, found)

    def star_all(self, paths: list[Path], visit: Visit, found: list[Entry]) -> Updates:
        """Make pictures favourites, or none of them if all are."""
        with in_words():
            is_new = self.history.toggle_stars(paths)
        found = [replace(e, is_favourite=is_new) if e.path in paths else e for e in found]
        is_one = visit.shown is not None and self.history.is_starred(Path(visit.shown.path))
        search = self.finder.search
        return {
            search.found: found,
            search.gallery: self.finder.shown(found),
            self.chosen.star: STARRED_ONE if is_one else STAR,
        }

    def _refreshed(self, removed: Removed, *asked: Any) -> Updates:
        *_, updates = self.finder.refresh(*asked)
        return updates | {self.chosen.back: _back(removed)}


def warn(error: LDMError) -> None:
    """Tell what could not be done to one of several pictures."""
    gr.Warning(html.escape(str(error), quote=False))


def _back(removed: Removed) -> gr.Button:
    return putting_back(sum(map(len, removed)))


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
