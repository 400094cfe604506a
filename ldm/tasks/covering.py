"""Where a run takes place: how its canvas is covered, and pauses while it is computed in bands."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ldm.canvas.bounded import in_bands
from ldm.canvas.facts import Facts
from ldm.canvas.plan import Canvas, Plan, Room, plan, windows_of
from ldm.canvas.stepwise import LayerPauses, Pausing, stepwise
from ldm.canvas.workspace import Workspace
from ldm.events import Frame, Progress
from ldm.tasks.bookmark import Bookmark

SURE = 64 * 64  # latent cells: so small a canvas is whole without a look at the memory
LONG = 2**16  # latent cells: a step of so large a canvas takes a CPU two seconds or so
Made = TypeVar("Made")
Event = TypeVar("Event")


@dataclass(frozen=True)
class Took:
    """The work of one network and the time it took."""

    part: str  # "unet" or "decoder"
    pictures: int  # in a call
    cells: int  # of each
    seconds: float  # of one call
    times: int = 1  # calls
    passes: int = 1  # conditions of each picture in a call


@dataclass
class Watched:
    """The frames of a run whose steps are to be seen; filled by the run."""

    shown: Callable[[int], Container[int]]  # number of all steps -> those that are wanted, from 1
    frames: list[Frame] = field(default_factory=list)


@dataclass
class Site:
    """What a run may know and take; the studio makes one for each.

    Args:
        facts: What is known of the model; measured when it is first asked for.
        room: Memory and disk.
        notes: What a person should know afterwards; filled by the run.
        took: What was done; filled by the run too.
        is_usual: Whether another run would take the same; said by the run.
        watched: Whose steps are to be seen; None: nobody looks.
        bookmark: Where the run stands, for another to go on from; None: it is not kept.
        resumed: After which steps of how many its samplings went on; filled by the run.
    """

    facts: Callable[[], Facts]
    room: Room
    notes: list[str] = field(default_factory=list)
    took: list[Took] = field(default_factory=list)
    is_usual: bool = True
    watched: Watched | None = None
    bookmark: Bookmark | None = None
    resumed: list[tuple[int, int]] = field(default_factory=list)

    def watch(self, watched: Watched) -> None:
        """Let the run's steps be seen, which takes time that others do not take."""
        self.watched, self.is_usual = watched, False

    def go_on(self, step: int, total: int) -> None:
        """The run is after this step of all without having made it; another would make it."""
        self.is_usual = False
        self.resumed.append((step, total))

    def tell(self, note: str) -> None:
        """Note it, once."""
        if note not in self.notes:
            self.notes.append(note)


@dataclass(frozen=True)
class Covered:
    """A model whose parts run as planned, and the memory of its bands; None: it has none."""

    model: Any
    bare: Any  # the same model, without bands
    plan: Plan
    space: Pausing | None = None


def is_sure(canvas: Canvas, asked: str) -> bool:
    """Whether a canvas is so small that it is made whole without a look at the memory."""
    return asked == "auto" and canvas.together * canvas.passes * canvas.cells <= SURE


def cover(model: Any, canvas: Canvas, site: Site | None, asked: str = "auto") -> Covered:
    """Plan a canvas and prepare the model for it.

    Args:
        model: A `LatentDiffusion`.
        canvas: What has to be covered.
        site: Memory and what else is known; None: it is not looked at.
        asked: A way to cover the canvas, or "auto".

    Raises:
        MemoryBudgetError: If the canvas cannot be made in this room; says what could.
        RequestError: If this model cannot be asked for that way.
    """
    if site is None:
        windows = windows_of(canvas) if asked == "windows" else None
        return Covered(model, model, Plan("whole", canvas.together, windows=windows))
    if is_sure(canvas, asked):
        return Covered(model, model, Plan("whole", canvas.together))
    chosen = plan(canvas, site.facts(), site.room, asked)
    if chosen.cover != "whole":
        site.tell(f"Made {chosen.why}.")
    if not chosen.is_bounded:
        return Covered(model, model, chosen, _pauses(model, canvas))
    space = Workspace(chosen.budget, site.room.folder)
    return Covered(in_bands(model, chosen, space), model, chosen, space)


def _pauses(model: Any, canvas: Canvas) -> LayerPauses | None:
    """Pauses of a whole canvas whose steps take long; a GPU computes them fast, in one graph."""
    is_long = canvas.together * canvas.passes * canvas.cells >= LONG
    if model.device.type != "cpu" or not is_long:
        return None
    return LayerPauses(model.unet, model.first_stage)


@dataclass
class Clock:
    """Time that work takes, without that of whoever reads its events."""

    seconds: float = 0.0

    def counting(self, work: Generator[Event, None, Made]) -> Generator[Event, None, Made]:
        """The same work, counted."""
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


def pausing(
    work: Callable[[], Made], space: Pausing | None, event: Callable[[int], Progress]
) -> Generator[Progress, None, Made]:
    """Do some work; where it goes in bands, say so before each strip, so that it can be ended.

    Args:
        work: What to do.
        space: Memory of the bands; None: the work does not pause.
        event: What to say, from the number of strips that are done.

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
