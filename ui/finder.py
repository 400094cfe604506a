"""The search of the history tab: its components and handlers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.history import Entry, History
from ui.run import fail
from ui.stage import Updates
from ui.thumbnails import Thumbnails
from ui.words import NONE_STARRED, count_html, entry_name

PAGE = 48  # pictures per page
ANY = ""  # the filter that lets all pass
STARRED = "favourites"  # the filter that lets favourites pass; others are tasks


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
    save: gr.Button  # packs all pictures that match into one file
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
        total = self.history.count(**criteria(words, task))
        found = [entry for entry in found if entry.path.exists()]
        return {
            self.search.found: found,
            self.search.gallery: self.shown(found),
            self.search.count: count_html(total, to_read, **_asked(words, task)),
            self.search.more: gr.Button(visible=total > len(found)),
            self.search.save: gr.Button(f"Download these {total}", visible=total > 1),
        }

    def shown(self, found: list[Entry]) -> gr.Gallery:
        """Return the gallery of the thumbnails and names of these pictures."""
        small = [self.thumbnails.of(entry.path, entry.about.kind) for entry in found]
        return gr.Gallery(list(zip(small, map(entry_name, found), strict=True)))

    def look(self, words: str, task: str, asked: Asked) -> Updates:
        """Show the first page of a new search."""
        asked.take(words, task)
        with in_words():
            self.history.forget_gone()
            found = self._find(words, task, limit=PAGE)
            return self.show(found, words, task)

    def refresh(self, words: str, task: str, asked: Asked, found: list[Entry]) -> Iterator[Updates]:
        """Index new pictures and show as many results as before, for the latest search.

        The search may change while this runs, so it is read from `asked` before each update, and
        the results are shown once more if it changed during the last one.
        """
        if not asked.known:
            asked.take(words, task)
        limit, shown = max(PAGE, len(found)), None
        with in_words():
            for to_read in self.history.refresh():
                shown = asked.now
                yield self.show(self._find(*shown, limit=limit), *shown, to_read)
            while shown != asked.now:
                shown = asked.now
                yield self.show(self._find(*shown, limit=limit), *shown)

    def more(self, words: str, task: str, _: Asked, found: list[Entry]) -> Updates:
        """Show one more page."""
        last = found[-1] if found else None
        with in_words():
            self.history.forget_gone()
            next_ones = self._find(words, task, after=last, limit=PAGE)
            return self.show([*found, *next_ones], words, task)

    def paths(self, asked: Asked) -> list[Path]:
        """Return the files of all pictures that match the search, of all pages."""
        with in_words():
            total = self.history.count(**criteria(*asked.now))
            return [entry.path for entry in self._find(*asked.now, limit=total)]

    def _find(self, words: str, task: str, **how: Any) -> list[Entry]:
        return self.history.find(**criteria(words, task), **how)


def _asked(words: str, task: str) -> dict[str, Any]:
    """Return what is told if nothing was found."""
    if task == STARRED and not words.strip():
        return {"is_search": True, "none": NONE_STARRED}
    return {"is_search": bool(words.strip() or task)}


def criteria(words: str, task: str) -> dict[str, Any]:
    """Return the arguments of a search in the history for what the page asks for."""
    is_star = task == STARRED
    return {"words": words, "task": "" if is_star else task, "starred": is_star}


@contextmanager
def in_words() -> Iterator[None]:
    """Turn errors of the history into Gradio error messages."""
    try:
        yield
    except LDMError as error:
        raise fail(str(error)) from error
