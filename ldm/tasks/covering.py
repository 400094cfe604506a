"""Where a run takes place: how its canvas is covered, and pauses while it is computed in bands."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ldm.canvas.bounded import in_bands
from ldm.canvas.plan import Canvas, Facts, Plan, Room, plan
from ldm.canvas.stepwise import stepwise
from ldm.canvas.workspace import Workspace
from ldm.requests import Progress

SURE = 64 * 64  # latent cells: so small a canvas is whole without a look at the memory
Made = TypeVar("Made")


@dataclass
class Site:
    """What a run may know and take; the studio makes one for each.

    Args:
        facts: What is known of the model; measured when it is first asked for.
        room: Memory and disk.
        asked: A way to cover the canvas, or "auto".
        notes: What a person should know afterwards; filled by the run.
        took: (part, pictures in a pass, cells of each, seconds) of what was done; filled by it too.
    """

    facts: Callable[[], Facts]
    room: Room
    asked: str = "auto"
    notes: list[str] = field(default_factory=list)
    took: list[tuple[str, int, int, float]] = field(default_factory=list)

    def tell(self, note: str) -> None:
        """Note it, once."""
        if note not in self.notes:
            self.notes.append(note)


@dataclass(frozen=True)
class Covered:
    """A model whose parts run as planned, and the memory of its bands; None: it has none."""

    model: Any
    plan: Plan
    space: Workspace | None = None


def cover(model: Any, canvas: Canvas, site: Site | None) -> Covered:
    """Plan a canvas and prepare the model for it.

    Raises:
        MemoryBudgetError: If the canvas cannot be made in this room; says what could.
    """
    work = canvas.together * canvas.passes * canvas.cells
    if site is None or (site.asked == "auto" and work <= SURE):
        return Covered(model, Plan("whole", canvas.together))
    chosen = plan(canvas, site.facts(), site.room, site.asked)
    if chosen.cover == "whole":
        return Covered(model, chosen)
    site.tell(f"Made {chosen.why}.")
    space = Workspace(chosen.budget, site.room.folder)
    return Covered(in_bands(model, chosen, space), chosen, space)


def pausing(
    work: Callable[[], Made], space: Workspace | None, event: Callable[[int], Progress]
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
