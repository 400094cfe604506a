"""Pictures of a given or any class (LDM App. D.4), or of a model without classes (Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from ldm.diffusion.conditioning import Conditioning
from ldm.errors import RequestError
from ldm.events import Progress, Result
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import ClassConditional
from ldm.tasks.covering import RunContext
from ldm.tasks.denoising import Conditions
from ldm.tasks.sampling import result, sample
from ldm.tasks.settings import Sampling, check, of_request


@torch.no_grad()
def run(
    model: LatentDiffusion, request: ClassConditional, context: RunContext | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` pictures.

    Yields:
        Progress after every step, then one Result.

    Raises:
        RequestError: If the model has no such class, needs one, or cannot use the settings.
    """
    sampling, conditions = inputs_of(model, request)
    is_any = _class_of(model, request.class_index) == model.null_class
    if sampling.inverts and is_any and context is not None:
        context.add_note("Without a class, the picture's own noise leads back to the picture.")
    images = yield from sample(
        model, sampling, conditions, lambda model, _: inputs_of(model, request)[1], context
    )
    yield result(request, images)


def inputs_of(model: LatentDiffusion, request: ClassConditional) -> tuple[Sampling, Conditions]:
    """Return the settings and the two conditions of a request whose fields are all filled in.

    Raises:
        RequestError: See `run`.
    """
    sampling, null = of_request(request), model.null_class
    chosen = _class_of(model, request.class_index)
    if chosen == null:  # nothing to guide away from
        sampling = replace(sampling, guidance_scale=1.0)
    check(model, sampling)
    if null is None and sampling.guidance_scale != 1:
        raise RequestError(
            f"guidance_scale must be 1 for this model, got {sampling.guidance_scale:g}; it was not "
            "trained without a class."
        )
    cond = _condition(model, chosen)
    return sampling, (cond, cond if null in (None, chosen) else _condition(model, null))


def _condition(model: LatentDiffusion, number: int | None) -> Conditioning:
    return Conditioning() if number is None else model.condition(torch.tensor([number]))


def _class_of(model: LatentDiffusion, index: int | None) -> int | None:
    """Return the index in the class embedding; None for a model without classes."""
    if model.conditioning == "none":
        if index is not None:
            raise RequestError(
                f"class_index must be left out: this model knows no classes, got {index}."
            )
        return None
    if index is None:
        if model.null_class is None:
            raise RequestError("class_index must name a class; this model knows none without.")
        return model.null_class
    count = model.conditioner.embedding.num_embeddings - (model.null_class is not None)
    if index >= count:
        raise RequestError(f"class_index must be 0 to {count - 1} for this model, got {index}.")
    return index
