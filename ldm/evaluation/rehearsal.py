"""Run a published preset from request to picture at its published size, with random weights.

This shows that only the weight file is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ldm.catalog.build import build_model
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.errors import PresetError
from ldm.evaluation.verify import Check
from ldm.requests import (
    Box,
    ClassConditional,
    EncodedImage,
    Inpaint,
    Layout,
    Semantic,
    TextToImage,
    Upscale,
)
from ldm.resolve import resolve
from ldm.tasks import RUNNERS

STEPS = 2


def rehearse(preset_name: str) -> Check:
    """Run one request of the preset's task, and check the size of the result.

    Raises:
        PresetError: If there is no such preset, or no request type for its task.
    """
    preset = load_preset(preset_name)
    if preset.task not in EXAMPLES:
        raise PresetError(f"{preset.name} does {preset.task}; rehearsed are {', '.join(EXAMPLES)}.")
    begin = time.perf_counter()
    request = resolve(EXAMPLES[preset.task](preset), preset)
    *_, result = RUNNERS[request.task](_random_model(preset), request)
    image = result.images[0]
    height, width, _ = image.shape
    detail = f"{width} x {height} px in {time.perf_counter() - begin:.0f} s, {STEPS} steps"
    return Check(f"rehearsal of {preset.name}", (width, height) == _size(request), detail)


def _random_model(preset: Preset) -> torch.nn.Module:
    """Build the preset's model with random weights, without gradients."""
    torch.manual_seed(0)
    model = build_model(preset, "cpu").eval().requires_grad_(False)
    if not 0 < model.scale_factor < 1e3:  # not set: it is stored only in the weight file
        model.scale_factor = 1.0
    return model


def _picture(width: int, height: int) -> EncodedImage:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return EncodedImage.from_array(pixels)


def _inpaint(of: Preset, **how: Any) -> Inpaint:
    mask = np.zeros((of.height, of.width), np.uint8)
    mask[of.height // 3 : of.height // 2, of.width // 3 : of.width // 2] = 255
    image = _picture(of.width, of.height)
    return Inpaint(image=image, mask=EncodedImage.from_array(mask), **how)


def _semantic(of: Preset, **how: Any) -> Semantic:
    labels = np.arange(of.height * of.width) * of.class_count
    labels = labels // (of.height * of.width)
    array = labels.reshape(of.height, of.width).astype(np.uint8)
    return Semantic(label_map=EncodedImage.from_array(array), **how)


def _layout(of: Preset, **how: Any) -> Layout:
    names = [name for name, _ in of.palette] or ["0", "1"]  # classes without names have numbers
    boxes = (Box(names[0], 0.1, 0.2, 0.5, 0.9), Box(names[1], 0.4, 0.1, 0.9, 0.6))
    return Layout(boxes=boxes, **how)


def _upscale(of: Preset, **how: Any) -> Upscale:
    factor = of.factor
    return Upscale(image=_picture(of.width // factor, of.height // factor), **how)


def _with(make: Callable[..., Any]) -> Callable[[Preset], Any]:
    return lambda preset: make(preset, preset=preset.name, steps=STEPS, seed=0)


EXAMPLES: dict[str, Callable[[Preset], Any]] = {
    "text-to-image": _with(
        lambda of, **how: TextToImage(prompt="a lake", width=of.width, height=of.height, **how)
    ),
    "inpaint": _with(_inpaint),
    "semantic": _with(_semantic),
    "layout": _with(_layout),
    "upscale": _with(_upscale),
    "class-conditional": _with(lambda of, **how: ClassConditional(class_index=0, **how)),
    "unconditional": _with(lambda of, **how: ClassConditional(**how)),
}
"""Task -> a request at the preset's published size."""


def _size(request: Any) -> tuple[int, int]:
    """(width, height) in px that the result must have."""
    if isinstance(request, Upscale):
        return 4 * request.image.width, 4 * request.image.height
    given = getattr(request, "label_map", None) or getattr(request, "image", None)
    return given.size if given else (request.width, request.height)
