"""Layers whose weights are packed when they are first used.

Until then the weights stay where they were loaded, usually in the mapped file: a model is ready at
once, and parts that a task does not use, such as the encoder of a text-to-image model, cost
nothing. Packing frees the plain weights layer by layer, so no second copy of the model is held.

Packed weights have no gradients, and activations around them are overwritten, so these layers
refuse an input whose gradient is wanted; and to be saved, copied or converted, since their weights
are no parameters. `seal` lets a whole model refuse the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from ldm.errors import LDMError
from ldm.inference import winograd
from ldm.inference.kernels import ConvolutionKernel, LinearKernel, is_for_cpu
from ldm.inference.strips import POINT, Window, along_rows
from ldm.inference.winograd import Winograd


class Packed(nn.Module):
    """A layer whose weights are no parameters: what works on those would pass them over."""

    def _save_to_state_dict(self, *_: Any) -> NoReturn:
        raise _only_plain("cannot be saved")

    def _apply(self, *_: Any, **__: Any) -> NoReturn:  # under .to, .half, .cuda ...
        raise _only_plain("can be neither converted nor moved")

    def __deepcopy__(self, _: Any) -> NoReturn:
        raise _only_plain("cannot be copied")


class PackedConv2d(Packed):
    """A replacement of `nn.Conv2d` with one group and without dilation.

    Args:
        weight: (outputs, inputs, rows, columns).
        bias: (outputs,) or None.
        stride: Stride of rows and columns.
        padding: Zeros on each side.
        dtype: Dtype of the computation; None: that of the weight.
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
        # plain weight until the first use; no parameter, since packed it cannot be moved or saved
        self._kernel: Tensor | ConvolutionKernel | Winograd = weight.detach()

    @classmethod
    def of(cls, conv: nn.Conv2d, dtype: torch.dtype | None) -> PackedConv2d:
        """Convert a plain layer."""
        return cls(conv.weight, conv.bias, conv.stride[0], conv.padding[0], dtype)

    def forward(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Convolve, (B, inputs, H, W) -> (B, outputs, H', W'), and add the unchanged `plus`."""
        if has_torch_function_unary(x):
            made = along_rows(x, self)
            return made if plus is None else plus + made
        return self._packed(x)(x, self.bias, plus)

    def strip(self, part: Tensor, above: int, below: int) -> Tensor:
        """See `RowLayer.strip`."""
        return self._packed(part).strip(part, self.bias, above, below)

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """See `RowLayer.shape_of`."""
        return self.window.shape_of(shape, self.outputs)

    def _packed(self, x: Tensor) -> ConvolutionKernel | Winograd:
        _refuse_gradient(x)
        kernel = self._kernel
        if isinstance(kernel, Tensor):  # two threads may both do this, with the same result
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


class PackedLinear(Packed):
    """Linear layers over the same input as one, with concatenated outputs.

    Args:
        weights: (outputs, inputs) each.
        bias: (all outputs,) or None.
        dtype: Dtype of the computation; None: that of the weights.
        activation: Applied to the outputs by `forward`: "none" or "gelu".
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
        """Join plain layers: linear ones or convolutions over single positions."""
        weights = [layer.weight.flatten(1) for layer in layers]
        has_bias = layers[0].bias is not None
        bias = torch.cat([layer.bias for layer in layers]) if has_bias else None
        return cls(weights, bias, dtype)

    @classmethod
    def of_all(cls, layers: Sequence[PackedLinear]) -> PackedLinear:
        """Join packed layers over the same input, none of which was used yet."""
        weights = [weight for layer in layers for weight in layer._kernel]
        return cls(weights, torch.cat([layer.bias for layer in layers]), layers[0].dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return along_rows(x, self) if has_torch_function_unary(x) else self._packed(x)(x, self.bias)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the outputs, (..., inputs) -> (..., outputs), plus `other`; it is unchanged."""
        if has_torch_function_unary(x):
            return other + along_rows(x, self)
        return self._packed(x).plus(x, self.bias, other)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the outputs, (..., inputs) -> (..., outputs), times `other`; it is unchanged."""
        if has_torch_function_unary(x):
            return other * along_rows(x, self)
        return self._packed(x).times(x, self.bias, other)

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """See `RowLayer.shape_of`."""
        return [*shape[:-1], self.outputs]

    def _packed(self, x: Tensor) -> LinearKernel:
        _refuse_gradient(x)
        kernel = self._kernel
        if isinstance(kernel, tuple):  # two threads may both do this, with the same result
            weight = torch.cat([part.to(self.dtype) for part in kernel])
            self._kernel = kernel = LinearKernel(weight, self.activation)
        return kernel


def seal(model: nn.Module) -> None:
    """Let a prepared model and its networks refuse at once what their packed layers refuse.

    A network may begin with layers that are not packed, such as an embedding: those would be
    converted, and the model be broken, by the time that the first packed one refuses.
    """
    refusals = {
        "_apply": "can be neither converted nor moved",
        "__deepcopy__": "cannot be copied",
        "load_state_dict": "cannot be filled anew",
        "state_dict": "cannot be saved",
    }
    for module in (model, *model.children()):
        for name, what in refusals.items():
            setattr(module, name, partial(_refuse, what))


def _refuse(what: str, *_: Any, **__: Any) -> NoReturn:
    raise _only_plain(what)


def _refuse_gradient(x: Tensor) -> None:
    """Raise LDMError if autograd follows x: it would leave out what the packed kernels do."""
    if x.requires_grad and torch.is_grad_enabled():
        raise _only_plain("has no gradients", ", or compute under torch.no_grad()")


def _only_plain(what: str, otherwise: str = "") -> LDMError:
    return LDMError(
        f"a model that is prepared for inference {what}; load a plain one with "
        f"ModelManager(prepared=False){otherwise}."
    )


def _constant(bias: Tensor | None, dtype: torch.dtype) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)
