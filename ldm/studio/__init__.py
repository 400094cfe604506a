"""The studio: runs requests, reports their progress and saves the finished pictures."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ldm.canvas.calibration import ON
from ldm.canvas.plan import Resources
from ldm.catalog.hashes import weights_sha256
from ldm.catalog.schema import Preset
from ldm.catalog.tokenizer import tokenizer_of
from ldm.errors import RequestError
from ldm.events import Estimate, Progress, Result, Unfinished
from ldm.history import OUTPUTS, VISITORS
from ldm.outputs.rate_distortion import MESSAGES, RateCurve
from ldm.outputs.saving import save_pictures, save_sheet, save_steps, unwritable
from ldm.outputs.unfinished import FOLDER, UnfinishedRuns
from ldm.requests import PRESET_TASKS, REQUESTS, start_image
from ldm.requests.comparison import Comparison
from ldm.requests.progression import Progression, shown_steps
from ldm.resolve import resolve
from ldm.runtime.cores import Cores
from ldm.runtime.manager import ModelManager
from ldm.runtime.memory import default_budget, in_bytes, out_of_memory_as
from ldm.studio.comparing import compared, expected
from ldm.studio.machine import Machine
from ldm.studio.timing import timed, with_loading
from ldm.tasks import RUNNERS
from ldm.tasks.bookmark import Bookmark
from ldm.tasks.covering import FrameRecorder
from ldm.tasks.rate_distortion import INPUTS, rate_distortion
from ldm.tasks.settings import check_request, start_fitted
from ldm.tasks.words import notes_on


class Studio:
    """Runs requests, one after the other.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        memory_budget: Budget for loaded models: bytes, or text like "4GiB"; None: a share of the
            free memory.
        precision: "auto", "float32" or "bfloat16".
        data_dir: Pictures are saved in `outputs/<date>/` under it, unfinished runs in
            `unfinished/`.
        out_dir: Folder to save pictures in instead, with `unfinished/` beside them.
        canvas_budget: Budget for the computations of a model, in the form of `memory_budget`.
        is_public: Whether pictures are saved in `visitors/<date>/` instead, under names that nobody
            can guess: a page hands a file to whoever knows its name.
        manager: Owner of the models; None: a new one.

    Raises:
        RequestError: If an argument has none of these values.
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
        is_public: bool = False,
        manager: ModelManager | None = None,
    ) -> None:
        self.manager = manager or ModelManager(
            device=device, memory_budget=memory_budget, precision=precision
        )
        self.data_dir = Path(data_dir)
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.unfinished = UnfinishedRuns((self.out_dir or self.data_dir) / FOLDER)
        self.canvas_budget = None if canvas_budget is None else in_bytes(canvas_budget)
        self.is_public = is_public
        self.cores = Cores()
        device, dtype = self.manager.device, str(self.manager.dtype).removeprefix("torch.")
        known = self.data_dir / "machine.json"
        if self.out_dir and not known.exists():  # nothing is written beside the pictures
            known = None
        self.machine = Machine(known, f"{device.type} {dtype}", device)

    def run(self, request: Any) -> Iterator[Progress | Result]:
        """Run a request, a comparison or a progression.

        Closing the iterator stops the work within a step. A request whose earlier run did not
        finish resumes after the last stored step of that run.

        Yields:
            Progress, then one Result with the paths of the saved pictures.

        Raises:
            LDMError: If the request cannot be run; in one sentence.
        """
        if isinstance(request, Comparison):
            return self._compare(request)
        if isinstance(request, Progression):
            return self._progress(request)
        if type(request) not in REQUESTS.values():
            raise RequestError(f"only a request can be run, got {request!r:.80}.")
        return self._run_one(request, is_kept=True)

    def make(self, request: Any) -> Result:
        """Run a request to its end and return its result, which has the `images` and `paths`."""
        (result,) = deque(self.run(request), maxlen=1)  # earlier events hold previews
        return result

    def check(self, request: Any) -> None:
        """Check all of a request that can be checked before its model is loaded.

        Raises:
            LDMError: If it cannot be run, or its model is not on disk; in one sentence.
        """
        preset, _ = self._resolved(request)
        if not preset.is_on_disk:
            raise RequestError(f"{preset.name} is not on disk; get it with {preset.how_to_get}")

    def resumable(self, event: Any) -> Unfinished | None:
        """Return the run that can resume, given the last event of a run; None: there is none."""
        rest = getattr(event, "unfinished", None)
        return rest if rest is not None and self.unfinished.has(rest.request) else None

    def _compare(self, comparison: Comparison) -> Iterator[Progress | Result]:
        """Run the pictures of a comparison as requests of their own.

        All settings and presets are checked before any picture is made; what only a loaded model
        can check, when the picture's turn comes.
        """
        for request in (request for row in comparison.rows() for request in row):
            self.check(request)

        def save(image: np.ndarray, first: Result) -> Path:
            return save_sheet(image, first, self._folder(), comparison)

        yield from compared(comparison, self._run_one, save)

    def _progress(self, progression: Progression) -> Iterator[Progress | Result]:
        """Run a progression: a picture whose file plays its steps as a film, and their sheet."""
        recorder = FrameRecorder(lambda total: shown_steps(total, progression.frames))
        for event in self._run_one(progression.request, recorder):
            if isinstance(event, Result):
                begin = time.perf_counter()
                yield Progress("saving its steps", seconds=event.seconds, kept=event)
                event = save_steps(event, progression, recorder.frames, self.is_public)
                event = replace(event, seconds=event.seconds + time.perf_counter() - begin)
            yield event

    def _run_one(
        self, request: Any, recorder: FrameRecorder | None = None, *, is_kept: bool = False
    ) -> Iterator[Progress | Result]:
        """Run one request; if `is_kept`, store its steps and resume from stored ones."""
        begin = time.perf_counter()
        preset, request = self._resolved(request)
        request = start_fitted(request)
        folder = self._folder()  # before the work: an unusable folder is an error
        is_loaded = preset.name in self.manager.loaded()
        yield Progress("starting" if is_loaded else f"loading {preset.title}")
        with self._loaded(preset, request) as model:
            weights = weights_sha256(preset)  # now: the file may be replaced during the run
            loading = time.perf_counter() - begin
            watch = self.machine.watch(
                calibration_key(preset), model, request, self._resources(folder)
            )
            if recorder is not None:
                watch.context.record_frames(recorder)
            events = self.cores.fitted(RUNNERS[request.task](model, request, watch.context))
            kept_at = self.unfinished.path_of(request) if is_kept else None
            made_by = f"{calibration_key(preset)} {weights}"
            bookmark = Bookmark(kept_at, request, made_by, self.manager.device)
            watch.context.bookmark = bookmark
            resumed = bookmark.is_resumed
            expected = watch.estimate.seconds if watch.estimate and not resumed else None
            with closing(bookmark), closing(events):  # the run ends before its model is free
                for event in timed(events, begin, expected, is_resumed=resumed):
                    if isinstance(event, Result):
                        event = save_pictures(event, folder, weights, self.is_public)
                        event = watch.finished(event)
                        event = with_loading(event, loading)
                        bookmark.finish()
                    else:
                        event = replace(event, unfinished=bookmark.unfinished)
                    with watch.paused():
                        yield event
            watch.learn(event)

    def rate_distortion(
        self, request: Any, messages: int = MESSAGES
    ) -> Iterator[Progress | RateCurve]:
        """Tell how many bytes it takes to tell so much of the picture that a request starts from.

        Args:
            request: A request with an `image`; see `ldm.tasks.rate_distortion.rate_distortion`.
            messages: Number of messages at most, from 2.

        Yields:
            Progress, then one RateCurve.

        Raises:
            LDMError: If it cannot be done; in one sentence.
        """
        if not isinstance(messages, int) or messages < 2:
            raise RequestError(f"messages must be a whole number from 2, got {messages!r:.80}.")
        if type(request) not in REQUESTS.values() or start_image(request) is None:
            raise RequestError(
                f"a picture is coded by a request of {', '.join(INPUTS)} that starts from it, "
                f"got {request!r:.80}."
            )
        preset, request = self._resolved(request)
        request = start_fitted(request)
        yield Progress(f"loading {preset.title}")
        with self._loaded(preset, request) as model:
            key, resources = calibration_key(preset), self._resources(None)
            context = self.machine.watch(key, model, request, resources).context
            yield from self.cores.fitted(rate_distortion(model, request, context, messages))

    @contextmanager
    def _loaded(self, preset: Preset, request: Any) -> Iterator[Any]:
        """Load the model of a request and keep it; if memory runs out, an error says for what."""
        too_large = f"{preset.name} needs more memory than there is; take a smaller model."
        with (
            out_of_memory_as(too_large),
            self.manager.use(preset.name) as model,
            out_of_memory_as(_too_large(request)),
        ):
            yield model

    def load(self, preset_name: str) -> None:
        """Load a model in advance; calibrate it and fit its preview, which its first run needs."""
        key = calibration_key(self.manager.preset(preset_name))
        with self.manager.use(preset_name) as model:
            if self.machine.of(key) is None:
                self.cores.watch()  # beside other programs, too many threads take 50 times as long
            with self.cores.fit():
                self.machine.know(key, model)
                if model.preview_decoder is None:
                    model.fit_preview()

    def estimate(self, request: Any) -> Estimate | None:
        """Estimate a request or a comparison; of a progression, its picture alone.

        The estimate is None while the model is not calibrated. The call is cheap, and safe from any
        thread while a request runs.

        Raises:
            LDMError: If the request cannot be run; in one sentence.
        """
        if isinstance(request, Comparison):
            return expected(request, self.estimate)
        request = request.request if isinstance(request, Progression) else request
        preset, request = self._resolved(request)
        found = self.machine.estimate(calibration_key(preset), request, self._resources(None))
        tokenizer = tokenizer_of(preset.architecture.conditioner)
        return found and replace(found, notes=notes_on(request, tokenizer))

    def _resolved(self, request: Any) -> tuple[Preset, Any]:
        """Return the preset of a request, and the request with all fields filled in and checked.

        Raises:
            LDMError: If it cannot be run with this preset; in one sentence.
        """
        preset = self.manager.preset(request.preset, PRESET_TASKS[request.task])
        request = resolve(request, preset)
        check_request(request, preset)
        return preset, request

    def _resources(self, folder: Path | None) -> Resources:
        """Return the memory and disk for a run; maps that do not fit go beside the pictures."""
        budget, device = self.canvas_budget, self.manager.device
        memory = default_budget(device) if budget is None else budget
        there = next(p for p in (folder or self.data_dir, self.data_dir, Path()) if p.exists())
        return Resources(memory, shutil.disk_usage(there).free, there)

    def _folder(self) -> Path:
        """Return the folder for pictures that are made now; create it if necessary."""
        kept_in = VISITORS if self.is_public else OUTPUTS
        folder = self.out_dir or self.data_dir / kept_in / datetime.now().strftime("%Y-%m-%d")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
        return folder


def calibration_key(preset: Preset) -> str:
    """Return the calibration key: the preset's name and hashes of what it is built of.

    Models whose keys agree from `ON` have the same first stage.
    """
    built_of = (preset.architecture, preset.architecture.first_stage)
    shape, stage = (hashlib.sha256(repr(part).encode()).hexdigest()[:8] for part in built_of)
    return f"{preset.name} {shape}{ON}{stage}"


def _too_large(request: Any) -> str:
    count, needs = ("a picture", "needs") if request.count == 1 else (request.count, "need")
    size = f" of {request.width} x {request.height} px" if hasattr(request, "width") else ""
    return f"{count}{size} {needs} more memory than there is; take a smaller size."
