"""Averaging over areas, on devices that cannot average over uneven ones, too."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def averaged(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) to `size`, (h', w'), by the mean over each new cell's area.

    MPS averages only where the old sides are multiples of the new ones, so its tensors go through
    the CPU; they are latents or small pictures.
    """
    if x.device.type == "mps":
        return F.interpolate(x.cpu(), size, mode="area").to(x.device)
    return F.interpolate(x, size, mode="area")
