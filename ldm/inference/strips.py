"""The interface of layers that can be applied to a map strip by strip.

For a whole map, `layer(x)` and `along_rows(x, layer)` are the same. `ldm.canvas`, which never holds
the whole map, overrides `along_rows` and calls `layer.strip` or `layer` itself on rows.
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
    """The geometry of a convolution, the same for rows and columns.

    Args:
        size: Side of its kernel.
        stride: Distance between two windows.
        padding: Zero rows on each side of the map.
        up: Output rows for every window.
    """

    size: int
    stride: int
    padding: int
    up: int = 1

    def shape_of(self, shape: Sequence[int], outputs: int) -> list[int]:
        """Return the output shape (B, outputs, H', W') for the input shape (B, C, H, W)."""
        sides = [(s + 2 * self.padding - self.size) // self.stride + 1 for s in shape[2:]]
        return [shape[0], outputs, *(side * self.up for side in sides)]


POINT = Window(1, 1, 0)


class RowLayer(Protocol):
    """A layer that can be applied to whole maps and to strips of them."""

    window: Window  # POINT: an output position depends on its own input position only
    products: int  # multiplications per value of the output
    dtype: torch.dtype

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """Return the shape of the output for that of the input."""

    def strip(self, part: Tensor, above: int, below: int) -> Tensor:
        """Apply the layer to rows of a map, with exactly `above` and `below` zero rows added."""

    def __call__(self, x: Tensor) -> Any:
        """Apply the layer to a whole map or, if its window is POINT, to any rows."""


def along_rows(x: Tensor, layer: RowLayer) -> Tensor:
    """Return `layer(x)`; for a banded map it is computed strip by strip."""
    if has_torch_function_unary(x):
        return handle_torch_function(along_rows, (x,), x, layer)
    return layer(x)


def convolve_strip(
    convolve: Callable[[Tensor, list[int]], Tensor],
    part: Tensor,
    zeros: tuple[int, int],
    window: Window,
) -> Tensor:
    """Convolve rows of a map with given numbers of zero rows above and below.

    Args:
        convolve: Convolves a map, given the padding of its rows and columns.
        part: (B, C, rows, W).
        zeros: Numbers of zero rows above and below.
        window: Geometry of the convolution.
    """
    above, below = zeros
    pad = window.padding
    if above == below:
        return convolve(part, [above, pad])
    if window.stride > 1 or pad > 1:
        return convolve(F.pad(part, (0, 0, above, below)), [0, pad])
    # the convolution's own padding saves a copy; the row that it adds on the wrong side is cut off
    made = convolve(part, [pad, pad])
    return made[:, :, :-1] if above else made[:, :, 1:]
