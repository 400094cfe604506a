"""What tasks share: checking sizes, sampling in batches with progress and previews, decoding."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.canvas.plan import Canvas
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import classifier_free
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import SAMPLERS, Step
from ldm.errors import LDMError, RequestError
from ldm.images import grid, to_arrays
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import MAX_SEED, Progress, Result
from ldm.tasks.covering import Covered, Site, cover, pausing

PREVIEWS = 12  # per batch, about
SMALL_WORK = 1e10  # parameters times latent cells of one pass
PREVIEW_SIDE = 1024  # px: the longer side of a preview


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


def canvas_of(model: LatentDiffusion, sampling: Sampling, *, encodes: bool = False) -> Canvas:
    """What has to be covered."""
    return Canvas(
        rows=sampling.height // model.factor,
        columns=sampling.width // model.factor,
        count=len(sampling.seeds),
        passes=1 if sampling.guidance_scale == 1 else 2,
        encodes=encodes,
    )


def sample(
    model: LatentDiffusion,
    sampling: Sampling,
    cond: Conditioning,
    uncond: Conditioning,
    site: Site | None = None,
) -> Generator[Progress, None, list[np.ndarray]]:
    """Sample and decode all pictures, in batches that share each step.

    Args:
        model: The model.
        sampling: How; `check` has passed.
        cond: The condition that all pictures share, or one for each, if all fit one batch.
        uncond: The empty or negative condition.
        site: Memory and what else is known; None: all is done whole.

    Yields:
        Progress after every step, with a preview after some, and before each decode; where the
        canvas is made in bands, also before each band.

    Returns:
        A list of (H, W, 3) uint8 arrays, one per seed.

    Raises:
        MemoryBudgetError: Before anything is done, if the canvas cannot be made.
    """
    on = cover(model, canvas_of(model, sampling), site)
    arrays: list[np.ndarray] = []
    batches = _batches(sampling.seeds, on.plan.batch)
    cells = len(batches[0]) * sampling.height * sampling.width // model.factor**2
    with _threads(model, cells):
        for number, seeds in enumerate(batches):
            part = replace(sampling, seeds=seeds)
            place = (number, len(batches))
            made = yield from _batch(on, part, (cond, uncond), place, site)
            if not torch.isfinite(made).all():
                on = cover(_in_float32(model, site), canvas_of(model, sampling), site)
                cond, uncond = (part.to(model.device, torch.float32) for part in (cond, uncond))
                made = yield from _batch(on, part, (cond, uncond), place, site)
            arrays += to_arrays(made)
    return arrays


def _batch(
    on: Covered,
    sampling: Sampling,
    conditions: tuple[Conditioning, Conditioning],
    place: tuple[int, int],
    site: Site | None,
) -> Generator[Progress, None, Tensor]:
    """One batch, (B, 3, H, W); `place`: which one of how many."""
    canvas, begin = canvas_of(on.model, sampling), time.perf_counter()
    latents = yield from _denoised(on, sampling, conditions, place)
    between = time.perf_counter()
    made = yield from _decoded(on, latents, sampling.steps, place)
    if site is not None:
        each = (between - begin) / sampling.steps
        site.took.append(("unet", canvas.count * canvas.passes, canvas.cells, each))
        site.took.append(("decoder", canvas.count, canvas.cells, time.perf_counter() - between))
    return made


def _denoised(
    on: Covered,
    sampling: Sampling,
    conditions: tuple[Conditioning, Conditioning],
    place: tuple[int, int],
) -> Generator[Progress, None, Tensor]:
    """The latents of one batch, (B, C, h, w)."""
    number, batches = place
    done, total = number * sampling.steps, batches * sampling.steps
    steps = _steps(on.model, sampling, *conditions)
    for index in range(sampling.steps):
        before = Progress("sampling", done + index, total)
        step = yield from pausing(lambda: next(steps), on.space, lambda _, before=before: before)
        show = step.index % max(1, step.total // PREVIEWS) == 0
        picture = _preview(on.model, step.x0) if show else None
        yield Progress("sampling", done + step.index + 1, total, preview=picture)
    return step.x_t.to(on.model.dtype)


def _decoded(
    on: Covered, latents: Tensor, steps: int, place: tuple[int, int]
) -> Generator[Progress, None, Tensor]:
    """The pictures, (B, 3, H, W); whole after one word, or band by band."""
    if not on.plan.decoder:
        yield Progress("decoding", (place[0] + 1) * steps, place[1] * steps)
        return on.model.decode(latents)
    strips = on.model.first_stage.strips(latents)
    yield Progress("decoding", 0, strips)
    return (
        yield from pausing(
            lambda: on.model.decode(latents),
            on.space,
            lambda count: Progress("decoding", min(count + 1, strips), strips),
        )
    )


def _in_float32(model: LatentDiffusion, site: Site | None) -> LatentDiffusion:
    """After numbers that were too large for half precision: the same model in float32.

    Raises:
        LDMError: If it was in float32 already, or in bfloat16 on the CPU, whose range is the same.
    """
    if model.dtype == torch.float32 or model.is_prepared:
        raise LDMError("the model's numbers grew without bound; take another seed or sampler.")
    if site is not None:
        site.tell("Half precision was too coarse for this picture; it was made in float32.")
    return copy.deepcopy(model).float()


@contextmanager
def _threads(model: LatentDiffusion, cells: int) -> Iterator[None]:
    """One CPU thread for small work, where waking others takes longer than they save."""
    before = torch.get_num_threads()
    work = cells * model.unet_parameters
    if model.device.type == "cpu" and work < SMALL_WORK:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(seeds: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    return [seeds[i : i + size] for i in range(0, len(seeds), size)]


def _steps(
    model: LatentDiffusion, sampling: Sampling, cond: Conditioning, uncond: Conditioning
) -> Iterator[Step]:
    """The sampler's steps for one batch; latents stay in float32 between network calls."""
    seeds = sampling.seeds
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
    """The pictures as far as they are, in a block, at their full size up to PREVIEW_SIDE px."""
    sides = [model.factor * side for side in x0.shape[2:]]
    across = math.ceil(math.sqrt(len(x0)))
    scale = min(1.0, PREVIEW_SIDE / (across * max(sides)))
    size = [max(1, round(scale * side)) for side in sides]
    rough = F.interpolate(model.preview(x0), size=size, mode="bicubic")
    return grid(to_arrays(rough))
