"""Weights in memory as the CPU's kernels want them, and the operators that take them.

torch's CPU convolution reorders its weights at every call; where a layer has many weights and few
positions that takes as long as the arithmetic. Here they are reordered when the map's shape
changes, by private operators of torch (oneDNN's). Where those are missing the public ones compute
the same.

Maps are channels-last in memory, (B, C, H, W) by shape. Inference only: no gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATORS = (
    "_reorder_convolution_weight",
    "_convolution_pointwise",
    "_reorder_linear_weight",
    "_linear_pointwise",
)
LAST = torch.channels_last
ROWS = 1024  # of the matrix for which an order is chosen; others are as fast


def can_pack() -> bool:
    """Whether this build of torch has the operators and what they run on."""
    there = torch.backends.mkldnn.is_available()
    return there and all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)


class ConvolutionKernel:
    """A convolution in one group, without dilation.

    Args:
        weight: (outputs, inputs, rows, columns) in the precision of the computation.
        stride: Of both sides.
        padding: Zeros on each side.
    """

    def __init__(self, weight: Tensor, stride: int, padding: int) -> None:
        self.geometry = [padding] * 2, [stride] * 2, [1, 1], 1
        self.is_packed = can_pack()
        plain = weight.detach().contiguous(memory_format=LAST)
        self._ordered: tuple[Tensor, torch.Size | None] = plain, None  # and the map's shape

    @property
    def nbytes(self) -> int:
        """Of the weights."""
        return _nbytes(self._ordered[0])

    def plain(self) -> Tensor:
        """(outputs, inputs, rows, columns)."""
        weight, shape = self._ordered
        return weight if shape is None else weight.to_dense()

    def __call__(self, x: Tensor, bias: Tensor | None, plus: Tensor | None = None) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W'), added to `plus`."""
        padding, stride, dilation, groups = self.geometry
        x = x.contiguous(memory_format=LAST)
        if not self.is_packed:
            made = F.conv2d(x, self.plain(), bias, stride, padding)
            return made if plus is None else made.add_(plus)
        weight = self._ordered_for(x.shape)
        about = padding, stride, dilation, groups
        if plus is None:
            return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *about, "none", [], "")
        plus = plus.contiguous(memory_format=LAST)
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, plus, weight, bias, *about, "add", 1.0, None, [], None
        )

    def _ordered_for(self, shape: torch.Size) -> Tensor:
        """The weights in the order for maps of this shape, which the next ones usually have.

        An order made for another shape gives the same numbers, but can be a hundred times slower.
        """
        weight, ordered_for = self._ordered  # read once: another thread may put another there
        if ordered_for != shape:
            weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.plain(), *self.geometry, list(shape)
            )
            self._ordered = weight, shape
        return weight


class LinearKernel:
    """A matrix product.

    Args:
        weight: (outputs, inputs) in the precision of the computation.
    """

    def __init__(self, weight: Tensor) -> None:
        self.is_packed = can_pack()
        self._weight = weight.detach().contiguous()
        if self.is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, ROWS)

    @property
    def nbytes(self) -> int:
        """Of the weights."""
        return _nbytes(self._weight)

    def plain(self) -> Tensor:
        """(outputs, inputs)."""
        return self._weight.to_dense() if self.is_packed else self._weight

    def __call__(self, x: Tensor, bias: Tensor | None = None, plus: Tensor | None = None) -> Tensor:
        """(..., inputs) -> (..., outputs), added to `plus`."""
        if not self.is_packed:
            made = F.linear(x, self._weight, bias)
            return made if plus is None else made.add_(plus)
        if plus is None:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, bias, "none", [], "")
        return torch.ops.mkldnn._linear_pointwise.binary(x, plus, self._weight, bias, "add")


def _nbytes(weight: Tensor) -> int:
    """Of a weight in any order; one of oneDNN's does not tell."""
    return weight.numel() * weight.dtype.itemsize
