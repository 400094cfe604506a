"""Super-resolution: a picture at four or sixteen times its size (LDM Sec. 4.4)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

import numpy as np
import torch

from ldm.events import Progress, Result
from ldm.images import to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import Upscale
from ldm.tasks.back_projection import back_projected
from ldm.tasks.covering import RunContext
from ldm.tasks.denoising import Conditions
from ldm.tasks.sampling import padded, result, sample
from ldm.tasks.settings import Sampling, check, of_request

Images = Generator[Progress, None, list[np.ndarray]]


@torch.no_grad()
def run(
    model: LatentDiffusion, request: Upscale, context: RunContext | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` pictures of `model.factor` (4) times the size, per pass.

    Yields:
        Progress after every step, then one Result.
    """
    low = request.image.array()
    low = low if low.ndim == 3 else np.repeat(low[:, :, None], 3, axis=2)
    sampling = of_request(request, (0, 0))  # each pass sets its own size
    runs = 1 + (request.passes - 1) * request.count
    images = yield from _enlarged(model, sampling, low, context, (0, runs))
    if request.passes == 2:
        firsts, images = images, []
        for seed, first in zip(sampling.seeds, firsts, strict=True):
            among = (1 + len(images), runs)
            again = replace(sampling, seeds=(seed,))
            images += yield from _enlarged(model, again, first, context, among)
    yield result(request, images)


def _enlarged(
    model: LatentDiffusion,
    sampling: Sampling,
    low: np.ndarray,
    context: RunContext | None,
    among: tuple[int, int],
) -> Images:
    """Run one pass: a picture per seed, cut to exactly `factor` times the size of `low`."""
    factor, (height, width), wrap = model.factor, low.shape[:2], sampling.wrap
    edged = padded(low, model.unet.factor, down=not wrap.down, across=not wrap.across)
    h, w = edged.shape[:2]
    sampling = replace(sampling, height=factor * h, width=factor * w)
    check(model, sampling)
    given = to_tensor([edged])

    def conditions(model: LatentDiffusion, _: RunContext | None = None) -> Conditions:
        return (model.condition(given),) * 2

    images = yield from sample(model, sampling, conditions(model), conditions, context, among)
    if keeps := model.keeps_means:
        around = wrap.pad(given)
        kept = (
            back_projected(wrap.pad(to_tensor([image]), factor), around, keeps) for image in images
        )
        images = [to_arrays(wrap.cut(image, h, w, factor))[0] for image in kept]
    return [image[: factor * height, : factor * width] for image in images]
