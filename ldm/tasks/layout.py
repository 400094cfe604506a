"""Pictures from boxes with classes (LDM Sec. 4.3.1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ldm.errors import RequestError
from ldm.events import Progress, Result
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import Box, Layout
from ldm.tasks.covering import RunContext
from ldm.tasks.denoising import Conditions
from ldm.tasks.sampling import result, sample
from ldm.tasks.settings import Sampling, check, of_request


@torch.no_grad()
def run(
    model: LatentDiffusion, request: Layout, context: RunContext | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` pictures.

    Yields:
        Progress after every step, then one Result.

    Raises:
        RequestError: If there are too many boxes, the model does not know the class of one, or the
            settings do not fit the model.
    """
    sampling, conditions = inputs_of(model, request)
    images = yield from sample(
        model, sampling, conditions, lambda model, _: inputs_of(model, request)[1], context
    )
    yield result(request, images)


def inputs_of(model: LatentDiffusion, request: Layout) -> tuple[Sampling, Conditions]:
    """Return the settings and the two conditions of a request whose fields are all filled in.

    Raises:
        RequestError: See `run`.
    """
    sampling, tokens = of_request(request), model.tokenizer
    check(model, sampling)
    if len(request.boxes) > tokens.max_boxes:
        raise RequestError(
            f"boxes must be at most {tokens.max_boxes} for this model, got {len(request.boxes)}."
        )
    boxes = [
        (_number(model, box), box.left, box.top, box.right, box.bottom) for box in request.boxes
    ]
    cells = (request.height // model.factor, request.width // model.factor)
    both = tokens([boxes]), tokens.unconditional()
    return sampling, tuple(model.condition_layout(ids, *cells) for ids in both)


def _number(model: LatentDiffusion, box: Box) -> int:
    """Return the class number of a box; where class names are not published, it is the label."""
    if box.label in model.classes:
        return model.classes.index(box.label)
    last = model.tokenizer.none - 1
    if not model.classes and box.label.isdecimal() and int(box.label) <= last:
        return int(box.label)
    known = ", ".join(model.classes) or f"a number from 0 to {last}"
    raise RequestError(f"a box must be one of {known:.400}; got {box.label!r}.")
