"""An enlarged picture that, shrunk again, is the one that was given.

Iterative back-projection (Irani & Peleg 1991, "Improving resolution by image registration"): what
is missing after shrinking is enlarged and added. A first stage loses a little of every colour, and
of those the given picture knows the mean over each of its pixels; a blurred and noisy one knows it
over squares of some of them.

B, h, w: batch, rows and columns of the given picture.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ROUNDS = 2  # a third one changes less than a level of 255


def back_projected(images: Tensor, low: Tensor, squares: int = 1) -> Tensor:
    """Correct pictures by what they were made of.

    Args:
        images: (B, 3, f h, f w) in [-1, 1].
        low: (B, 3, h, w) or (1, 3, h, w) in [-1, 1], shrunk by an antialiased bicubic.
        squares: Px of `low` to a side of the squares whose means are kept; 0: nothing is corrected.

    Returns:
        (B, 3, f h, f w) in [-1, 1].
    """
    if not squares:
        return images
    low = F.avg_pool2d(low, squares, ceil_mode=True) if squares > 1 else low
    for _ in range(ROUNDS):
        again = F.interpolate(images, low.shape[2:], mode="bicubic", antialias=True)
        missing = F.interpolate(low - again, images.shape[2:], mode="bicubic")
        images = (images + missing).clamp(-1, 1)
    return images
