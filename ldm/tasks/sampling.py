"""What tasks share: checking sizes, sampling in batches with progress and previews, decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import classifier_free
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import SAMPLERS, Step
from ldm.errors import RequestError
from ldm.images import grid, to_arrays
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import MAX_SEED, Progress, Result

PREVIEWS = 12  # per batch, about
SMALL_WORK = 1e10  # parameters times latent cells of one pass
CELLS_PER_BATCH = 8 * 32 * 32  # latent cells that are denoised at once


@dataclass(frozen=True)
class Sampling:
    """How to get from noise to latents; the fields of a request of the same names."""

    sampler: str
    steps: int
    guidance_scale: float
    eta: float
    seeds: tuple[int, ...]  # one per picture
    height: int  # px
    width: int  # px


def of_request(request: Any, size: tuple[int, int] | None = None) -> Sampling:
    """The sampling part of a request whose fields are all filled in.

    Args:
        request: Any request.
        size: (height, width) in px, for tasks whose size follows from a picture.
    """
    height, width = size or (request.height, request.width)
    seeds = tuple((request.seed + i) % (MAX_SEED + 1) for i in range(request.count))
    return Sampling(
        sampler=request.sampler,
        steps=request.steps,
        guidance_scale=getattr(request, "guidance_scale", 1.0),
        eta=request.eta,
        seeds=seeds,
        height=height,
        width=width,
    )


def result(request: Any, images: Sequence[np.ndarray], notes: Sequence[str] = ()) -> Result:
    """The pictures, each with the request that makes exactly that one."""
    seeds = ((request.seed + i) % (MAX_SEED + 1) for i in range(request.count))
    requests = tuple(replace(request, seed=seed, count=1) for seed in seeds)
    return Result(requests, tuple(images), notes=tuple(notes))


def padded(array: np.ndarray, multiple: int) -> np.ndarray:
    """(H, W, ...) with its last rows and columns repeated up to a multiple of `multiple`."""
    down, right = (-side % multiple for side in array.shape[:2])
    return np.pad(array, ((0, down), (0, right), *[(0, 0)] * (array.ndim - 2)), mode="edge")


def check(model: LatentDiffusion, sampling: Sampling) -> None:
    """Refuse what this model or sampler cannot do.

    Raises:
        RequestError: Naming the value and what would work.
    """
    for name in ("width", "height"):
        _check_side(name, getattr(sampling, name), model.size_multiple)
    if sampling.steps > model.schedule.length:
        raise RequestError(
            f"steps must be at most {model.schedule.length} for this model, got {sampling.steps}."
        )
    if sampling.eta > 0 and sampling.sampler != "ddim":
        raise RequestError(
            f"eta must be 0 for {sampling.sampler}, got {sampling.eta:g}; only ddim uses it."
        )


def _check_side(name: str, side: int, multiple: int) -> None:
    if side % multiple:
        low = side // multiple * multiple
        near = f"{low} or {low + multiple}" if low else f"{multiple}"
        raise RequestError(
            f"{name} must be a multiple of {multiple} px for this model, got {side}; "
            f"{near} would do."
        )


def sample(
    model: LatentDiffusion, sampling: Sampling, cond: Conditioning, uncond: Conditioning
) -> Iterator[Progress]:
    """Sample and decode all pictures, in batches that share each step.

    Args:
        model: The model.
        sampling: How; `check` has passed.
        cond: The condition that all pictures share, or one for each, if all fit one batch.
        uncond: The empty or negative condition.

    Yields:
        Progress after every step, with a preview after some, and before each decode.

    Returns:
        A list of (H, W, 3) uint8 arrays, one per seed.
    """
    arrays: list[np.ndarray] = []
    batches = _batches(model, sampling)
    total = len(batches) * sampling.steps
    cells = len(batches[0]) * sampling.height * sampling.width // model.factor**2
    with _threads(model, cells):
        for number, seeds in enumerate(batches):
            done = number * sampling.steps
            for step in _steps(model, sampling, cond, uncond, seeds):
                show = step.index % max(1, step.total // PREVIEWS) == 0
                picture = _preview(model, step.x0) if show else None
                yield Progress("sampling", done + step.index + 1, total, preview=picture)
            yield Progress("decoding", done + sampling.steps, total)
            arrays += to_arrays(model.decode(step.x_t.to(model.dtype)))
    return arrays


@contextmanager
def _threads(model: LatentDiffusion, cells: int) -> Iterator[None]:
    """One CPU thread for small work, where waking others takes longer than they save."""
    before = torch.get_num_threads()
    work = cells * sum(parameter.numel() for parameter in model.unet.parameters())
    if model.device.type == "cpu" and work < SMALL_WORK:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(model: LatentDiffusion, sampling: Sampling) -> list[tuple[int, ...]]:
    """The seeds, as many together as CELLS_PER_BATCH allows."""
    cells = sampling.height * sampling.width // model.factor**2
    size = max(1, CELLS_PER_BATCH // cells)
    seeds = sampling.seeds
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


def _steps(
    model: LatentDiffusion,
    sampling: Sampling,
    cond: Conditioning,
    uncond: Conditioning,
    seeds: tuple[int, ...],
) -> Iterator[Step]:
    """The sampler's steps for one batch; latents stay in float32 between network calls."""
    factor = model.factor
    shape = (model.latent_channels, sampling.height // factor, sampling.width // factor)
    B = len(seeds)
    eps = classifier_free(model.denoise, cond.expand(B), uncond.expand(B), sampling.guidance_scale)
    return SAMPLERS[sampling.sampler](
        eps,
        batch_noise(seeds, 0, shape).to(model.device),
        model.schedule,
        steps=sampling.steps,
        eta=sampling.eta,
        # draw 0 is the starting noise
        noise=lambda index: batch_noise(seeds, index + 1, shape).to(model.device),
    )


def _preview(model: LatentDiffusion, x0: Tensor) -> np.ndarray:
    """The pictures as far as they are, in a block, at their full size."""
    rough = F.interpolate(model.preview(x0), scale_factor=float(model.factor), mode="bicubic")
    return grid(to_arrays(rough))
