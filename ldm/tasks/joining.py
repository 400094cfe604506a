"""Seamless filling: the colours in a hole are shifted smoothly to meet the picture around it.

The first stage reproduces the known part of a picture only approximately. The difference along the
hole's rim is continued into the hole as a solution of Laplace's equation: the membrane of
Perez et al. 2003, "Poisson image editing", Sec. 2.

B, H, W: batch, rows and columns in px.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ldm.models.hole import pull_push

RELAXATIONS = 4  # per size of `pull_push`; more make no visible difference


def joined(made: Tensor, given: Tensor, hole: Tensor) -> Tensor:
    """Join a filling with the picture around the hole, without a seam.

    Args:
        made: (B, 3, H, W) in [-1, 1], the decoded picture of the hole and its surroundings.
        given: (B, 3, H, W) in [-1, 1], the true picture; its values in the hole do not matter.
        hole: (B, 1, H, W), 1 where `made` counts, 0 where `given` does.

    Returns:
        (B, 3, H, W) in [-1, 1], equal to `given` outside the hole; `made` itself where nothing at
        all is known.
    """
    channels = zip(made.split(1, dim=1), given.split(1, dim=1), strict=True)
    return torch.cat([_joined(*pair, hole) for pair in channels], dim=1)


def _joined(made: Tensor, given: Tensor, hole: Tensor) -> Tensor:
    """Join one channel alone, since intermediate maps take several times its memory."""
    gap = pull_push(given - made, hole, RELAXATIONS)
    return torch.where(hole.bool(), (made + gap).clamp(-1, 1), given)
