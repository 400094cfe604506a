"""Overlapping windows over a canvas, blended with weights by the distance to a window's border.

h, w: rows and columns of the canvas; kh, kw: rows and columns of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning, Denoise

GRID_CLIP = (0.01, 0.5)  # range of the weight by a window's place in the grid
OVERLAP = 0.5  # least share of its side by which a window overlaps the next


class Cover(Protocol):
    """Windows of one size that cover a canvas."""

    size: tuple[int, int]

    def corners(self, h: int, w: int) -> list[tuple[int, int]]:
        """List the (y, x) corner of each window on an h x w canvas."""

    def weights(self, h: int, w: int, scale: int = 1) -> Iterator[Tensor]:
        """Yield the weights of each window, (scale * kh, scale * kw)."""


@dataclass(frozen=True)
class Windows:
    """A grid of windows of one size at a fixed stride.

    Args:
        size: (kh, kw) of a window.
        stride: (rows, columns) from one window to the next.
        clip: Least and greatest weight inside a window.
        favour_middle: Whether to weigh each window by its place in the grid as well (the published
            tie breaker).
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    clip: tuple[float, float] = (0.01, 0.5)
    favour_middle: bool = False

    def corners(self, h: int, w: int) -> list[tuple[int, int]]:
        """List the (y, x) corner of each window on an h x w canvas, row by row.

        Raises:
            ValueError: If the windows do not cover the canvas exactly.
        """
        for side, window, stride in zip((h, w), self.size, self.stride, strict=True):
            if window > side or (side - window) % stride:
                raise ValueError(
                    f"windows of {window} with stride {stride} do not cover a side of {side}"
                )
        rows = range(0, h - self.size[0] + 1, self.stride[0])
        columns = range(0, w - self.size[1] + 1, self.stride[1])
        return [(y, x) for y in rows for x in columns]

    def weights(self, h: int, w: int, scale: int = 1) -> Iterator[Tensor]:
        """Yield the weights of each window, (scale * kh, scale * kw)."""
        inside = border_distance(scale * self.size[0], scale * self.size[1]).clamp(*self.clip)
        count = len(self.corners(h, w))
        if not self.favour_middle:
            yield from [inside] * count
            return
        down = (h - self.size[0]) // self.stride[0] + 1
        place = border_distance(down, count // down).clamp(*GRID_CLIP).flatten()
        yield from (inside * weight for weight in place)


@dataclass(frozen=True)
class EvenWindows:
    """Windows of one size, spread evenly over a canvas of any size.

    Args:
        size: (kh, kw) of a window, at most the size of the canvas (see `on`).
        multiple: Corners are multiples of it, so that windows are aligned to the network's grid.
        overlap: Least share of its side by which a window overlaps the next.
    """

    size: tuple[int, int]
    multiple: int = 1
    overlap: float = OVERLAP

    def on(self, h: int, w: int) -> EvenWindows:
        """Return these windows with sides cut to those of an h x w canvas."""
        kh, kw = self.size
        return replace(self, size=(min(kh, h), min(kw, w)))

    def corners(self, h: int, w: int) -> list[tuple[int, int]]:
        """List the (y, x) corner of each window on an h x w canvas, row by row.

        Raises:
            ValueError: If a window is larger than the canvas.
        """
        rows, columns = (self._starts(*sides) for sides in zip((h, w), self.size, strict=True))
        return [(y, x) for y in rows for x in columns]

    def weights(self, h: int, w: int, scale: int = 1) -> Iterator[Tensor]:
        """Yield the weights of each window, (scale * kh, scale * kw)."""
        kh, kw = self.size
        inside = border_distance(scale * kh, scale * kw).clamp_min(1 / (2 * scale * max(kh, kw)))
        yield from [inside] * len(self.corners(h, w))

    def _starts(self, side: int, window: int) -> list[int]:
        if window > side:
            raise ValueError(f"a window of {window} is larger than a side of {side}")
        step = max(1, math.floor(window * (1 - self.overlap)))
        gaps = math.ceil((side - window) / step)
        even = (round(i * (side - window) / max(1, gaps) / self.multiple) for i in range(gaps))
        return [self.multiple * start for start in even] + [side - window]


def border_distance(h: int, w: int) -> Tensor:
    """Return the distance to the nearest border as a share of the side: (h, w), 0 at the border."""
    y = torch.linspace(0, 1, h) if h > 1 else torch.zeros(1)
    x = torch.linspace(0, 1, w) if w > 1 else torch.zeros(1)
    return torch.minimum(torch.minimum(y, 1 - y)[:, None], torch.minimum(x, 1 - x)[None, :])


class Blend:
    """Averages what is computed for each window of a canvas, by weight.

    Args:
        windows: The windows and their weights.
        canvas: (B, C, h, w), used for its size and device only: the weights wait there, for as many
            calls as a run has steps.
        scale: Output cells per canvas cell.
    """

    def __init__(self, windows: Cover, canvas: Tensor, scale: int = 1) -> None:
        h, w = canvas.shape[2:]
        self._window, self._scale = windows.size, scale
        self._corners = windows.corners(h, w)
        self._weights = [weight.to(canvas.device) for weight in windows.weights(h, w, scale)]
        self._sum = torch.zeros(scale * h, scale * w, device=canvas.device)
        for corner, weight in zip(self._corners, self._weights, strict=True):
            self._sum[self._area(corner)] += weight

    def __call__(self, compute: Callable[[int, int], Tensor]) -> Tensor:
        """Average `compute`, (y, x) of a window -> (B, C', scale * kh, scale * kw).

        Returns:
            (B, C', scale * h, scale * w).
        """
        total = None
        for corner, weight in zip(self._corners, self._weights, strict=True):
            part = compute(*corner)
            if total is None:
                total = part.new_zeros(*part.shape[:2], *self._sum.shape)
            total[(..., *self._area(corner))] += part * weight.to(part)
        return total / self._sum.to(total)

    def _area(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        starts = (self._scale * start for start in corner)
        sides = (self._scale * side for side in self._window)
        return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))


def windowed(denoise: Denoise, windows: Cover) -> Denoise:
    """Wrap a denoiser so that it sees one window at a time; the signature stays the same."""
    blends: dict[tuple[torch.Size, torch.device], Blend] = {}

    def denoise_windows(x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        canvas = x_t.shape[2:], x_t.device
        if canvas not in blends:
            blends[canvas] = Blend(windows, x_t)

        def compute(y: int, x: int) -> Tensor:
            rows, columns = slice(y, y + windows.size[0]), slice(x, x + windows.size[1])
            return denoise(x_t[:, :, rows, columns], t, cond.crop(rows, columns))

        return blends[canvas](compute)

    return denoise_windows


def windowed_decode(
    decode: Callable[[Tensor], Tensor], windows: Windows, latents: Tensor, factor: int
) -> Tensor:
    """Decode one window at a time, as the published code does; the result differs from `decode`."""
    kh, kw = windows.size

    def compute(y: int, x: int) -> Tensor:
        return decode(latents[:, :, y : y + kh, x : x + kw])

    return Blend(windows, latents, factor)(compute)
