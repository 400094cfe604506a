"""How a picture was made, in the parts of a line: seed, size, steps, sampler, guidance."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ldm.requests import Inpaint, Semantic, Upscale, start_image
from ldm.requests.seeds import read_variations
from ldm.requests.shared_fields import called


def how(request: Any, out: Container[str] = ()) -> list[str]:
    """The settings of a finished picture, in parts, without those of the fields `out`."""
    seed = "" if "seed" in out else f"seed {request.seed}"
    turned = "" if "variations" in out else _varied(request.variations)
    parts = [f"{seed}{turned}".removeprefix(", "), _sized(request, out), _sampled(request, out)]
    if getattr(request, "is_told", True):  # a hole may be filled without words
        parts.append(_number(request, "guidance_scale", None, out, word="guidance"))
    if start_image(request) is not None:
        start = ["from a picture", _number(request, "strength", None, out)]
        start.append(_number(request, "inversion", 0, out, word="shapes kept"))
        parts.append(", ".join(filter(None, start)))
    if isinstance(request, Inpaint):
        parts.append(_number(request, "strength", 1, out))
    if request.seamless != "no" and "seamless" not in out:
        parts.append(f"seamless: {called('seamless', request.seamless).lower()}")
    parts += [_number(request, "temperature", 1, out), _number(request, "eta", 0, out)]
    return [part for part in parts if part]


def _number(
    request: Any, name: str, usual: float | None, out: Container[str], word: str = ""
) -> str:
    """The value of a field after what it is called; "" if it is the usual one or left out."""
    value = getattr(request, name, None)
    is_said = value is not None and value != usual and name not in out
    return f"{word or name} {value:g}" if is_said else ""


def _sized(request: Any, out: Container[str]) -> str:
    width, height = size_of(request)
    if "width" in out:
        return "" if "height" in out else f"{height} px high"
    return f"{width} px wide" if "height" in out else f"{width} × {height} px"


def _sampled(request: Any, out: Container[str]) -> str:
    sampler = "" if "sampler" in out else called("sampler", request.sampler)
    if "steps" in out:
        return sampler
    return f"{request.steps} steps" + (f" of {sampler}" if sampler else "")


def _varied(variations: str) -> str:
    """The turns of a picture's noise to other seeds in words; "" without any."""
    turns = [
        f"{100 * share:.3g} % to {'a new seed' if seed is None else f'seed {seed}'}"
        for seed, share in read_variations(variations)
    ]
    return f", turned {', then '.join(turns)}" if turns else ""


def size_of(request: Any) -> tuple[int, int]:
    """Width and height of a finished picture in px."""
    if isinstance(request, Inpaint):
        return grown(request)
    if isinstance(request, Upscale):
        return tuple(4**request.passes * side for side in request.image.size)
    if isinstance(request, Semantic):
        return request.label_map.size
    return request.width, request.height


def grown(request: Inpaint) -> tuple[int, int]:
    """Width and height of the outpainted canvas in px."""
    left, top, right, bottom = request.outpaint
    return request.image.width + left + right, request.image.height + top + bottom
