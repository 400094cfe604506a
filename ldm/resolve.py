"""Fill in what a request leaves open, from the preset that it asks for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ldm.catalog.schema import Preset
from ldm.errors import RequestError
from ldm.requests import PRESET_TASKS, Inpaint, controls, start_image
from ldm.requests.canvas import CHOSEN_SIDE_PX
from ldm.requests.seeds import new_seed, with_seeds_drawn


def resolve(request: Any, preset: Preset) -> Any:
    """Return the request with every None filled in from the preset, and all open seeds drawn.

    Raises:
        RequestError: If the preset is for another task.
    """
    if preset.task not in PRESET_TASKS[request.task]:
        raise RequestError(f"{preset.name} does {preset.task}, not {request.task}.")
    width, height = _size(request, preset)
    usual = preset.defaults_for(request.task)
    defaults = {
        "width": width,
        "height": height,
        "steps": usual.steps,
        "sampler": usual.sampler,
        "guidance_scale": usual.guidance_scale,
        "temperature": usual.temperature,
        "coarse": usual.coarse,
        "working_size": _working_size(preset),
        "seed": new_seed(),
    }
    names = {field.name for field in fields(request)}
    missing = {n: v for n, v in defaults.items() if n in names and getattr(request, n) is None}
    request = replace(request, variations=with_seeds_drawn(request.variations), **missing)
    if request.eta is None:
        request = replace(request, eta=usual.eta_for(request.sampler))
    return request


def _working_size(preset: Preset) -> int:
    """Return the longer side in px at which a model sees the area around a hole.

    One that was not trained on holes gets the size at which its pictures hold together.
    """
    side = max(preset.usual_sides)
    if preset.task != "text-to-image":
        side = 2 * max(preset.width, preset.height)
    allowed = controls(Inpaint)["working_size"]
    return int(min(max(side, allowed.minimum), allowed.maximum))


def _size(request: Any, preset: Preset) -> tuple[int, int]:
    """Return the width and height in px for a request that leaves them open.

    With a picture to start from they follow its shape; otherwise they are the usual ones.
    """
    start = start_image(request)
    chosen = [getattr(request, side, None) for side in ("width", "height")]
    if start is None or chosen != [None, None]:
        return preset.usual_sides
    return preset.sides_like(*start.size, CHOSEN_SIDE_PX)
