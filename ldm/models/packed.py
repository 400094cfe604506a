"""Layers whose weights are packed when they are first used.

Until then they lie where they were loaded, usually in the mapped file: a model is ready at once,
and what a task never uses, as the encoder of a text-to-image model, costs nothing. Packing goes
layer by layer and the plain weights are let go, so that no second copy of the model is ever held.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from ldm.models import winograd
from ldm.models.kernels import ConvolutionKernel, LinearKernel, is_for_cpu
from ldm.models.strips import POINT, Window, along_rows
from ldm.models.winograd import Winograd


class PackedConv2d(nn.Module):
    """A convolution in one group, without dilation, as `nn.Conv2d`.

    Args:
        weight: (outputs, inputs, rows, columns).
        bias: (outputs,) or None.
        stride: Of both sides.
        padding: Zeros on each side.
        dtype: Of the computation; None keeps that of the weight.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.outputs = len(weight)
        self.products = weight[0].numel()
        self.window = Window(weight.shape[2], stride, padding)
        self.dtype = dtype or weight.dtype
        self.bias = _constant(bias, self.dtype)
        # what it is now; no parameter, for packed it can be neither moved nor saved
        self._kernel: Tensor | ConvolutionKernel | Winograd = weight.detach()

    @classmethod
    def of(cls, conv: nn.Conv2d, dtype: torch.dtype | None) -> PackedConv2d:
        """From a plain layer."""
        return cls(conv.weight, conv.bias, conv.stride[0], conv.padding[0], dtype)

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H', W'), added to `plus`, which stays as it is."""
        if has_torch_function_unary(x):
            made = along_rows(x, self)
            return made if plus is None else plus + made
        return self._packed()(x, self.bias, plus)

    def strip(self, part: Tensor, above: int, below: int) -> Tensor:
        """As of a `RowLayer`."""
        return self._packed().strip(part, self.bias, above, below)

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """As of a `RowLayer`."""
        return self.window.shape_of(shape, self.outputs)

    def _packed(self) -> ConvolutionKernel | Winograd:
        kernel = self._kernel
        if isinstance(kernel, Tensor):  # two threads may both do this; they make the same
            about = self.window.stride, self.window.padding
            m = 0
            if is_for_cpu(kernel, self.dtype):
                m = winograd.output_tile(kernel, self.dtype, *about)
            if m:
                kernel = Winograd(kernel, self.dtype, m)
            else:
                kernel = ConvolutionKernel(kernel.to(self.dtype), *about)
            self._kernel = kernel
        return kernel


class PackedLinear(nn.Module):
    """Linear layers over the same input, their outputs one after the other.

    Args:
        weights: (outputs, inputs) each.
        bias: (all outputs,) or None.
        dtype: Of the computation; None keeps that of the weights.
        activation: What `forward` puts the outputs through: "none" or "gelu".
    """

    window = POINT

    def __init__(
        self,
        weights: Sequence[Tensor],
        bias: Tensor | None,
        dtype: torch.dtype | None = None,
        activation: str = "none",
    ) -> None:
        super().__init__()
        self.activation = activation
        self.outputs = sum(map(len, weights))
        self.products = weights[0].shape[1]
        self.dtype = dtype or weights[0].dtype
        self.bias = _constant(bias, self.dtype)
        self._kernel: tuple[Tensor, ...] | LinearKernel = tuple(w.detach() for w in weights)

    @classmethod
    def of(cls, *layers: nn.Module, dtype: torch.dtype | None) -> PackedLinear:
        """From plain layers: linear, or convolutions over single positions."""
        weights = [layer.weight.flatten(1) for layer in layers]
        has_bias = layers[0].bias is not None
        bias = torch.cat([layer.bias for layer in layers]) if has_bias else None
        return cls(weights, bias, dtype)

    @classmethod
    def of_all(cls, layers: Sequence[PackedLinear]) -> PackedLinear:
        """From such layers over the same input, none of them used yet."""
        weights = [weight for layer in layers for weight in layer._kernel]
        return cls(weights, torch.cat([layer.bias for layer in layers]), layers[0].dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return along_rows(x, self) if has_torch_function_unary(x) else self._packed()(x, self.bias)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), added to another, which stays as it is."""
        if has_torch_function_unary(x):
            return other + along_rows(x, self)
        return self._packed().plus(x, self.bias, other)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), multiplied by another, which stays as it is."""
        if has_torch_function_unary(x):
            return other * along_rows(x, self)
        return self._packed().times(x, self.bias, other)

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """As of a `RowLayer`."""
        return [*shape[:-1], self.outputs]

    def _packed(self) -> LinearKernel:
        kernel = self._kernel
        if isinstance(kernel, tuple):  # two threads may both do this; they make the same
            weight = torch.cat([part.to(self.dtype) for part in kernel])
            self._kernel = kernel = LinearKernel(weight, self.activation)
        return kernel


def _constant(bias: Tensor | None, dtype: torch.dtype) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)
