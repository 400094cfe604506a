"""The rate-distortion curve of a picture under the condition of a request (DDPM Sec. 4.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldm.diffusion.coding import Received, even_messages, progressive_coding
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import conditioned
from ldm.diffusion.noise import batch_noise
from ldm.events import Progress
from ldm.images import cropped_to, to_arrays
from ldm.latent_diffusion import LatentDiffusion
from ldm.outputs.rate_distortion import MESSAGES, SHOWN, RateCurve, RatePoint
from ldm.tasks import class_conditional, layout, semantic, text_to_image
from ldm.tasks.covering import Covered, RunContext, cover, pausing
from ldm.tasks.denoising import FRAME_SIDE, Conditions, StepPosition, decoded
from ldm.tasks.inverting import denoiser_of
from ldm.tasks.sampling import given
from ldm.tasks.settings import Sampling, canvas_of

# a guided model is no likelihood; the rest has no effect here
PLAIN = {
    "guidance_scale": 1.0,
    "negative_prompt": "",
    "count": 1,
    "variations": "",
    "coarse": 0.0,
    "inversion": 0.0,
}
CODING = "coding"  # the stage of its progress
INPUTS: dict[str, Callable[[LatentDiffusion, Any], tuple[Sampling, Conditions]]] = {
    "text-to-image": text_to_image.inputs_of,
    "semantic": semantic.inputs_of,
    "layout": layout.inputs_of,
    "class-conditional": class_conditional.inputs_of,
}
"""Task -> what its requests ask of a model."""


@torch.no_grad()
def rate_distortion(
    model: LatentDiffusion,
    request: Any,
    context: RunContext | None = None,
    messages: int = MESSAGES,
) -> Iterator[Progress | RateCurve]:
    """Send the picture that a request starts from, in messages, and look at what has arrived.

    The code is that of the latents: what the first stage loses is part of every distortion. The
    condition is known to the receiver.

    Args:
        model: Its model.
        request: With all fields filled in and an `image`; of its settings only the condition, the
            size and the seed, which draws the messages, matter.
        context: Memory and facts of the model; None: nothing runs in bands.
        messages: Number of messages at most, 2 or more.

    Yields:
        Progress after every message, then one RateCurve.

    Raises:
        RequestError: If the settings do not fit the model.
        MemoryBudgetError: If there is too little memory.
    """
    plain = {name: value for name, value in PLAIN.items() if hasattr(request, name)}
    request = replace(request, **plain)
    sampling, (cond, uncond) = INPUTS[request.task](model, request)
    on = cover(model, canvas_of(model, sampling), context, sampling.cover)
    x0 = (yield from given(on, sampling, StepPosition(0, 0))).float()
    size = sampling.inner or (sampling.height, sampling.width)
    picture = cropped_to(sampling.image.array(), *size)
    timesteps = even_messages(model.schedule, min(messages, model.schedule.length))
    codes = [_code(on, sampling, part, x0, timesteps) for part in (cond, uncond)]
    codes = codes[:1] if uncond is cond else codes
    shown = {round(at) for at in np.linspace(0, len(timesteps) - 1, SHOWN)}
    points = []
    for index in range(len(timesteps)):
        at = StepPosition(index, len(timesteps))
        known, *others = yield from _received(on, codes, at)
        expected = yield from _seen(on, sampling, known.x0, at)
        kept = {}
        if index in shown:
            sent = yield from _seen(on, sampling, known.x_t, at)
            kept = {"sent": _small(sent), "expected": _small(expected)}
        error = np.square(expected.astype(np.float32) - picture).mean()
        points.append(
            RatePoint(
                t=known.t,
                bits=float(known.bits),
                bits_without=float(others[0].bits) if others else None,
                rmse=math.sqrt(float(error)),
                **kept,
            )
        )
    yield RateCurve(math.prod(size), tuple(points))


def _received(
    on: Covered, codes: Sequence[Iterator[Received]], position: StepPosition
) -> Generator[Progress, None, list[Received]]:
    """Send the next message of each code; return what is known after it."""
    at, received = Progress(CODING, position.done, position.total), []
    yield at
    for code in codes:
        received.append((yield from pausing(lambda code=code: next(code), on.space, lambda _: at)))
    return received


def _seen(
    on: Covered, sampling: Sampling, latents: Tensor, position: StepPosition
) -> Generator[Progress, None, np.ndarray]:
    """Decode latents (1, C, h, w) to a picture (H, W, 3) without padding."""
    made = yield from decoded(on, sampling, latents.to(on.model.dtype), position, None, CODING)
    height, width = sampling.inner or (sampling.height, sampling.width)
    return to_arrays(made[:, :, :height, :width])[0]


def _small(picture: np.ndarray) -> np.ndarray:
    """Shrink a picture to a longer side of at most FRAME_SIDE px."""
    image = Image.fromarray(picture)
    image.thumbnail((FRAME_SIDE, FRAME_SIDE))
    return np.asarray(image)


def _code(
    on: Covered, sampling: Sampling, cond: Conditioning, x0: Tensor, timesteps: list[int]
) -> Iterator[Received]:
    def noise(index: int) -> Tensor:
        return batch_noise(sampling.seeds, index, tuple(x0.shape[1:])).to(x0.device)

    eps = conditioned(denoiser_of(on, sampling), cond)
    return progressive_coding(eps, x0, on.model.schedule, timesteps=timesteps, noise=noise)
