"""The setting of a run: how its canvas is covered, and pauses between the strips of bands."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ldm.canvas.bounded import in_bands
from ldm.canvas.facts import Facts
from ldm.canvas.plan import Canvas, Plan, Resources, plan, windows_of
from ldm.canvas.stepwise import LayerPauses, Pausing, stepwise
from ldm.canvas.workspace import Workspace
from ldm.events import Frame, Progress
from ldm.tasks.bookmark import Bookmark

SMALL_CELLS = 64 * 64  # latent cells: a canvas up to this size runs whole; memory is not checked
LONG = 2**16  # latent cells: one step of so large a canvas takes a CPU about two seconds
Made = TypeVar("Made")
Event = TypeVar("Event")


@dataclass(frozen=True)
class NetworkTiming:
    """Work of one network in a run, and the time that it took."""

    part: str  # "unet" or "decoder"
    pictures: int  # per call
    cells: int  # latent cells per picture
    seconds: float  # of one call
    times: int = 1  # calls
    passes: int = 1  # conditions per picture in a call


@dataclass
class FrameRecorder:
    """The frames of a run whose steps are recorded; filled by the run."""

    shown: Callable[[int], Container[int]]  # number of all steps -> steps to record, from 1
    frames: list[Frame] = field(default_factory=list)


@dataclass
class RunContext:
    """The resources and facts that one run may use, and what it reports back. One per run.

    Args:
        facts: Returns the facts of the model, which are measured at the first call.
        resources: Memory and disk.
        notes: Notes for the user; filled by the run.
        timings: Work and time of the networks; filled by the run.
        is_usual: Whether another such run would take the same time; set by the run.
        recorder: Records the steps of the run as frames; None: none are recorded.
        bookmark: Keeps the run, so that it can resume later; None: it is not kept.
        resumed: (step, total) after which each resumed sampling went on; filled by the run.
    """

    facts: Callable[[], Facts]
    resources: Resources
    notes: list[str] = field(default_factory=list)
    timings: list[NetworkTiming] = field(default_factory=list)
    is_usual: bool = True
    recorder: FrameRecorder | None = None
    bookmark: Bookmark | None = None
    resumed: list[tuple[int, int]] = field(default_factory=list)

    def record_frames(self, recorder: FrameRecorder) -> None:
        """Record the run's steps, which takes extra time."""
        self.recorder, self.is_usual = recorder, False

    def note_resumed(self, step: int, total: int) -> None:
        """Note that the run resumed after this step of all, which it did not make itself."""
        self.is_usual = False
        self.resumed.append((step, total))

    def add_note(self, note: str) -> None:
        """Add a note for the user, once."""
        if note not in self.notes:
            self.notes.append(note)


@dataclass(frozen=True)
class Covered:
    """A model whose networks run as planned, and the workspace of its bands; None: no bands."""

    model: Any
    bare: Any  # the same model, without bands
    plan: Plan
    space: Pausing | None = None


def is_small(canvas: Canvas, asked: str) -> bool:
    """Whether a canvas is so small that it runs whole without a check of the memory."""
    return asked == "auto" and canvas.together * canvas.passes * canvas.cells <= SMALL_CELLS


def cover(model: Any, canvas: Canvas, context: RunContext | None, asked: str = "auto") -> Covered:
    """Plan a canvas and prepare the model for it.

    Args:
        model: A `LatentDiffusion`.
        canvas: What has to be covered.
        context: Memory and facts of the model; None: memory is not checked.
        asked: A way to cover the canvas, or "auto".

    Raises:
        MemoryBudgetError: If it cannot be made with these resources; the message says what could.
        RequestError: If this model cannot be covered in the way `asked`.
    """
    if context is None:
        windows = windows_of(canvas) if asked == "windows" else None
        return Covered(model, model, Plan("whole", canvas.together, windows=windows))
    if is_small(canvas, asked):
        return Covered(model, model, Plan("whole", canvas.together))
    chosen = plan(canvas, context.facts(), context.resources, asked)
    if chosen.cover != "whole":
        context.add_note(f"Made {chosen.why}.")
    if not chosen.is_bounded:
        return Covered(model, model, chosen, _pauses(model, canvas))
    space = Workspace(chosen.budget, context.resources.folder)
    return Covered(in_bands(model, chosen, space), model, chosen, space)


def _pauses(model: Any, canvas: Canvas) -> LayerPauses | None:
    """Return pauses for a whole canvas whose steps take long on the CPU; None elsewhere.

    On a GPU a step is short, and recorded in a graph, which hooks would disturb.
    """
    is_long = canvas.together * canvas.passes * canvas.cells >= LONG
    if model.device.type != "cpu" or not is_long:
        return None
    return LayerPauses(model.unet, model.first_stage)


@dataclass
class Stopwatch:
    """The time that work takes, without the time of whoever reads its events."""

    seconds: float = 0.0

    def timed(self, work: Generator[Event, None, Made]) -> Generator[Event, None, Made]:
        """Run the work, add its time to `seconds` and return what it returned."""
        try:
            while True:
                begin = time.perf_counter()
                try:
                    event = next(work)
                finally:
                    self.seconds += time.perf_counter() - begin
                yield event
        except StopIteration as end:
            return end.value
        finally:
            work.close()


def returned(work: Generator[Any, None, Made]) -> Made:
    """Run a generator to its end, without its events, and return what it returned."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def pausing(
    work: Callable[[], Made], space: Pausing | None, event: Callable[[int], Progress]
) -> Generator[Progress, None, Made]:
    """Do some work; if it runs in bands, yield an event before each strip, so that it can be ended.

    Args:
        work: The work.
        space: Workspace of the bands; None: the work does not pause.
        event: Makes the event, from the number of strips that are done.

    Returns:
        What `work` returned.
    """
    if space is None:
        return work()
    run, strips = stepwise(work, space), 0
    try:
        while True:
            next(run)
            yield event(strips)
            strips += 1
    except StopIteration as end:
        return end.value
    finally:
        run.close()
