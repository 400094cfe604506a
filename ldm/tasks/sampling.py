"""Work that tasks share: sampling in batches, small pictures first, decoding."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.noise import InterpolatedSeed
from ldm.errors import LDMError
from ldm.events import Progress, Result
from ldm.images import cropped_to, to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests.seeds import split_by_picture
from ldm.tasks.covering import Covered, RunContext, cover, pausing
from ldm.tasks.denoising import Conditions, StepPosition, decoded, denoised
from ldm.tasks.settings import Sampling, canvas_of, small_of

SMALL_FIRST, FULL_SIZE = "small picture first", "now at full size"
_UNBOUNDED = "the model's numbers grew without bound; take another seed or sampler."


def result(request: Any, images: Sequence[np.ndarray], notes: Sequence[str] = ()) -> Result:
    """Return the pictures, each with the request that makes exactly that one."""
    return Result(tuple(split_by_picture(request)), tuple(images), notes=tuple(notes))


def padded(
    array: np.ndarray, multiple: int, *, down: bool = True, across: bool = True
) -> np.ndarray:
    """Pad an array to a multiple of `multiple` px by repeating its last row and column.

    Args:
        array: (H, W, ...), such as a picture or a mask.
        multiple: Px.
        down: Whether to pad the height.
        across: Whether to pad the width.
    """
    below, right = (
        -side % multiple if wanted else 0
        for side, wanted in zip(array.shape[:2], (down, across), strict=True)
    )
    return np.pad(array, ((0, below), (0, right), *[(0, 0)] * (array.ndim - 2)), mode="edge")


def sample(
    model: LatentDiffusion,
    sampling: Sampling,
    conditions: Conditions,
    anew: Callable[[LatentDiffusion, RunContext | None], Conditions] | None = None,
    context: RunContext | None = None,
    among: tuple[int, int] = (0, 1),
) -> Generator[Progress, None, list[np.ndarray]]:
    """Sample and decode all pictures, in batches that share each step.

    Args:
        model: The model.
        sampling: Settings that have passed `check`.
        conditions: The condition that all pictures share, or one for each, if all fit one batch,
            and the empty or negative one.
        anew: Makes them with the same model in float32 and its context, when half precision was
            too coarse: they may be what overflowed. None: they are converted.
        context: Memory and facts of the model; None: nothing runs in bands.
        among: (index, number) of this call among those of the run, for the progress.

    Yields:
        Progress after every step, with a preview after some, and before each decode; where the
        canvas is made in bands, also before each band.

    Returns:
        A list of (H, W, 3) uint8 arrays, one per seed.

    Raises:
        MemoryBudgetError: Before anything is done, if the canvas cannot be made.
        LDMError: If the model's numbers are not finite, even in float32.
    """
    on = cover(model, canvas_of(model, sampling), context, sampling.cover)
    is_fixed = sampling.inverts and sampling.inversion == 1  # no noise is drawn
    varied = len(sampling.seeds) > 1 or isinstance(sampling.seeds[0], InterpolatedSeed)
    # a small picture first is noised anew for its full size
    if context is not None and is_fixed and varied and small_of(model, sampling) is None:
        context.add_note("With all of the picture's own noise, every seed gives one picture.")
    arrays: list[np.ndarray] = []
    number, left = 0, sampling.seeds
    while left:
        part = replace(sampling, seeds=left[: on.plan.batch])
        batches = number + math.ceil(len(left) / on.plan.batch)
        place = (among[0] * batches + number, among[1] * batches)
        made = yield from _batch(on, part, conditions, place, context)
        if torch.isfinite(made).all():
            arrays += to_arrays(made)
            number, left = number + 1, left[len(part.seeds) :]
            continue
        model, context = _in_float32(model, context)
        on = cover(model, canvas_of(model, replace(sampling, seeds=left)), context, sampling.cover)
        if anew is None:
            wider = partial(Conditioning.to, device=model.device, dtype=torch.float32)
            conditions = conditions[0].paired(conditions[1], wider)
        else:
            conditions = anew(model, context)
    return arrays


def _batch(
    on: Covered,
    sampling: Sampling,
    conditions: Conditions,
    place: tuple[int, int],
    context: RunContext | None,
) -> Generator[Progress, None, Tensor]:
    """Make one batch of pictures (B, 3, H, W); `place`: its index and the number of batches."""
    small = small_of(on.bare, sampling)
    steps = sampling.first_pass_steps + (sampling.second_pass.resampled_steps if small else 0)
    detail = SMALL_FIRST if small else ""
    position = StepPosition(place[0] * steps, place[1] * steps, detail)
    if small is None:
        start = yield from given(on, sampling, position)
    else:
        start = yield from _small_first(on, (small, sampling), conditions, position, context)
        position = position.after(small.first_pass_steps, FULL_SIZE)
        sampling = sampling.second_pass
    latents = yield from denoised(on, sampling, conditions, position, context, start)
    taken = sampling.steps if start is None else sampling.resampled_steps
    return (yield from decoded(on, sampling, latents, position.after(taken), context))


def _small_first(
    on: Covered,
    sizes: tuple[Sampling, Sampling],
    conditions: Conditions,
    position: StepPosition,
    context: RunContext | None,
) -> Generator[Progress, None, Tensor]:
    """Make small pictures, enlarge and encode them: latents (B, C, h, w) of the full size."""
    small, full = sizes
    model = on.bare
    canvas = canvas_of(model, small)
    there = cover(model, canvas, context)
    h, w = small.height // model.factor, small.width // model.factor
    some = conditions[0].paired(conditions[1], lambda part: part.resized(h, w))
    start = yield from given(there, small, position)
    latents = yield from denoised(there, small, some, position, context, start)
    position = position.after(small.first_pass_steps)
    image = yield from decoded(there, small, latents, position, context, "enlarging")
    image = F.interpolate(image, (full.height, full.width), mode="bicubic").clamp(-1, 1)
    return (yield from _encoded(on, full, image, position, "enlarging"))


def given(
    on: Covered, sampling: Sampling, position: StepPosition
) -> Generator[Progress, None, Tensor | None]:
    """Return the latents (1, C, h, w) of the picture to start from; None: there is none."""
    if sampling.image is None:
        return None
    height, width = sampling.inner or (sampling.height, sampling.width)
    array = cropped_to(sampling.image.array(), height, width)
    below, right = sampling.height - height, sampling.width - width
    image = to_tensor([np.pad(array, ((0, below), (0, right), (0, 0)), mode="edge")])
    return (yield from _encoded(on, sampling, image, position, "encoding"))


def _encoded(
    on: Covered, sampling: Sampling, image: Tensor, position: StepPosition, stage: str
) -> Generator[Progress, None, Tensor]:
    """Encode pictures (B, 3, H, W), padded where edges meet, to latents (B, C, h, w)."""
    model = on.bare
    around = sampling.wrap.pad(image.to(model.device, model.dtype), model.factor)
    yield Progress(stage, position.done, position.total)
    start = yield from pausing(
        lambda: on.model.encode(around),
        on.space,
        lambda _: Progress(stage, position.done, position.total),
    )
    return sampling.wrap.cut(start, sampling.height // model.factor, sampling.width // model.factor)


def _in_float32(
    model: LatentDiffusion, context: RunContext | None
) -> tuple[LatentDiffusion, RunContext | None]:
    """Return the same model in float32, and a context that knows that it takes twice the memory.

    It is called after the numbers of a run grew too large for half precision.

    Raises:
        LDMError: If it was in float32 already, or in bfloat16 on the CPU, whose range is the same.
    """
    can_try = model.in_float32 is not None or not model.is_prepared
    if model.dtype == torch.float32 or not can_try:
        raise LDMError(_UNBOUNDED)
    wider = copy.deepcopy(model).float() if model.in_float32 is None else model.in_float32()
    if context is None:
        return wider, None
    context.add_note("Half precision was too coarse for this picture; it was made in float32.")
    context.is_usual = False
    facts = context.facts
    return wider, replace(context, facts=lambda: facts().in_float32())
