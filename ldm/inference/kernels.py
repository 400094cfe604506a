"""Convolutions and matrix products whose weights are packed in the layout of the CPU's kernels.

torch's CPU convolution reorders its weights at every call. For a layer with many weights and few
positions this takes as long as the arithmetic. Here weights are reordered only when the shape of
the map changes, by private operators of torch (oneDNN's). If these are missing, the public
operators compute the same.

Maps are channels-last in memory, (B, C, H, W) by shape. Inference only: no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.inference import fused
from ldm.inference.strips import Window, convolve_strip

OPERATORS = (
    "_reorder_convolution_weight",
    "_convolution_pointwise",
    "_reorder_linear_weight",
    "_linear_pointwise",
)
LAST = torch.channels_last
ROWS = 1024  # input rows for which the weight order is chosen; other numbers are as fast
WINDOWS_BYTES = 32 * 2**20  # of windows that are written out at once, see `_by_rows`


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this build of torch has the private operators and the processor supports `dtype`.

    On Arm these lead to another library, which may compute sums and products with them in plain
    code; torch's own compiler leaves them alone there, too.
    """
    for_arm = getattr(torch.ops.mkldnn, "_is_mkldnn_acl_supported", None)
    there = torch.backends.mkldnn.is_available() and has_arithmetic(dtype)
    there = there and not (for_arm is not None and for_arm())
    return there and all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)


def has_arithmetic(dtype: torch.dtype) -> bool:
    """Whether the processor computes natively in `dtype`: float32, or bfloat16 if supported.

    bfloat16 needs AVX-512, which most laptops lack. There torch emulates it, and a convolution
    takes several times as long as in float32.
    """
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and is_supported is not None and is_supported()
    )


def has_tiles(dtype: torch.dtype) -> bool:
    """Whether the processor multiplies tiles of matrices in `dtype` (Intel's AMX, bfloat16)."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return dtype == torch.bfloat16 and supported is not None and supported()


def is_for_cpu(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a weight is on the CPU and can be packed to compute in `dtype`.

    On other devices and for emulated dtypes, the public operators are used.
    """
    return weight.device.type == "cpu" and can_pack(dtype)


class ConvolutionKernel:
    """A convolution in one group, without dilation.

    Args:
        weight: (outputs, inputs, rows, columns) in the precision of the computation.
        stride: Stride of rows and columns.
        padding: Zeros on each side.
    """

    def __init__(self, weight: Tensor, stride: int, padding: int) -> None:
        self.window = Window(weight.shape[2], stride, padding)
        self.is_packed = is_for_cpu(weight, weight.dtype)
        plain = weight.detach().contiguous(memory_format=LAST)
        # the weights, and the shape of the maps that they are packed for
        self._ordered: tuple[Tensor, Any] = plain, None

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return _nbytes(self._ordered[0])

    def __call__(self, x: Tensor, bias: Tensor | None, plus: Tensor | None = None) -> Tensor:
        """Convolve, (B, inputs, H, W) -> (B, outputs, H', W'), and add the result to `plus`."""
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
        """Convolve rows with `above` and `below` zero rows; otherwise only columns are padded."""
        return convolve_strip(
            lambda x, padding: self._convolved(x, bias, padding), part, (above, below), self.window
        )

    def _convolved(self, x: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        x = x.contiguous(memory_format=LAST)
        if not self.is_packed:
            return self._by_rows(x, bias, padding)
        about = self._geometry(padding)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight_for(x, about), bias, *about, "none", [], ""
        )

    def _by_rows(self, x: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        """Convolve with the public operator, as many rows at a time as take little memory.

        Without oneDNN, as on a Mac's CPU, that operator writes out all windows of a map at once,
        which takes many times the memory of the map.
        """
        weight, size, stride = self._ordered[0], self.window.size, self.window.stride
        once = weight[0].numel() * x.shape[0] * x.shape[3] * x.itemsize  # of one row of windows
        rows = max(1, WINDOWS_BYTES // max(1, once))
        height = (x.shape[2] + 2 * padding[0] - size) // stride + 1
        is_frugal = size == 1 or x.device.type != "cpu" or torch.backends.mkldnn.is_available()
        if is_frugal or height <= rows:
            return F.conv2d(x, weight, bias, stride, padding)
        made = []
        for first in range(0, height, rows):
            top = first * stride - padding[0]
            bottom = (min(first + rows, height) - 1) * stride - padding[0] + size
            zeros = max(0, -top), max(0, bottom - x.shape[2])
            part = F.pad(x[:, :, max(0, top) : bottom], (0, 0, *zeros))
            made.append(F.conv2d(part, weight, bias, stride, [0, padding[1]]))
        return torch.cat(made, dim=2)

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
        """Return the weights packed for the shape of x; they are kept for maps of the same shape.

        Weights packed for another shape give the same result, but can be a hundred times slower.
        """
        wanted = (x.shape, about)
        weight, ordered_for = self._ordered  # read once, since another thread may replace it
        if ordered_for != wanted:
            plain = weight if ordered_for is None else weight.to_dense()
            weight = torch.ops.mkldnn._reorder_convolution_weight(plain, *about, list(x.shape))
            self._ordered = weight, wanted
        return weight


class LinearKernel:
    """A matrix product.

    Args:
        weight: (outputs, inputs) in the precision of the computation.
        activation: Applied to the product by a call: "none" or "gelu".
    """

    def __init__(self, weight: Tensor, activation: str = "none") -> None:
        self.is_packed = is_for_cpu(weight, weight.dtype)
        self.activation = activation
        self._weight = weight.detach().contiguous()
        if self.is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, ROWS)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return _nbytes(self._weight)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if not self.is_packed:
            made = F.linear(x, self._weight, bias)
            return F.gelu(made) if self.activation == "gelu" else made
        about = self.activation, [], "none"
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, bias, *about)

    def plus(self, x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
        """Return the product plus `other`, which has its shape and is not changed."""
        if not self.is_packed:
            return F.linear(x, self._weight, bias).add_(other)
        return self._with(x, bias, other, "add")

    def times(self, x: Tensor, bias: Tensor | None, other: Tensor) -> Tensor:
        """Return the product times `other`, which has its shape and is not changed."""
        if not self.is_packed:
            return F.linear(x, self._weight, bias).mul_(other)
        return self._with(x, bias, other, "mul")

    def _with(self, x: Tensor, bias: Tensor | None, other: Tensor, how: str) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, bias, how)


def _nbytes(weight: Tensor) -> int:
    """Return the bytes of a weight, also of a packed one, whose `nbytes` is not available."""
    return weight.numel() * weight.dtype.itemsize
