"""Estimates of a request before it runs: its canvases, their plans, memory and seconds."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ldm.canvas.calibration import Calibration
from ldm.canvas.facts import Facts
from ldm.canvas.plan import Canvas, Plan, Resources, plan
from ldm.requests import ClassConditional, Inpaint, Semantic, Upscale, start_image
from ldm.tasks.covering import is_small
from ldm.tasks.inpaint import hole_of, sampling_on
from ldm.tasks.settings import (
    WRAPS,
    Sampling,
    canvas_of,
    multiples_of,
    of_request,
    rounded_up,
    small_of,
)

ENCODED, PUT_BACK = 2.0, 0.3  # cost of such a px / cost of a generated one, measured on a CPU
HELD = 12  # bytes per px of the picture around a hole, measured
RESULT = 4  # the same for each result


@dataclass(frozen=True)
class Expected:
    """The estimate of a run."""

    seconds: float | None  # None: not known
    memory: int  # bytes above the loaded model
    plan: Plan  # of the canvas that takes the most memory, or of the one in bands or windows


def canvases(request: Any, facts: Facts) -> list[Canvas]:
    """Return the canvases on which a request is made, one after the other.

    Args:
        request: Any request whose fields are all filled in.
        facts: Facts of its model.
    """
    if isinstance(request, Upscale):
        return _enlarged(request, facts)
    sampling = _sampling(request, facts)
    canvas = canvas_of(facts, sampling, encodes=isinstance(request, Inpaint))
    small, steps = small_of(facts, sampling), sampling.steps
    if small is None:
        return [replace(canvas, share=sampling.first_pass_steps / steps)]
    first = replace(canvas_of(facts, small), share=small.first_pass_steps / steps)
    return [
        first,
        replace(canvas, share=sampling.second_pass.resampled_steps / steps, inverts=0),
    ]


def pixels(request: Any, facts: Facts, found: Sequence[Canvas]) -> int:
    """Return the work outside of UNet and decoder, in px that are made, encoded and put back.

    The latter two are weighted by ENCODED and PUT_BACK. Encoded are a hole's area, a picture to
    start from once per batch, and each small picture that comes first. `found`: the canvases.
    """
    made = sum(canvas.count * canvas.cells for canvas in found) * facts.factor**2
    area = found[-1].cells * facts.factor**2
    encoded = (len(found) - 1) * request.count * area if not isinstance(request, Upscale) else 0
    starts = start_image(request) is not None
    if isinstance(request, Inpaint):
        encoded += area
        starts = request.strength < 1
    if starts:
        batches = math.ceil(request.count / found[0].together)
        encoded += batches * found[0].cells * facts.factor**2
    return round(made + ENCODED * encoded + PUT_BACK * request.count * _put_back_to(request))


def bytes_beside(request: Any) -> int:
    """Return the bytes that a request holds beside its canvases: an inpainting's whole picture."""
    return (HELD + RESULT * request.count) * _put_back_to(request)


def _put_back_to(request: Any) -> int:
    """Return the px of the whole picture around a hole; 0 for requests that do not inpaint."""
    if not isinstance(request, Inpaint):
        return 0
    left, top, right, bottom = request.outpaint
    return (request.image.width + left + right) * (request.image.height + top + bottom)


def _sampling(request: Any, facts: Facts) -> Sampling:
    """Return the settings of a request; the size of a given picture or map in px is padded."""
    if isinstance(request, Inpaint):
        area = hole_of(request).area
        sides = (area.height, area.width)
        return sampling_on(area, request, _padded(sides, (facts.multiple, facts.multiple)))
    wrap = WRAPS[request.seamless]
    if isinstance(request, Semantic):
        sides = (request.label_map.height, request.label_map.width)
        return of_request(request, _padded(sides, multiples_of(facts, wrap)))
    sampling = of_request(request, (request.height, request.width))
    is_any = isinstance(request, ClassConditional) and request.class_index is None
    return replace(sampling, guidance_scale=1.0) if is_any else sampling


def _padded(sides: tuple[int, int], multiples: tuple[int, int]) -> tuple[int, int]:
    return tuple(rounded_up(*pair) for pair in zip(sides, multiples, strict=True))


def _enlarged(request: Upscale, facts: Facts) -> list[Canvas]:
    sampling = of_request(request, (request.image.height, request.image.width))
    multiples = multiples_of(facts, sampling.wrap)
    made = []
    for number in range(request.passes):
        sides = (facts.factor * sampling.height, facts.factor * sampling.width)
        height, width = _padded(sides, multiples)
        canvas = canvas_of(facts, replace(sampling, height=height, width=width))
        made += [canvas] if number == 0 else [replace(canvas, count=1)] * request.count
        sampling = replace(sampling, height=sides[0], width=sides[1])
    return made


def expected(request: Any, known: Calibration, resources: Resources) -> Expected:
    """Plan a request and estimate its time and memory.

    Raises:
        MemoryBudgetError: If it cannot be made with these resources; the message says what could.
        RequestError: If this model cannot be covered as requested.
    """
    seconds: float | None = 0.0
    plans = []
    found = canvases(request, known.facts)
    for canvas in found:
        # the small picture that comes first is always covered by "auto"
        is_made = canvas is found[-1] or isinstance(request, Upscale)
        asked = getattr(request, "cover", "auto") if is_made else "auto"
        there = replace(resources, memory=sys.maxsize) if is_small(canvas, asked) else resources
        chosen = plan(canvas, known.facts, there, asked)
        plans.append(chosen)
        part = known.seconds(canvas, max(1, round(canvas.share * request.steps)), chosen)
        seconds = None if part is None or seconds is None else seconds + part
    if seconds is not None:
        seconds += known.rest(pixels(request, known.facts, found))
    # what a run would tell: how it is made if not whole, else of its largest canvas
    told = max(plans, key=lambda chosen: (chosen.cover != "whole", chosen.memory))
    return Expected(seconds, max(chosen.memory for chosen in plans), told)
