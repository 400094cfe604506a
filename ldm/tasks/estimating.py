"""What a request will take, before it runs: its canvases, their plans, memory and seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ldm.canvas.calibration import Calibration
from ldm.canvas.plan import Canvas, Facts, Plan, Room, plan
from ldm.requests import Inpaint, Semantic, Upscale
from ldm.tasks.inpaint import area_of


@dataclass(frozen=True)
class Expected:
    """What a run should take."""

    seconds: float | None
    memory: int  # bytes above the loaded model
    plan: Plan  # of its largest canvas


def canvases(request: Any, facts: Facts) -> list[Canvas]:
    """The canvases that a request is made on, one after the other.

    Args:
        request: Any request whose fields are all filled in.
        facts: Of its model.
    """
    if isinstance(request, Upscale):
        return _enlarged(request, facts)
    if isinstance(request, Inpaint):
        area = area_of(request)
        height, width = area.height, area.width
    elif isinstance(request, Semantic):
        width, height = request.label_map.size
    else:
        width, height = request.width, request.height
    passes = 1 if getattr(request, "guidance_scale", 1.0) == 1 else 2
    rows, columns = _cells(height, facts), _cells(width, facts)
    return [Canvas(rows, columns, request.count, passes, isinstance(request, Inpaint))]


def _cells(side: int, facts: Facts) -> int:
    return -(-side // facts.multiple) * facts.multiple // facts.factor


def _enlarged(request: Upscale, facts: Facts) -> list[Canvas]:
    width, height = request.image.size
    made = []
    for number in range(request.passes):
        width, height = width * facts.factor, height * facts.factor
        canvas = Canvas(_cells(height, facts), _cells(width, facts), request.count)
        alone = Canvas(canvas.rows, canvas.columns)
        made += [canvas] if number == 0 else [alone] * request.count
    return made


def expected(request: Any, known: Calibration, room: Room, asked: str = "auto") -> Expected:
    """Plan a request and say what it will take.

    Raises:
        MemoryBudgetError: If it cannot be made in this room; says what could.
    """
    seconds: float | None = 0.0
    plans = []
    for canvas in canvases(request, known.facts):
        chosen = plan(canvas, known.facts, room, asked)
        plans.append(chosen)
        part = known.seconds(canvas, request.steps, chosen.batch)
        seconds = None if part is None or seconds is None else seconds + part
    largest = max(plans, key=lambda chosen: chosen.memory)
    return Expected(seconds, largest.memory, largest)
