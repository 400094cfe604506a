"""A request goes in; progress and finished, saved pictures come out."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ldm.canvas.plan import Room
from ldm.catalog.hashes import weights_sha256
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.compare import compared, expected
from ldm.comparison import Comparison
from ldm.errors import MemoryBudgetError, RequestError
from ldm.events import Estimate, Progress, Result, Unfinished
from ldm.machine import Machine
from ldm.progression import Progression, shown_steps
from ldm.requests import REQUESTS
from ldm.resolve import preset_of, resolve
from ldm.runtime.cores import Cores
from ldm.runtime.manager import ModelManager
from ldm.runtime.memory import default_budget, in_bytes, is_out_of_memory
from ldm.saving import save_pictures, save_sheet, save_steps, unwritable
from ldm.tasks import RUNNERS
from ldm.tasks.bookmark import Bookmark
from ldm.tasks.covering import Watched
from ldm.tasks.settings import start_fitted
from ldm.unfinished import FOLDER, UnfinishedRuns

LONG_LOADING = 3.0  # s


class Studio:
    """Runs requests, one after the other.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        memory_budget: For loaded models: bytes, or text like "4GiB"; None takes a share of what is
            free.
        precision: "auto", "float32" or "bfloat16".
        data_dir: Pictures are saved in `outputs/<date>/` under it, runs that have not come to their
            end in `unfinished/`.
        out_dir: Where to save them instead, with `unfinished/` beside them.
        canvas_budget: For what a model computes, likewise.
        manager: Owner of the models; None makes one.

    Raises:
        RequestError: If an argument is none of these.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        memory_budget: int | str | None = None,
        precision: str = "auto",
        data_dir: Path | str = Path("data"),
        out_dir: Path | str | None = None,
        canvas_budget: int | str | None = None,
        manager: ModelManager | None = None,
    ) -> None:
        self.manager = manager or ModelManager(
            device=device, memory_budget=memory_budget, precision=precision
        )
        self.data_dir = Path(data_dir)
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.unfinished = UnfinishedRuns((self.out_dir or self.data_dir) / FOLDER)
        self.canvas_budget = None if canvas_budget is None else in_bytes(canvas_budget)
        self.cores = Cores()
        device, dtype = self.manager.device, str(self.manager.dtype).removeprefix("torch.")
        known = None if self.out_dir else self.data_dir / "machine.json"
        self.machine = Machine(known, f"{device.type} {dtype}", device)

    def run(self, request: Any) -> Iterator[Progress | Result]:
        """Meet a request, a comparison or a progression; closing the iterator stops the work within
        a step. A request whose run was ended goes on where that stood.

        Yields:
            Progress, then one Result with the paths of the saved pictures.

        Raises:
            LDMError: In one sentence, if the request cannot be met.
        """
        if isinstance(request, Comparison):
            return self._compare(request)
        if isinstance(request, Progression):
            return self._progress(request)
        if type(request) not in REQUESTS.values():
            raise RequestError(f"only a request can be run, got {request!r:.80}.")
        return self._meet(request, is_kept=True)

    def make(self, request: Any) -> Result:
        """The same, waited for: the pictures are in `images` and `paths` of what it returns."""
        *_, result = self.run(request)
        return result

    def left_by(self, event: Any) -> Unfinished | None:
        """Return what can go on of a run that is over, given its last event; None: nothing."""
        rest = getattr(event, "unfinished", None)
        return rest if rest is not None and self.unfinished.has(rest.request) else None

    def _compare(self, comparison: Comparison) -> Iterator[Progress | Result]:
        """Its pictures are requests of their own; whether their models are there is seen before
        any is made, what only a loaded model can tell when its turn comes."""
        for request in (request for row in comparison.rows() for request in row):
            preset = preset_of(request)
            resolve(request, preset)
            if not preset.is_on_disk:
                raise RequestError(f"{preset.name} is not on disk; get it with {preset.how_to_get}")

        def save(image: np.ndarray, first: Result) -> Path:
            return save_sheet(image, first, self._folder(), compared=comparison.record())

        yield from compared(comparison, self._meet, save)

    def _progress(self, progression: Progression) -> Iterator[Progress | Result]:
        """The picture, in whose file its steps play as a film, and a sheet of them."""
        watched = Watched(lambda total: shown_steps(total, progression.frames))
        for event in self._meet(progression.request, watched):
            if isinstance(event, Result):
                begin = time.perf_counter()
                yield Progress("saving its steps", seconds=event.seconds, kept=event)
                event = save_steps(event, progression, watched.frames)
                event = replace(event, seconds=event.seconds + time.perf_counter() - begin)
            yield event

    def _meet(
        self, request: Any, watched: Watched | None = None, *, is_kept: bool = False
    ) -> Iterator[Progress | Result]:
        """One request, which goes on where it was ended if its steps are kept."""
        begin = time.perf_counter()
        preset = preset_of(request)
        request = start_fitted(resolve(request, preset))
        folder = self._folder()  # told before the work if it cannot be written
        yield Progress(f"loading {preset.title}")
        too_large = f"{preset.name} needs more memory than there is; take a smaller model."
        try:
            with self.manager.use(preset.name) as model:
                too_large = _too_large(request)
                weights = weights_sha256(preset)  # now: the file may be replaced meanwhile
                loading = time.perf_counter() - begin
                watch = self.machine.watch(known_as(preset), model, request, self._room(folder))
                if watched is not None:
                    watch.site.watch(watched)
                events = self.cores.fitted(RUNNERS[request.task](model, request, watch.site))
                kept_at = self.unfinished.path_of(request) if is_kept else None
                made_by = f"{known_as(preset)} {weights}"
                bookmark = Bookmark(kept_at, request, made_by, self.manager.device)
                watch.site.bookmark = bookmark
                resumed = bookmark.is_resumed
                expected = watch.estimate.seconds if watch.estimate and not resumed else None
                with closing(bookmark):
                    for event in _timed(events, begin, expected, is_resumed=resumed):
                        if isinstance(event, Result):
                            event = watch.finished(save_pictures(event, folder, weights))
                            event = _with_loading(event, loading)
                            bookmark.finish()
                        else:
                            event = replace(event, unfinished=bookmark.unfinished)
                        with watch.paused():
                            yield event
                watch.learn(event)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise MemoryBudgetError(too_large) from error
            raise

    def load(self, preset_name: str) -> None:
        """Bring a model into memory before it is asked for, and what its first run needs."""
        with self.cores.fit(), self.manager.use(preset_name) as model:
            self.machine.know(known_as(load_preset(preset_name)), model)
            model.fit_preview()

    def estimate(self, request: Any) -> Estimate | None:
        """What a request or a comparison will take, of a progression its picture alone.

        None while nothing is known of its model. Cheap, and safe to call from any thread while a
        request runs.

        Raises:
            LDMError: If the request cannot be met; in one sentence.
        """
        if isinstance(request, Comparison):
            return expected(request, self.estimate)
        request = request.request if isinstance(request, Progression) else request
        preset = preset_of(request)
        return self.machine.estimate(known_as(preset), resolve(request, preset), self._room(None))

    def _room(self, folder: Path | None) -> Room:
        """Memory and disk for a run; maps that do not fit go beside the pictures."""
        budget, device = self.canvas_budget, self.manager.device
        memory = default_budget(device) if budget is None else budget
        there = next(p for p in (folder or self.data_dir, self.data_dir, Path()) if p.exists())
        return Room(memory, shutil.disk_usage(there).free, there)

    def _folder(self) -> Path:
        """Where pictures of now go, made if need be."""
        folder = self.out_dir or self.data_dir / "outputs" / datetime.now().strftime("%Y-%m-%d")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
        return folder


def known_as(preset: Preset) -> str:
    """What a model is called among those that were measured: one of another shape is another."""
    shape = hashlib.sha256(repr(preset.architecture).encode()).hexdigest()[:8]
    return f"{preset.name} {shape}"


def _with_loading(result: Result, seconds: float) -> Result:
    """What was expected does not count the loading, so a long one is told."""
    if seconds < LONG_LOADING:
        return result
    return replace(result, notes=(*result.notes, f"The model was loaded in {seconds:.0f} s."))


def _timed(
    events: Iterator[Progress | Result],
    begin: float,
    expected: float | None = None,
    *,
    is_resumed: bool = False,
) -> Iterator[Progress | Result]:
    """The events with the seconds since `begin` and, from the speed so far, those still to go.

    The steps of a small picture tell nothing of the large one's, nor any of the decode: no less
    is to go than what was expected of the whole run. Of a run that goes on, the first event tells
    where it begins.
    """
    loaded = start = time.perf_counter()  # what is expected does not count the loading
    first, stage = 0, "" if is_resumed else None
    for event in events:
        now = time.perf_counter()
        if isinstance(event, Result):
            yield replace(event, seconds=now - begin)
            continue
        if stage not in (None, event.stage):
            start, first = now, event.step  # bands are no steps, nor are those before an encode
        stage = event.stage
        done = event.step - first
        left = (now - start) / done * (event.total - event.step) if done > 0 else None
        if event.total and event.step == event.total:
            left = 0.0
        if expected is not None and (rest := expected - (now - loaded)) > (left or 0.0):
            left = rest
        yield replace(event, seconds=now - begin, seconds_left=left)


def _too_large(request: Any) -> str:
    count, needs = ("a picture", "needs") if request.count == 1 else (request.count, "need")
    size = f" of {request.width} x {request.height} px" if hasattr(request, "width") else ""
    return f"{count}{size} {needs} more memory than there is; take a smaller size."
