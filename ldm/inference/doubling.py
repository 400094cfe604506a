"""Nearest doubling and a convolution as one convolution at the low resolution.

B, C, H, W: batch, channels, height, width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from ldm.inference.kernels import ConvolutionKernel
from ldm.inference.packed import Packed
from ldm.inference.strips import Window, along_rows
from ldm.models import autoencoder, residual

AT_ONCE = 64  # output channels whose kernels are summed in float32 at once


class UpsampleConv(Packed):
    """Nearest doubling and a 3x3 convolution, without the doubled map in between.

    Each of the four output pixels of an input pixel sees 2x2 input pixels; kernel weights that fall
    on the same input pixel are added up. Four 2x2 convolutions do 16 products where one 3x3
    convolution at the doubled size does 36.
    """

    window = Window(3, 1, 1, up=2)

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.products = 4 * conv.in_channels
        self.dtype = dtype or conv.weight.dtype
        bias = None if conv.bias is None else conv.bias.detach().to(self.dtype).repeat(4)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.outputs = conv.out_channels
        self._kernel: Tensor | ConvolutionKernel = conv.weight.detach()

    @classmethod
    def of(
        cls, layer: residual.Upsample | autoencoder.Upsample, dtype: torch.dtype | None
    ) -> nn.Module:
        """Convert a plain layer; one without a convolution is returned as it is."""
        return layer if layer.conv is None else cls(layer.conv, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', 2H, 2W)."""
        return along_rows(x, self) if has_torch_function_unary(x) else self.strip(x, 1, 1)

    def strip(self, part: Tensor, above: int, below: int) -> Tensor:
        """See `RowLayer.strip`."""
        kernel = self._kernel
        if isinstance(kernel, Tensor):
            kernel = self._kernel = ConvolutionKernel(summed(kernel, self.dtype), 1, 1)
        # on CUDA a bias is a pass of its own, so `_interleave` adds it
        bias = None if part.is_cuda else self.bias
        return self._interleave(kernel.strip(part, bias, above, below))

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """See `RowLayer.shape_of`."""
        return self.window.shape_of(shape, self.outputs)

    def _interleave(self, four: Tensor) -> Tensor:
        """Interleave the outputs of the four kernels: (B, 4C', H + 1, W + 1) -> (B, C', 2H, 2W)."""
        B, _, H, W = four.shape
        four = four.unflatten(1, (2, 2, -1))
        made = torch.empty(
            (B, self.outputs, 2 * H - 2, 2 * W - 2),
            dtype=four.dtype,
            device=four.device,
            memory_format=torch.channels_last,
        )
        for p, q in itertools.product((0, 1), repeat=2):
            part = four[:, p, q, :, p : p + H - 1, q : q + W - 1]
            if four.is_cuda and self.bias is not None:
                bias = self.bias[: self.outputs, None, None]
                torch.add(part, bias, out=made[:, :, p::2, q::2])
            else:
                made[:, :, p::2, q::2] = part
        return made


def summed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum a 3x3 kernel (C', C, 3, 3) to four 2x2 kernels (4 C', C, 2, 2), channels-last."""
    outputs, inputs = weight.shape[:2]
    about = {"dtype": dtype, "device": weight.device, "memory_format": torch.channels_last}
    made = torch.empty((4 * outputs, inputs, 2, 2), **about)
    four, spread = made.unflatten(0, (2, 2, outputs)), _SPREAD.to(weight.device)
    for start in range(0, outputs, AT_ONCE):
        some = weight[start : start + AT_ONCE].float()
        four[:, :, start : start + AT_ONCE] = torch.einsum(
            "pyi,qxj,ocij->pqocyx", spread, spread, some
        )
    return made


# [output pixel, low-resolution row, kernel row]: 1 where the kernel row falls on that row
_SPREAD = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
