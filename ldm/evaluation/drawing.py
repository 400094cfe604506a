"""Sample pictures for held-out conditions in the same way as the tasks do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldm.catalog.schema import Defaults, Preset
from ldm.diffusion.conditioning import Conditioning
from ldm.images import to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.tasks.covering import returned
from ldm.tasks.sampling import sample
from ldm.tasks.settings import Sampling, canvas_of

TIMES = ((1, 1), (2, 1), (4, 1), (2, 2))  # width and height, as multiples of the trained ones


@dataclass(frozen=True)
class Size:
    """Size and number of the pictures to sample, and the sampling defaults."""

    times: int  # width as a multiple of the trained one
    width: int  # px
    height: int  # px
    count: int  # of pictures; fewer of large ones, so that each size costs the same
    defaults: Defaults = Defaults()  # the preset's own, so that the usual results are measured

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


def sizes(preset: Preset, scenes: int) -> list[Size]:
    """The trained size with `scenes` pictures, and multiples of it with fewer."""
    return [
        Size(
            across,
            across * preset.width,
            down * preset.height,
            max(2, scenes // (across * down)),
            preset.defaults,
        )
        for across, down in TIMES
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
    empty: Conditioning | Callable[[Conditioning], Conditioning] | None = None,
    guidance_scale: float = 1.0,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Sample one picture per condition.

    Args:
        model: The model to sample from.
        condition: Slice of the pictures -> their conditioning.
        size: Size and number of the pictures, and sampling defaults.
        empty: The empty conditioning of one picture, or a function of the conditioning of some;
            needed for guidance.
        guidance_scale: 1 switches guidance off.
        seeds: One per picture; None: picture i has seed i.

    Returns:
        (N, 3, H, W) float32 in [-1, 1], quantised to 256 levels like a saved picture.
    """
    sampling = _sampling(size, guidance_scale, range(size.count) if seeds is None else seeds)
    batch = canvas_of(model, sampling).together
    images = []
    for start in range(0, size.count, batch):
        some = slice(start, min(start + batch, size.count))
        cond = condition(some)
        part = replace(sampling, seeds=sampling.seeds[some])
        uncond = cond
        if empty is not None:
            uncond = empty(cond) if callable(empty) else empty.expand(len(cond))
        images += returned(sample(model, part, (cond, uncond)))
    return to_tensor(images)


def _sampling(size: Size, guidance_scale: float, seeds: Sequence[int]) -> Sampling:
    """The settings of a request that gives only the size and leaves the rest to the preset."""
    about = size.defaults
    return Sampling(
        sampler=about.sampler,
        steps=about.steps,
        guidance_scale=guidance_scale,
        eta=about.eta_for(about.sampler),
        seeds=tuple(seeds),
        height=size.height,
        width=size.width,
        temperature=about.temperature,
        coarse=about.coarse,
    )
