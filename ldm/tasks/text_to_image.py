"""Pictures from a sentence (LDM Sec. 4.3.1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ldm.events import Progress, Result
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import TextToImage
from ldm.tasks.covering import RunContext
from ldm.tasks.denoising import Conditions
from ldm.tasks.sampling import result, sample
from ldm.tasks.settings import Sampling, check, of_request
from ldm.tasks.words import notes_on


@torch.no_grad()
def run(
    model: LatentDiffusion, request: TextToImage, context: RunContext | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` pictures; every field of the request is filled in.

    Yields:
        Progress after every step, then one Result.

    Raises:
        RequestError: If the settings do not fit the model or the sampler.
    """
    sampling, conditions = inputs_of(model, request)
    images = yield from sample(
        model, sampling, conditions, lambda model, _: inputs_of(model, request)[1], context
    )
    yield result(request, images, notes_on(request, model.tokenizer))


def inputs_of(model: LatentDiffusion, request: TextToImage) -> tuple[Sampling, Conditions]:
    """Return the settings and the two conditions of a request whose fields are all filled in.

    Raises:
        RequestError: If the settings do not fit the model or the sampler.
    """
    sampling = of_request(request)
    check(model, sampling)
    return sampling, (model.condition([request.prompt]), model.condition([request.negative_prompt]))
