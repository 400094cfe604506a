"""Pictures from a painted label map (LDM Sec. 4.3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning
from ldm.errors import RequestError
from ldm.events import Progress, Result
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import Semantic
from ldm.tasks.covering import Site
from ldm.tasks.sampling import padded, result, sample
from ldm.tasks.settings import WRAPS, check, of_request

STRIP_VALUES = 2**23  # numbers of a strip of a map, 32 MiB


@torch.no_grad()
def run(
    model: LatentDiffusion, request: Semantic, site: Site | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` pictures at the map's size; an edge that meets no other is padded to
    what the model takes.

    Yields:
        Progress after every step, then one Result.

    Raises:
        RequestError: If the map holds a class that the model does not know, or a side that meets
            itself is no multiple of a latent cell's.
    """
    labels = request.label_map.array()
    height, width = labels.shape
    wrap = WRAPS[request.seamless]
    labels = padded(labels, model.size_multiple, down=not wrap.down, across=not wrap.across)
    sampling = of_request(request, labels.shape)
    check(model, sampling)
    cond = condition(model, labels)
    images = yield from sample(model, sampling, cond, cond, site)
    yield result(request, [image[:height, :width] for image in images])


def condition(model: LatentDiffusion, labels: np.ndarray) -> Conditioning:
    """The conditioning of a map (H, W) of class numbers, its sides multiples of a latent cell.

    One channel per class is many times what the picture takes, so it is made strip by strip. A cell
    is made of its own pixels alone, so that strips are the same as the whole.

    Raises:
        RequestError: If a number is no class.
    """
    classes = model.conditioner.classes
    if labels.max() >= classes:
        raise RequestError(
            f"label_map must hold the numbers 0 to {classes - 1}, got {labels.max()}."
        )
    rows = max(1, STRIP_VALUES // (classes * labels.shape[1] * model.factor)) * model.factor
    strips = [
        model.condition(one_hot(labels[top : top + rows], classes)).concat
        for top in range(0, len(labels), rows)
    ]
    return Conditioning(concat=torch.cat(strips, dim=2))


def one_hot(labels: np.ndarray, classes: int) -> Tensor:
    """(H, W) class numbers below `classes` -> (1, classes, H, W), 1 in the channel of the class."""
    ids = torch.from_numpy(np.ascontiguousarray(labels)).long()
    return torch.zeros(1, classes, *ids.shape).scatter_(1, ids[None, None], 1.0)
