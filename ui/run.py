"""The state of a visit (one open page), its pictures, and the errors that a page tells."""

from __future__ import annotations

import html
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.errors import LDMError
from ldm.events import Progress, Queued, Result, Unfinished
from ldm.jobs import JobQueue
from ldm.outputs import metadata
from ldm.outputs.titles import settings, title
from ldm.requests import EncodedImage
from ldm.requests.comparison import Comparison
from ldm.requests.progression import Progression
from ldm.requests.seeds import split_by_picture
from ui import visitor

# messages that begin so name no field
STARTS = ("a", "an", "at", "others", "something", "the", "there", "this", "what")
_TURNS = threading.Lock()  # of all visits: which run of a visit is its first
MAX_SHOWN = 60  # pictures in a visit's gallery; older ones stay on disk


@dataclass(frozen=True)
class Picture:
    """A finished picture: its file and its texts.

    The request is not kept in memory but read from the file on demand: it may hold pictures and
    masks of many megabytes, and a visit keeps dozens of pictures.
    """

    path: str
    title: str  # what it shows, in a line; cached, as it may depend on many pixels
    settings: str  # how it was made, in a line
    without: str  # the negative prompt
    is_sheet: bool = False  # a contact sheet of a comparison or progression
    seed: int | None = None  # None: there are several on the sheet
    variations: str = ""
    seamless: str = "no"  # which opposite edges meet
    made: int | None = None  # hash of what made it: equal for pictures of equal requests

    @staticmethod
    def of(path: Path | str, request: Any) -> Picture:
        """Describe a picture file by its request, comparison or progression."""
        is_sheet = isinstance(request, (Comparison, Progression))
        common = request.request if is_sheet else request
        compared = request.record() if isinstance(request, Comparison) else {}
        is_one = "negative_prompt" not in compared  # others are in the settings
        without = getattr(common, "negative_prompt", "") if is_one else ""
        texts = title(request), settings(request), without
        if is_sheet:
            noise = ("seed", "variations")
            one = {} if set(noise) & set(compared) else {n: getattr(common, n) for n in noise}
            return Picture(str(path), *texts, is_sheet=True, **one, made=hash(request))
        own = {name: getattr(request, name) for name in ("seed", "variations", "seamless")}
        return Picture(str(path), *texts, **own, made=hash(request))

    @property
    def place(self) -> str:
        """Day and name of its file, by which it is found again; see `ui.reload`."""
        return "/".join(Path(self.path).parts[-2:])

    @property
    def request(self) -> Any:
        """The request that reproduces the picture, read from the file.

        Raises:
            gr.Error: If the file is gone or damaged.
        """
        return load_request(Path(self.path))


@dataclass
class Visit:
    """State of one open page: its pictures and its job. Kept in a `gr.State`, changed in place."""

    pictures: list[Picture] = field(default_factory=list)  # newest first
    shown: Picture | None = None  # on the stage
    # (number of older pictures, picture)
    removed: list[tuple[int, Picture]] = field(default_factory=list)
    job_id: str | None = None  # of the job that the page follows
    # id of each job after it -> title of what it makes, in their order
    waiting: dict[str, str] = field(default_factory=dict)
    unfinished: list[Unfinished] = field(default_factory=list)  # resumable runs, newest last
    wants_stop: bool = False  # Cancel was pressed, perhaps before the job had an id
    is_elsewhere: bool = False  # a picture of the row is looked at while a run works
    followers: int = 0  # events that tell the page of its jobs

    def submit(self, jobs: JobQueue, request: Any) -> bool:
        """Submit a request; return whether the page has to follow it: no other one is at work.

        Raises:
            RequestError: If the queue is full or closed.
        """
        if self.job_id is None:
            self.wants_stop = False
        makes = title(request)
        job_id = jobs.submit(request, visitor.owner())
        with _TURNS:
            is_first = self.job_id is None
            if is_first:
                self.job_id = job_id
            else:
                self.waiting[job_id] = makes
        if is_first and self.wants_stop:
            jobs.cancel(job_id)
        return is_first

    def next_job(self, ended: str | None) -> str | None:
        """Let the next waiting job, if there is one, take the place of one that ended."""
        with _TURNS:
            if self.job_id == ended:
                self.job_id = next(iter(self.waiting), None)
                self.waiting.pop(self.job_id, None)
                self.wants_stop = self.is_elsewhere = False
            return self.job_id

    def look_after_waiting(self, jobs: JobQueue) -> None:
        """Tell the queue that the waiting jobs' page is open."""
        for job_id in list(self.waiting):
            with suppress(LDMError):  # it was cancelled in a copy of this window
                jobs.status(job_id)

    def stop(self, jobs: JobQueue) -> None:
        """Cancel the job that the page follows, if there is one; those after it stay."""
        self.wants_stop = True
        if self.job_id is not None:
            jobs.cancel(self.job_id)

    def drop_waiting(self, jobs: JobQueue, job_ids: Iterable[str]) -> None:
        """Cancel some of the jobs after the one that the page follows."""
        with _TURNS:
            dropped = [job_id for job_id in job_ids if self.waiting.pop(job_id, None) is not None]
        for job_id in dropped:
            with suppress(LDMError):  # as above
                jobs.cancel(job_id)

    @property
    def rest(self) -> Unfinished | None:
        """The run that was stopped last."""
        return self.unfinished[-1] if self.unfinished else None

    def recall(self, jobs: JobQueue, task: str, job_ids: Sequence[str]) -> Any:
        """Restore the visit from its jobs' ids; return the last end to report, or None."""
        told = None
        for job_id in job_ids:
            try:
                event, request = jobs.status(job_id), jobs.request(job_id)
            except LDMError:  # forgotten, or from before the app was restarted
                continue
            if request.task != task:
                continue
            if isinstance(event, (Queued, Progress)) and self.job_id is None:
                self.job_id = job_id
            elif isinstance(event, (Queued, Progress)):
                self.waiting[job_id] = title(request)
            elif all(Path(path).exists() for path in getattr(event, "paths", ())):
                self.ended(event)
                is_told = (
                    isinstance(event, Result) or getattr(event, "unfinished", None) is not None
                )
                told = event if is_told else told
        return told

    def recall_files(self, paths: Sequence[Path], task: str) -> None:
        """Restore pictures whose jobs are forgotten behind those that are there, newest first."""
        known = {Path(picture.path) for picture in self.pictures}
        for path in paths:
            with suppress(gr.Error):  # it is damaged, or of another program
                request = None if path in known else load_made(path)
                if request is not None and request.task == task:
                    self.pictures.append(Picture.of(path, request))
        if self.shown is None and self.pictures and self.job_id is None:
            self.shown = self.pictures[0]

    def ended(self, event: Any) -> None:
        """Update the visit with the last event of a run."""
        if isinstance(event, Result):
            self.keep(event)
            self._let_go(list(event.requests))
        elif (rest := getattr(event, "unfinished", None)) is not None:
            self._let_go(split_by_picture(rest.request))
            self.unfinished.append(rest)

    def _let_go(self, requests: list[Any]) -> None:
        """Drop the unfinished run of these requests: it finished, or stopped at a later step."""
        others = (rest for rest in self.unfinished if split_by_picture(rest.request) != requests)
        self.unfinished = list(others)

    def keep(self, result: Result) -> None:
        """Add a result's pictures at the front and show the first of them.

        They take the place of pictures of equal requests. A result that was added before is
        ignored: after a reload, the old and the new page may both follow the same run.
        """
        if str(result.paths[-1]) in (picture.path for picture in self.pictures):
            return  # the last one: steps join a picture that was there
        paired = zip(result.paths, result.requests, strict=True)
        new = [Picture.of(path, request) for path, request in paired]
        made = {picture.made for picture in new}
        old = [picture for picture in self.pictures if picture.made not in made]
        self.pictures = [*new, *old][: max(MAX_SHOWN, len(new))]
        self.shown = new[0]

    def remove(self) -> None:
        """Remove the shown picture from the row and show its neighbour; the file stays."""
        if self.shown not in self.pictures:
            return
        index = self.pictures.index(self.shown)
        older = len(self.pictures) - index - 1
        self.removed.append((older, self.pictures.pop(index)))
        self.shown = self.pictures[min(index, len(self.pictures) - 1)] if self.pictures else None

    def forget_gone(self) -> None:
        """Drop pictures whose files are gone, as those that were removed in the history."""
        self.pictures = [picture for picture in self.pictures if Path(picture.path).exists()]
        if self.shown is not None and not Path(self.shown.path).exists():
            self.shown = self.pictures[0] if self.pictures else None

    def put_back(self) -> None:
        """Put the picture that was removed last back in its place and show it."""
        if self.removed:
            older, self.shown = self.removed.pop()
            self.pictures.insert(max(0, len(self.pictures) - older), self.shown)

    def remove_again(self, names: Sequence[str]) -> None:
        """After a reload, remove the pictures again that were removed before, by their place.

        The shown picture stays unless it is removed: on a busy machine, this may run after the
        user's first click.
        """
        before = self.shown
        known = {picture.place: picture for picture in self.pictures}
        for name in names:
            if name in known:
                self.shown = known[name]
                self.remove()
        gone = before in known.values() and before not in self.pictures
        newest = self.pictures[0] if self.pictures else None
        self.shown = newest if gone else before


def load_request(path: Path) -> Any:
    """Load the request from a PNG that Latent Canvas made.

    Raises:
        gr.Error: If the file is gone or holds no valid request.
    """
    return _record(path).request


def load_made(path: Path) -> Any:
    """Load the request like `load_request`; of a sheet, its comparison or progression."""
    return _record(path).made


def _record(path: Path) -> metadata.Record:
    try:
        record = metadata.load(path)
        for value in vars(record.request).values():
            if isinstance(value, EncodedImage):
                value.array()  # decode now, so that damage is reported here
        return record
    except LDMError as error:
        raise fail(str(error)) from error


def find_preset(name: str) -> Preset:
    """Load a preset anew, since it may have been downloaded after the page was built.

    Raises:
        gr.Error: If there is no preset of that name.
    """
    try:
        return load_preset(name)
    except LDMError as error:
        raise fail(str(error)) from error


def present(path: str) -> Path:
    """Return the path of a picture after checking that the file exists.

    Raises:
        gr.Error: If it is gone; the message names the file but not its folder.
    """
    if not Path(path).exists():
        raise fail(f"{Path(path).name} is not in its folder any more.")
    return Path(path)


def fail(message: str) -> gr.Error:
    """An error toast; the message is escaped, since it may quote input and Gradio renders HTML."""
    return gr.Error(html.escape(message, quote=False), print_exception=False)


def in_words(message: str, labels: Mapping[str, str]) -> str:
    """Adapt an error message to the page: a label for the field name, a capital at the start.

    Args:
        message: A request's or task's message; file and model names at its start stay as they are.
        labels: Field name -> its label on the page.
    """
    first, space, rest = message.partition(" ")
    capital = first.capitalize() if first in STARTS else first
    return labels.get(first, capital) + space + rest
