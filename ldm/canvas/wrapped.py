"""Canvases whose opposite edges meet: textures and panoramas without a seam.

Before a network looks, each side is continued by what stands at the opposite one; afterwards that
margin is cut off. So a cell at the edge is made with the same neighbours as one in the middle.

h, w: rows and columns of the canvas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning

MARGIN = 8  # cells; every network's own factor divides it
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
        """Rows and columns with the margins; of a side that meets a multiple of `MARGIN`."""
        return sum(_span(h, self.down)), sum(_span(w, self.across))

    def pad(self, x: Tensor, scale: int = 1) -> Tensor:
        """(B, C, scale h, scale w), continued on the sides that meet; `scale` values to a cell."""
        for axis, meets in ((2, self.down), (3, self.across)):
            if meets:
                side = x.shape[axis]
                before, inside, after = (scale * n for n in _span(side // scale, meets))
                places = torch.arange(-before, inside + after, device=x.device) % side
                x = x.index_select(axis, places)
        return x

    def cut(self, x: Tensor, h: int, w: int, scale: int = 1) -> Tensor:
        """The canvas of h x w cells out of one with margins, `scale` values to a cell."""
        top, left = scale * _span(h, self.down)[0], scale * _span(w, self.across)[0]
        return x[..., top : top + scale * h, left : left + scale * w]


def _span(side: int, meets: bool) -> tuple[int, int, int]:
    """Cells before a side, of the side and after it; it may be continued more than once around."""
    return (MARGIN, side, MARGIN + -side % MARGIN) if meets else (0, side, 0)


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
