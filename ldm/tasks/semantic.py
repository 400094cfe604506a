"""Pictures from a painted label map (LDM Sec. 4.3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ldm.errors import RequestError
from ldm.events import Progress, Result
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import Semantic
from ldm.tasks.covering import RunContext
from ldm.tasks.denoising import Conditions
from ldm.tasks.sampling import padded, result, sample
from ldm.tasks.settings import WRAPS, Sampling, check, of_request


@torch.no_grad()
def run(
    model: LatentDiffusion, request: Semantic, context: RunContext | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` pictures at the map's size.

    Sides whose edges do not meet are padded for the model; the padding is cut off again.

    Yields:
        Progress after every step, then one Result.

    Raises:
        RequestError: If the map holds a class that the model does not know, or the settings do not
            fit the model, such as a side that wraps and is no multiple of a latent cell's px.
    """
    sampling, conditions = inputs_of(model, request)
    height, width = sampling.inner
    images = yield from sample(
        model, sampling, conditions, lambda model, _: inputs_of(model, request)[1], context
    )
    yield result(request, [image[:height, :width] for image in images])


def inputs_of(model: LatentDiffusion, request: Semantic) -> tuple[Sampling, Conditions]:
    """Return the settings and the two conditions of a request whose fields are all filled in.

    Raises:
        RequestError: See `run`.
    """
    labels = request.label_map.array()
    inner = labels.shape
    wrap = WRAPS[request.seamless]
    labels = padded(labels, model.size_multiple, down=not wrap.down, across=not wrap.across)
    sampling = of_request(request, labels.shape, inner)
    check(model, sampling)
    classes = model.conditioner.classes
    if labels.max() >= classes:
        raise RequestError(
            f"label_map must hold the numbers 0 to {classes - 1}, got {labels.max()}."
        )
    cond = model.condition_map(torch.tensor(labels)[None])
    return sampling, (cond, cond)
