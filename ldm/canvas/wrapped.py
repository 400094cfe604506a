"""Canvases whose opposite edges meet: textures and panoramas without a seam.

Before a network looks, each side is continued by what stands at the opposite one; afterwards that
margin is cut off. So a cell at the edge is made with the same neighbours as one in the middle.

h, w: rows and columns of the canvas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning

MARGIN = 8  # latent cells; a multiple of every network's own factor
Denoise = Callable[[Tensor, Tensor, Conditioning], Tensor]


@dataclass(frozen=True)
class Wrap:
    """Which edges meet.

    Args:
        down: Whether the upper and the lower edge do.
        across: Whether the left and the right edge do.
    """

    down: bool = False
    across: bool = False

    def __bool__(self) -> bool:
        return self.down or self.across

    def size(self, h: int, w: int) -> tuple[int, int]:
        """Rows and columns with the margins."""
        return h + 2 * self._margin(h, self.down), w + 2 * self._margin(w, self.across)

    def pad(self, x: Tensor) -> Tensor:
        """(B, C, h, w), continued on the sides that meet."""
        h, w = x.shape[2:]
        rows, columns = self._margin(h, self.down), self._margin(w, self.across)
        return F.pad(x, (columns, columns, rows, rows), mode="circular") if self else x

    def cut(self, x: Tensor, h: int, w: int, scale: int = 1) -> Tensor:
        """The canvas of h x w cells out of one with margins, `scale` values to a cell."""
        top, left = scale * self._margin(h, self.down), scale * self._margin(w, self.across)
        return x[..., top : top + scale * h, left : left + scale * w]

    @staticmethod
    def _margin(side: int, meets: bool) -> int:
        """A side can be continued once around at the most."""
        return min(MARGIN, side) if meets else 0


def wrapped(denoise: Denoise, wrap: Wrap) -> Denoise:
    """A denoiser of a canvas whose edges meet: same signature in and out."""
    if not wrap:
        return denoise

    def denoise_around(x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        h, w = x_t.shape[2:]
        if cond.concat is not None:
            cond = replace(cond, concat=wrap.pad(cond.concat))
        return wrap.cut(denoise(wrap.pad(x_t), t, cond), h, w)

    return denoise_around
