"""Wrapped canvases, whose opposite edges meet: seamless textures and panoramas.

Before a network runs, each wrapped side is padded circularly with the content of the opposite side;
afterwards this margin is cut off. So a cell at the edge sees neighbours like any other cell.

h, w: rows and columns of the canvas.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning, Denoise

MARGIN = 8  # cells; every network's own factor divides it


@dataclass(frozen=True)
class Wrap:
    """Which opposite edges of a canvas meet.

    Args:
        down: Whether the upper and the lower edge meet.
        across: Whether the left and the right edge meet.
    """

    down: bool = False
    across: bool = False

    def __bool__(self) -> bool:
        return self.down or self.across

    def size(self, h: int, w: int) -> tuple[int, int]:
        """Return rows and columns with margins; wrapped sides become multiples of `MARGIN`."""
        return sum(_span(h, self.down)), sum(_span(w, self.across))

    def pad(self, x: Tensor, scale: int = 1) -> Tensor:
        """Pad the wrapped sides of (B, C, scale * h, scale * w), with `scale` values per cell."""
        for axis, meets in ((2, self.down), (3, self.across)):
            if meets:
                side = x.shape[axis]
                before, inside, after = (scale * n for n in _span(side // scale, meets))
                places = torch.arange(-before, inside + after, device=x.device) % side
                x = x.index_select(axis, places)
        return x

    def cut(self, x: Tensor, h: int, w: int, scale: int = 1) -> Tensor:
        """Cut the margins off a padded canvas of h x w cells, with `scale` values per cell."""
        top, left = scale * _span(h, self.down)[0], scale * _span(w, self.across)[0]
        return x[..., top : top + scale * h, left : left + scale * w]


def _span(side: int, meets: bool) -> tuple[int, int, int]:
    """Return (margin before, side, margin after) in cells; a margin may be longer than the side."""
    return (MARGIN, side, MARGIN + -side % MARGIN) if meets else (0, side, 0)


def wrapped(denoise: Denoise, wrap: Wrap) -> Denoise:
    """Wrap a denoiser so that opposite edges of the canvas meet; the signature stays the same."""
    if not wrap:
        return denoise

    def denoise_around(x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        h, w = x_t.shape[2:]
        return wrap.cut(denoise(wrap.pad(x_t), t, cond.with_maps(wrap.pad)), h, w)

    return denoise_around
