"""Pictures from a sentence (LDM Sec. 4.3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import Progress, Result, TextToImage
from ldm.tasks.sampling import of_request, sample


@torch.no_grad()
def run(model: LatentDiffusion, request: TextToImage) -> Iterator[Progress | Result]:
    """Make `request.count` pictures; every field of the request is filled in.

    Yields:
        Progress after every step, then one Result.

    Raises:
        RequestError: If the model cannot make this size, or the sampler this request.
    """
    sampling = of_request(request)
    cond = model.condition([request.prompt])
    uncond = model.condition([request.negative_prompt])
    images = yield from sample(model, sampling, cond, uncond)
    requests = tuple(replace(request, seed=seed, count=1) for seed in sampling.seeds)
    yield Result(requests, tuple(images), notes=_notes(model, request))


def _notes(model: LatentDiffusion, request: TextToImage) -> tuple[str, ...]:
    words = model.tokenizer.unknown_words(request.prompt)
    if not words:
        return ()
    return (f"This model has never seen: {', '.join(words[:8])}.",)
