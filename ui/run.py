"""From a click to a picture: requests from values, and a visitor's own state."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import gradio as gr

from ldm import metadata
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.comparison import Comparison
from ldm.errors import LDMError, RequestError
from ldm.events import Result, Unfinished
from ldm.jobs import JobQueue
from ldm.progression import Progression
from ldm.requests import EncodedImage
from ldm.seeds import MAX_SEED, one_by_one
from ui.titles import settings, title

NEW_SEED = -1  # for a new one each time, as other programs write it
MAX_DIGITS = 20  # of a whole number that is typed
STARTS = ("a", "an", "at", "the", "there", "what")  # of sentences that begin with no name
MAX_SHOWN = 60  # pictures in a visitor's gallery; the older ones stay on disk


@dataclass(frozen=True)
class Picture:
    """A finished picture: its file, and what is said of it.

    The request that makes exactly it is in the file, and is read when it is wanted: it may hold
    pictures and masks of many megabytes, and a visit keeps dozens.
    """

    path: str
    title: str  # what it shows, in a line; found out once: it may have to look at many pixels
    settings: str  # in a line
    without: str  # what it was to leave out
    is_sheet: bool = False  # of pictures that are compared, or of one picture's steps

    @staticmethod
    def of(path: Path | str, request: Any) -> Picture:
        """What is in a file, made by a request."""
        is_sheet = isinstance(request, (Comparison, Progression))
        common = request.request if is_sheet else request
        without = getattr(common, "negative_prompt", "")
        return Picture(str(path), title(common), settings(request), without, is_sheet)

    @property
    def request(self) -> Any:
        """Read from the file.

        Raises:
            gr.Error: If it is gone or damaged.
        """
        return load_request(Path(self.path))


@dataclass
class Visit:
    """What one open page has made and is waiting for; lives in a `gr.State`, changed in place."""

    pictures: list[Picture] = field(default_factory=list)  # newest first
    shown: Picture | None = None
    removed: list[tuple[int, Picture]] = field(default_factory=list)  # how many were older, and it
    job_id: str | None = None  # of the running job
    unfinished: list[Unfinished] = field(default_factory=list)  # was stopped and can go on
    wants_stop: bool = False  # Cancel was pressed, maybe before the job had an id

    def submit(self, jobs: JobQueue, request: Any) -> str:
        """Put a request in the queue as this visit's job.

        Raises:
            RequestError: If the queue does not take it.
        """
        self.wants_stop = False
        self.job_id = jobs.submit(request)
        if self.wants_stop:
            jobs.cancel(self.job_id)
        return self.job_id

    def stop(self, jobs: JobQueue) -> None:
        """Cancel this visit's job, if there is one."""
        self.wants_stop = True
        if self.job_id is not None:
            jobs.cancel(self.job_id)

    @property
    def rest(self) -> Unfinished | None:
        """What was stopped last."""
        return self.unfinished[-1] if self.unfinished else None

    def ended(self, event: Any) -> None:
        """Take in how a run has ended."""
        if isinstance(event, Result):
            self.keep(event)
            self._let_go(list(event.requests))
        elif (rest := getattr(event, "unfinished", None)) is not None:
            self._let_go(one_by_one(rest.request))
            self.unfinished.append(rest)

    def _let_go(self, requests: list[Any]) -> None:
        """What made these pictures is not unfinished any more, or not where it was."""
        others = (rest for rest in self.unfinished if one_by_one(rest.request) != requests)
        self.unfinished = list(others)

    def keep(self, result: Result) -> None:
        """Put a result's pictures before the others and show the first.

        Once: a page that is loaded again follows its run, which the first one may follow still.
        """
        if str(result.paths[0]) in (picture.path for picture in self.pictures):
            return
        paired = zip(result.paths, result.requests, strict=True)
        new = [Picture.of(path, request) for path, request in paired]
        self.pictures = [*new, *self.pictures][: max(MAX_SHOWN, len(new))]
        self.shown = new[0]

    def remove(self) -> None:
        """Take the picture on show out of the row, and show its neighbour; its file stays."""
        if self.shown not in self.pictures:
            return
        index = self.pictures.index(self.shown)
        older = len(self.pictures) - index - 1
        self.removed.append((older, self.pictures.pop(index)))
        self.shown = self.pictures[min(index, len(self.pictures) - 1)] if self.pictures else None

    def put_back(self) -> None:
        """The picture that was removed last stands in its place again, and is on show."""
        if self.removed:
            older, self.shown = self.removed.pop()
            self.pictures.insert(max(0, len(self.pictures) - older), self.shown)

    def remove_again(self, names: Sequence[str]) -> None:
        """What was removed before the page was loaded again, by the names of the files.

        What is on show stays: on a busy machine this may come after a person's first click.
        """
        before = self.shown
        known = {Path(picture.path).name: picture for picture in self.pictures}
        for name in names:
            if name in known:
                self.shown = known[name]
                self.remove()
        gone = before in known.values() and before not in self.pictures
        newest = self.pictures[0] if self.pictures else None
        self.shown = newest if gone else before


def load_request(path: Path) -> Any:
    """The request in a PNG that was made here.

    Raises:
        gr.Error: If it was not, or is gone.
    """
    return _record(path).request


def load_made(path: Path) -> Any:
    """The same, or the comparison or progression of a sheet."""
    return _record(path).made


def _record(path: Path) -> metadata.Record:
    try:
        record = metadata.load(path)
        for value in vars(record.request).values():
            if isinstance(value, EncodedImage):
                value.array()  # a damaged one is told here
        return record
    except LDMError as error:
        raise fail(str(error)) from error


def find_preset(name: str) -> Preset:
    """The preset as it is now: it may have been downloaded since the page was built.

    Raises:
        gr.Error: If there is none of that name.
    """
    try:
        return load_preset(name)
    except LDMError as error:
        raise fail(str(error)) from error


def present(path: str) -> Path:
    """The file of a picture.

    Raises:
        gr.Error: If it is gone; it names the file and not its folder.
    """
    if not Path(path).exists():
        raise fail(f"{Path(path).name} is not in its folder any more.")
    return Path(path)


def fail(message: str) -> gr.Error:
    """A toast with one sentence, which may quote anything; Gradio takes it for HTML."""
    return gr.Error(html.escape(message, quote=False), print_exception=False)


def in_words(message: str, labels: Mapping[str, str]) -> str:
    """A sentence of an error as the page says it: a field by its label, a capital at the start.

    Args:
        message: What a request or a task says; names of files and models are left as they are.
        labels: What the page calls the fields, by name.
    """
    first, space, rest = message.partition(" ")
    capital = first.capitalize() if first in STARTS else first
    return labels.get(first, capital) + space + rest


def make_request(request_type: type, values: Mapping[str, Any]) -> Any:
    """The request that the widgets' values make.

    Raises:
        RequestError: If a value is out of range.
    """
    types = {f.name: str(f.type) for f in fields(request_type)}
    plain = {name: _plain(value, "int" in types[name]) for name, value in values.items()}
    if isinstance(values.get("seed"), str):  # typed on the page
        plain["seed"] = _typed_seed(plain["seed"])
    return request_type(**plain)


def _plain(value: Any, is_whole: bool) -> Any:
    """Widgets give 3.0 for 3, and an optional whole number is typed into a text box."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_whole and isinstance(value, str):
        text = value.strip()
        return None if not text else int(text) if _is_number(text) else text
    return value


def _is_number(text: str) -> bool:
    """Digits, and no more than any field takes: Python refuses thousands of them."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS


def _typed_seed(seed: int | str | None) -> int | None:
    """A seed from its text box, which may stay empty.

    Raises:
        RequestError: If it is none.
    """
    if seed in (None, NEW_SEED):
        return None
    if isinstance(seed, str) or not 0 <= seed <= MAX_SEED:
        raise RequestError(
            f"seed must be 0 to {MAX_SEED}, or empty for a new one, got {seed!r:.80}."
        )
    return seed
