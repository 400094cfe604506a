"""Pictures from a sentence (LDM Sec. 4.3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ldm.events import Progress, Result
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import Inpaint, TextToImage
from ldm.tasks.covering import RunContext
from ldm.tasks.denoising import Conditions
from ldm.tasks.sampling import result, sample
from ldm.tasks.settings import Sampling, check, of_request

NAMED_WORDS = 8  # most unknown words that a note lists
# words that models draw the rest of all the same; told of those that do not know them
NEGATIONS = frozenset(("no", "not", "without", "never", "none"))


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
    images = yield from sample(model, sampling, *conditions, context)
    yield result(request, images, notes_on(request, model.tokenizer))


def inputs_of(model: LatentDiffusion, request: TextToImage) -> tuple[Sampling, Conditions]:
    """Return the settings and the two conditions of a request whose fields are all filled in.

    Raises:
        RequestError: If the settings do not fit the model or the sampler.
    """
    sampling = of_request(request)
    check(model, sampling)
    return sampling, (model.condition([request.prompt]), model.condition([request.negative_prompt]))


def notes_on(request: Any, tokenizer: Any) -> tuple[str, ...]:
    """Return notes on the parts of a request that have no effect.

    Args:
        request: Any request; only those with words have notes.
        tokenizer: Its model's, with `unknown_words` and `is_cut`; None: there is none.
    """
    if not isinstance(request, (TextToImage, Inpaint)) or tokenizer is None:
        return ()
    notes = []
    for name in ("prompt", "negative_prompt"):
        text = getattr(request, name)
        if words := tokenizer.unknown_words(text):
            notes.append(f"This model has never seen: {', '.join(words[:NAMED_WORDS])}.")
            if name == "prompt" and not NEGATIONS.isdisjoint(words):
                notes.append("What is not to be seen goes into the negative prompt.")
        if tokenizer.is_cut(text):
            notes.append(f"The {name.replace('_', ' ')} is too long; its end was not read.")
    if request.negative_prompt and request.guidance_scale == 1:
        notes.append("The negative prompt has no effect at a guidance of 1.")
    return tuple(notes)
