"""Iterative back-projection: correct an enlarged picture so that, shrunk, it is the given one.

The difference after shrinking is enlarged and added (Irani & Peleg 1991, "Improving resolution by
image registration"). The first stage changes every colour a little; the given picture states the
mean colour over each of its pixels, or if it is blurred and noisy, over squares of several pixels.

B, h, w: batch, rows and columns of the given picture.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ROUNDS = 2  # a third round changes less than a level of 255


def back_projected(images: Tensor, low: Tensor, squares: int = 1) -> Tensor:
    """Correct enlarged pictures by the pictures from which they were made.

    Args:
        images: (B, 3, f h, f w) in [-1, 1]; they are shrunk by antialiased bicubic interpolation.
        low: The given pictures, (B, 3, h, w) or (1, 3, h, w) in [-1, 1].
        squares: Side in px of `low` of the squares whose means are kept; 0: nothing is corrected.

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
