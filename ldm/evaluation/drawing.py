"""Samples of a model for held-out conditions, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm.catalog.schema import Defaults, Preset
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import classifier_free, conditioned
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import SAMPLERS, Eps, Step
from ldm.images import to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion

CELLS_PER_BATCH = 16 * 32 * 32  # latent cells that are denoised at once
WIDTHS = (1, 2, 4)  # times the trained width


@dataclass(frozen=True)
class Size:
    """Pictures of one size, and how they are sampled."""

    times: int  # the trained width
    width: int  # px
    height: int  # px
    count: int  # of pictures; fewer of the wide ones, so that each size costs the same
    defaults: Defaults = Defaults()  # the preset's own: what a person gets is measured

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


def sizes(preset: Preset, scenes: int) -> list[Size]:
    """The trained size and multiples of its width, for `scenes` pictures of the first."""
    return [
        Size(times, times * preset.width, preset.height, max(2, scenes // times), preset.defaults)
        for times in WIDTHS
    ]


def trained_size(preset: Preset, count: int) -> Size:
    """`count` pictures of the trained size."""
    return Size(1, preset.width, preset.height, count, preset.defaults)


@torch.no_grad()
def draw(
    model: LatentDiffusion,
    condition: Callable[[slice], Conditioning],
    size: Size,
    *,
    empty: Conditioning | None = None,
    guidance_scale: float = 1.0,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Sample one picture per condition.

    Args:
        model: What is measured.
        condition: Some of the pictures, as a slice -> their conditions.
        size: How many, how large and how sampled.
        empty: One empty condition; needed for guidance.
        guidance_scale: 1 is off.
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
        *_, last = _steps(model, eps, size, seeds[some])
        images += to_arrays(model.decode(last.x_t.to(model.dtype)))
    return to_tensor(images)


def _steps(model: LatentDiffusion, eps: Eps, size: Size, seeds: Sequence[int]) -> Iterator[Step]:
    """The sampler of the preset, with the noise that a request of these seeds has."""
    shape = (model.latent_channels, size.height // model.factor, size.width // model.factor)

    def noise(draw: int) -> Tensor:
        return batch_noise(seeds, draw, shape, size.defaults.temperature).to(model.device)

    return SAMPLERS[size.defaults.sampler](
        eps,
        noise(0),
        model.schedule,
        steps=size.defaults.steps,
        noise=lambda index: noise(index + 1),
    )
