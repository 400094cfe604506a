"""A smooth first guess of what is in a hole.

B, H, W: batch, rows and columns in px.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pull_push(image: Tensor, hole: Tensor) -> Tensor:
    """Fill a hole with the colours around it (Gortler et al. 1996, "The Lumigraph", Sec. 3.4).

    Pull: halve the picture, each pixel the mean of what is known of four, until nothing is
    unknown. Push: what is unknown at a size comes from the one below it.

    Args:
        image: (B, 3, H, W); its values in the hole do not matter, but must be finite.
        hole: (B, 1, H, W), 1 where the picture is unknown, 0 where it is known.

    Returns:
        (B, 3, H, W), unchanged outside the hole; zero where nothing at all is known.
    """
    known = 1 - hole
    image = image * known
    if not hole.any() or image.shape[2:] == (1, 1):
        return image
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    colours = F.avg_pool2d(image, 2, ceil_mode=True) / share.clamp_min(1e-6)
    below = pull_push(colours, (share == 0).to(image.dtype))
    guess = F.interpolate(below, image.shape[2:], mode="bilinear")
    return torch.where(hole.bool(), guess, image)
