"""Smooth filling of the hole in a picture from the colours around it.

B, H, W: batch, rows and columns in px.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pull_push(image: Tensor, hole: Tensor, relaxations: int = 0) -> Tensor:
    """Fill a hole with the colours around it (Gortler et al. 1996, "The Lumigraph", Sec. 3.4).

    Pull: halve the picture until no pixel is unknown; each pixel is the mean of the known ones of
    four. Push: unknown pixels of a size are interpolated from the next smaller size.

    Args:
        image: (B, C, H, W); its values in the hole do not matter, but must be finite.
        hole: (B, 1, H, W), 1 where the picture is unknown, 0 where it is known.
        relaxations: How often, at each size, the hole's pixels are replaced by the mean of their
            neighbourhood; with some the filling is close to the solution of Laplace's equation.

    Returns:
        (B, C, H, W), unchanged outside the hole; zero where nothing at all is known.
    """
    known = 1 - hole
    image = image * known
    if not hole.any() or image.shape[2:] == (1, 1):
        return image
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    colours = F.avg_pool2d(image, 2, ceil_mode=True) / share.clamp_min(1e-6)
    below = pull_push(colours, (share == 0).to(image.dtype), relaxations)
    guess = F.interpolate(below, image.shape[2:], mode="bilinear")
    filled = torch.where(hole.bool(), guess, image)
    for _ in range(relaxations):
        filled = torch.where(hole.bool(), _neighbours_mean(filled), filled)
    return filled


def touched(hole: Tensor, factor: int) -> Tensor:
    """Return the latent cells that a hole touches: (B, 1, factor h, factor w) -> (B, 1, h, w)."""
    return F.max_pool2d(hole, factor)


def _neighbours_mean(image: Tensor) -> Tensor:
    """Return the mean of each pixel and its four neighbours; the border is replicated."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    total = image + padded[..., 1:-1, :-2]
    for beside in (padded[..., 1:-1, 2:], padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]):
        total += beside
    return total.div_(5)
