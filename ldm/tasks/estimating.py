"""What a request will take, before it runs: its canvases, their plans, memory and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ldm.canvas.calibration import Calibration
from ldm.canvas.facts import Facts
from ldm.canvas.plan import Canvas, Plan, Room, plan
from ldm.requests import Inpaint, Semantic, Upscale
from ldm.tasks.inpaint import hole_of, sampling_on
from ldm.tasks.settings import Sampling, canvas_of, multiples_of, of_request, small_of

ENCODED, PUT_BACK = 2.0, 0.3  # what such a px takes, of one that is made, measured on a CPU


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
    sampling = _sampling(request, facts)
    canvas = canvas_of(facts, sampling, encodes=isinstance(request, Inpaint))
    small = small_of(facts, sampling)
    if small is None:
        return [canvas]
    return [canvas_of(facts, small), replace(canvas, share=sampling.again / sampling.steps)]


def pixels(request: Any, facts: Facts, found: Sequence[Canvas]) -> int:
    """What the rest goes by: px that are made, those that are encoded or put back by their weight.

    A hole's area is encoded, and each small picture that comes first; `found` are the canvases.
    """
    made = sum(canvas.count * canvas.cells for canvas in found) * facts.factor**2
    area = found[-1].cells * facts.factor**2
    encoded = (len(found) - 1) * request.count * area if not isinstance(request, Upscale) else 0
    whole = 0
    if isinstance(request, Inpaint):
        left, top, right, bottom = request.outpaint
        width, height = request.image.width + left + right, request.image.height + top + bottom
        encoded, whole = encoded + area, request.count * width * height
    return round(made + ENCODED * encoded + PUT_BACK * whole)


def _sampling(request: Any, facts: Facts) -> Sampling:
    """At a size in px that is padded to what the model takes."""

    def padded(height: int, width: int) -> tuple[int, int]:
        return tuple(-(-side // facts.multiple) * facts.multiple for side in (height, width))

    if isinstance(request, Inpaint):
        area = hole_of(request).area
        return sampling_on(area, request, padded(area.height, area.width))
    if isinstance(request, Semantic):
        return of_request(request, padded(request.label_map.height, request.label_map.width))
    return of_request(request, padded(request.height, request.width))


def _enlarged(request: Upscale, facts: Facts) -> list[Canvas]:
    sampling = of_request(request, (request.image.height, request.image.width))
    multiples = multiples_of(facts, sampling.wrap)
    made = []
    for number in range(request.passes):
        height, width = (
            -(-side * facts.factor // multiple) * multiple
            for side, multiple in zip((sampling.height, sampling.width), multiples, strict=True)
        )
        canvas = canvas_of(facts, replace(sampling, height=height, width=width))
        made += [canvas] if number == 0 else [replace(canvas, count=1)] * request.count
        sampling = replace(
            sampling, height=facts.factor * sampling.height, width=facts.factor * sampling.width
        )
    return made


def expected(request: Any, known: Calibration, room: Room) -> Expected:
    """Plan a request and say what it will take.

    Raises:
        MemoryBudgetError: If it cannot be made in this room; says what could.
        RequestError: If this model cannot cover a canvas as it is asked to.
    """
    seconds: float | None = 0.0
    plans = []
    found = canvases(request, known.facts)
    for canvas in found:
        asked = getattr(request, "cover", "auto") if canvas is found[-1] else "auto"
        chosen = plan(canvas, known.facts, room, asked)
        plans.append(chosen)
        part = known.seconds(canvas, max(1, round(canvas.share * request.steps)), chosen)
        seconds = None if part is None or seconds is None else seconds + part
    if seconds is not None:
        seconds += known.rest(pixels(request, known.facts, found))
    largest = max(plans, key=lambda chosen: chosen.memory)
    return Expected(seconds, largest.memory, largest)
