"""Layers that can be given a map strip by strip: what they see of it, and how they ask for it.

`layer(x)` of a whole map and `along_rows(x, layer)` are the same. Who never has the whole map
(`ldm.canvas`) overrides `along_rows`, and calls `layer.strip` or `layer` itself on rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


@dataclass(frozen=True)
class Window:
    """Which rows (and columns, likewise) a convolution sees.

    Args:
        size: Of its kernel.
        stride: Between two windows.
        padding: Zero rows on each side of the map.
        up: Output rows for every window.
    """

    size: int
    stride: int
    padding: int
    up: int = 1

    def shape_of(self, shape: Sequence[int], outputs: int) -> list[int]:
        """(B, C, H, W) -> (B, outputs, H', W')."""
        sides = [(s + 2 * self.padding - self.size) // self.stride + 1 for s in shape[2:]]
        return [shape[0], outputs, *(side * self.up for side in sides)]


POINT = Window(1, 1, 0)


class RowLayer(Protocol):
    """A layer on whole maps and on strips of them."""

    window: Window  # POINT: an output position depends on its own input position alone
    products: int  # multiplications for one number of the output
    dtype: torch.dtype

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """Of the output, from that of the input."""

    def strip(self, part: Tensor, above: int, below: int) -> Tensor:
        """The layer on rows of a map with so many zero rows above and below, and no others."""

    def __call__(self, x: Tensor) -> Any:
        """The layer on a whole map; one that sees a point, on any rows."""


def along_rows(x: Tensor, layer: RowLayer) -> Tensor:
    """`layer(x)`; a map in bands goes through it strip by strip."""
    if has_torch_function_unary(x):
        return handle_torch_function(along_rows, (x,), x, layer)
    return layer(x)


def convolve_strip(
    convolve: Callable[[Tensor, list[int]], Tensor],
    part: Tensor,
    zeros: tuple[int, int],
    window: Window,
) -> Tensor:
    """A convolution of rows with so many zero rows above and below.

    Args:
        convolve: From a map and the padding of its rows and columns.
        part: (B, C, rows, W).
        zeros: Above and below.
        window: Of the convolution.
    """
    above, below = zeros
    pad = window.padding
    if above == below:
        return convolve(part, [above, pad])
    if window.stride > 1 or pad > 1:
        return convolve(F.pad(part, (0, 0, above, below)), [0, pad])
    # the convolution's own padding saves a copy; the row that it adds inside is cut off
    made = convolve(part, [pad, pad])
    return made[:, :, :-1] if above else made[:, :, 1:]
