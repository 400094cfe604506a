"""Samples of a model for held-out conditions, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import classifier_free, conditioned
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import dpmpp_2m
from ldm.images import to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion

STEPS = 20  # DPM-Solver++ 2M, what the shipped models take; more change nothing to be seen
CELLS_PER_BATCH = 16 * 32 * 32  # latent cells that are denoised at once
WIDTHS = (1, 2, 4)  # times the trained width


@dataclass(frozen=True)
class Size:
    """Pictures of one size."""

    times: int  # the trained width
    width: int  # px
    height: int  # px
    count: int  # of pictures; fewer of the wide ones, so that each size costs the same

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


def sizes(preset: Preset, scenes: int) -> list[Size]:
    """The trained size and multiples of its width, for `scenes` pictures of the first."""
    return [
        Size(times, times * preset.width, preset.height, max(2, scenes // times))
        for times in WIDTHS
    ]


@torch.no_grad()
def draw(
    model: LatentDiffusion,
    condition: Callable[[slice], Conditioning],
    size: Size,
    *,
    empty: Conditioning | None = None,
    guidance_scale: float = 1.0,
    steps: int = STEPS,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Sample one picture per condition.

    Args:
        model: What is measured.
        condition: Some of the pictures, as a slice -> their conditions.
        size: How many, and how large.
        empty: One empty condition; needed for guidance.
        guidance_scale: 1 is off.
        steps: Of DPM-Solver++ 2M.
        seeds: One per picture; None: i for picture i.

    Returns:
        (N, 3, H, W) float32 in [-1, 1], in 256 levels as a saved picture has.
    """
    factor = model.factor
    shape = (model.latent_channels, size.height // factor, size.width // factor)
    batch = max(1, CELLS_PER_BATCH // (shape[1] * shape[2]))
    seeds = range(size.count) if seeds is None else seeds
    images = []
    for start in range(0, size.count, batch):
        some = slice(start, min(start + batch, size.count))
        cond, B = condition(some), some.stop - some.start
        if empty is None or guidance_scale == 1:
            eps = conditioned(model.denoise, cond)
        else:
            eps = classifier_free(model.denoise, cond, empty.expand(B), guidance_scale)
        x_T = batch_noise(seeds[some], 0, shape).to(model.device)
        *_, last = dpmpp_2m(eps, x_T, model.schedule, steps=steps)
        images += to_arrays(model.decode(last.x_t.to(model.dtype)))
    return to_tensor(images)
