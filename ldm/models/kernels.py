"""Weights in memory as the CPU's kernels want them, and the operators that take them.

torch's CPU convolution reorders its weights at every call; where a layer has many weights and few
positions that takes as long as the arithmetic. Here they are reordered when the map's shape
changes, by private operators of torch (oneDNN's). Where those are missing the public ones compute
the same.

Maps are channels-last in memory, (B, C, H, W) by shape. Inference only: no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.models import fused
from ldm.models.strips import Window, convolve_strip

OPERATORS = (
    "_reorder_convolution_weight",
    "_convolution_pointwise",
    "_reorder_linear_weight",
    "_linear_pointwise",
)
LAST = torch.channels_last
ROWS = 1024  # of the matrix for which an order is chosen; others are as fast


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of torch has the operators, and the processor what they run on."""
    there = torch.backends.mkldnn.is_available() and has_arithmetic(dtype)
    return there and all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)


def has_arithmetic(dtype: torch.dtype) -> bool:
    """Whether the processor computes fast in float32 or bfloat16.

    bfloat16 needs AVX-512, which most laptops have not. There torch imitates it, and a convolution
    takes several times as long as in float32.
    """
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and is_supported is not None and is_supported()
    )


def has_tiles(dtype: torch.dtype) -> bool:
    """Whether the processor multiplies whole tiles of such numbers at once (Intel's AMX)."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return dtype == torch.bfloat16 and supported is not None and supported()


def is_for_cpu(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a weight can be packed to compute in `dtype`.

    On other devices, and for numbers that are imitated, the public operators need no other order.
    """
    return weight.device.type == "cpu" and can_pack(dtype)


class ConvolutionKernel:
    """A convolution in one group, without dilation.

    Args:
        weight: (outputs, inputs, rows, columns) in the precision of the computation.
        stride: Of both sides.
        padding: Zeros on each side.
    """

    def __init__(self, weight: Tensor, stride: int, padding: int) -> None:
        self.window = Window(weight.shape[2], stride, padding)
        self.is_packed = is_for_cpu(weight, weight.dtype)
        plain = weight.detach().contiguous(memory_format=LAST)
        self._ordered: tuple[Tensor, Any] = plain, None  # and what it is in order for

    @property
    def nbytes(self) -> int:
        """Of the weights."""
        return _nbytes(self._ordered[0])

    def __call__(self, x: Tensor, bias: Tensor | None, plus: Tensor | None = None) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W'), added to `plus`."""
        padding = [self.window.padding] * 2
        if plus is None:
            return self._convolved(x, bias, padding)
        if not self.is_packed:
            return self._convolved_plus(x, bias, padding, plus)
        x, plus = (part.contiguous(memory_format=LAST) for part in (x, plus))
        about = self._geometry(padding)
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, plus, self._weight_for(x, about), bias, *about, "add", 1.0, None, [], None
        )

    def strip(self, part: Tensor, bias: Tensor | None, above: int, below: int) -> Tensor:
        """Rows with so many zero rows above and below; only columns are padded else."""
        return convolve_strip(
            lambda x, padding: self._convolved(x, bias, padding), part, (above, below), self.window
        )

    def _convolved(self, x: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        x = x.contiguous(memory_format=LAST)
        if not self.is_packed:
            return F.conv2d(x, self._ordered[0], bias, self.window.stride, padding)
        about = self._geometry(padding)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight_for(x, about), bias, *about, "none", [], ""
        )

    def _convolved_plus(
        self, x: Tensor, bias: Tensor | None, padding: list[int], plus: Tensor
    ) -> Tensor:
        if bias is None or not fused.takes(x):
            return self._convolved(x, bias, padding).add_(plus)
        made = self._convolved(x, None, padding).contiguous(memory_format=LAST)
        return fused.add_bias_and(made, bias, plus)

    def _geometry(self, padding: list[int]) -> tuple[list[int], list[int], list[int], int]:
        return padding, [self.window.stride] * 2, [1, 1], 1

    def _weight_for(self, x: Tensor, about: tuple[list[int], list[int], list[int], int]) -> Tensor:
        """The weights in the order for such a map, which the next ones usually resemble.

        An order made for another shape gives the same numbers, but can be a hundred times slower.
        """
        wanted = (x.shape, about)
        weight, ordered_for = self._ordered  # read once: another thread may put another there
        if ordered_for != wanted:
            plain = weight if ordered_for is None else weight.to_dense()
            weight = torch.ops.mkldnn._reorder_convolution_weight(plain, *about, list(x.shape))
            self._ordered = weight, wanted
        return weight


class LinearKernel:
    """A matrix product.

    Args:
        weight: (outputs, inputs) in the precision of the computation.
        activation: What a call puts the product through: "none" or "gelu".
    """

    def __init__(self, weight: Tensor, activation: str = "none") -> None:
        self.is_packed = is_for_cpu(weight, weight.dtype)
        self.activation = activation
        self._weight = weight.detach().contiguous()
        if self.is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, ROWS)

    @property
    def nbytes(self) -> int:
        """Of the weights."""
        return _nbytes(self._weight)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if not self.is_packed:
            made = F.linear(x, self._weight, bias)
            return F.gelu(made) if self.activation == "gelu" else made
        about = self.activation, [], "none"
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, bias, *about)

    def plus(self, x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
        """The product, added to another of its shape, which stays as it is."""
        if not self.is_packed:
            return F.linear(x, self._weight, bias).add_(other)
        return self._with(x, bias, other, "add")

    def times(self, x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
        """The product, multiplied by another of its shape, which stays as it is."""
        if not self.is_packed:
            return F.linear(x, self._weight, bias).mul_(other)
        return self._with(x, bias, other, "mul")

    def _with(self, x: Tensor, bias: Tensor | None, other: Tensor, how: str) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, bias, how)


def _nbytes(weight: Tensor) -> int:
    """Of a weight in any order; one of oneDNN's does not tell."""
    return weight.numel() * weight.dtype.itemsize
