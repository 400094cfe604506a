"""Handlers for banded maps of all torch functions that our networks use.

Other functions are refused, since they might give another result for a strip than for a whole map.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.canvas.attention import Attention
from ldm.canvas.banded import FREE, HANDLERS, HEAVY, LIGHT, Banded
from ldm.canvas.lifting import (
    META,
    Function,
    applied,
    counted,
    empty_like,
    everywhere,
    handles,
    lifted,
    local,
    pointwise,
)
from ldm.canvas.moments import wide
from ldm.canvas.nodes import Convolution, Local, Padded, Resampled, Whole
from ldm.canvas.workspace import Workspace
from ldm.inference.strips import POINT, RowLayer, Window, along_rows, convolve_strip
from ldm.models.first_stage import VectorQuantizer, quantise


def banded(tensor: Tensor, space: Workspace) -> Banded:
    """Wrap a (B, C, H, W) tensor, so that networks applied to it run in bands."""
    height = tensor.shape[2]
    return Banded(space, Whole(tensor, 2, 1), empty_like(tensor), 2, height, FREE, tensor.device)


OPERATORS = ["__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__"]
ARITHMETIC = ["__neg__", "add", "sub", "mul", "div", "addcmul", "clamp", "exp", "square"]
NUMBERS = [*OPERATORS, *ARITHMETIC, "add_", "mul_", "to", "float"]
LAYOUT = ["contiguous", "flatten", "transpose", "permute"]
METHODS = [*NUMBERS, *LAYOUT]
everywhere(pointwise, [getattr(Tensor, name) for name in NUMBERS])
everywhere(pointwise, [torch.add, torch.sub, torch.mul, torch.div, torch.addcmul, torch.exp])
everywhere(pointwise, [F.silu, F.gelu, torch.clamp])
for _layout in LAYOUT:
    HANDLERS[getattr(Tensor, _layout)] = functools.partial(local, getattr(Tensor, _layout), FREE)


@handles(F.linear)
def _linear(x: Banded, weight: Tensor, bias: Tensor | None = None) -> Banded:
    return counted(local(F.linear, LIGHT, x, weight, bias), weight.shape[1])


@handles(quantise)
def _quantise(z: Banded, quantizer: VectorQuantizer) -> Banded:
    node = Local(lambda part: quantise(part, quantizer), (z,))
    return lifted(node, z.meta, z.axis, z.height, max(LIGHT, z.cost))


@handles(F.dropout)
def _dropout(x: Banded, p: float = 0.5, training: bool = True, inplace: bool = False) -> Banded:
    if training and p:
        raise ValueError("canvases in bands are for inference; call eval() first")
    return x


@handles(F.conv2d, torch.conv2d)
def _conv2d(
    x: Banded,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Banded:
    stride, padding = _pair(stride), _pair(padding)
    is_square = stride[0] == stride[1] and padding[0] == padding[1]
    if _pair(dilation) != (1, 1) or groups != 1 or not is_square:
        raise ValueError("bands know plain convolutions only")
    if weight.shape[2:] == (1, 1) and stride == (1, 1) and padding == (0, 0):
        return counted(local(F.conv2d, LIGHT, x, weight, bias), weight.shape[1])
    if x.cost > FREE:
        x.settle()
    bias_meta = None if bias is None else empty_like(bias)
    meta = F.conv2d(x.meta, empty_like(weight), bias_meta, stride, padding)
    window = Window(weight.shape[2], stride[0], padding[0])

    def convolve(part: Tensor, zeros: list[int]) -> Tensor:
        return F.conv2d(part, weight, bias, stride, zeros)

    def strip(part: Tensor, above: int, below: int) -> Tensor:
        return convolve_strip(convolve, part, (above, below), window)

    made = lifted(Convolution((x,), strip, window), meta, 2, meta.shape[2], HEAVY)
    return counted(made, weight[0].numel())


@handles(along_rows)
def _along_rows(x: Banded, layer: RowLayer) -> Banded:
    meta = torch.empty(layer.shape_of(x.shape), dtype=layer.dtype, device=META)
    if layer.window == POINT:
        made = lifted(Local(layer, (x,)), meta, x.axis, x.height, max(LIGHT, x.cost))
        return counted(made, layer.products)
    if x.cost > FREE:
        x.settle()
    node = Convolution((x,), layer.strip, layer.window)
    return counted(lifted(node, meta, 2, meta.shape[2], HEAVY), layer.products)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


@handles(F.conv1d, torch.conv1d)
def _conv1d(x: Banded, weight: Tensor, bias: Tensor | None = None, *rest: Any) -> Banded:
    if weight.shape[2] != 1:
        raise ValueError("bands know 1d convolutions of width 1 only")
    return counted(local(F.conv1d, LIGHT, x, weight, bias), weight.shape[1])


@handles(F.pad)
def _pad(x: Banded, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    if len(pad) != 4 or mode != "constant" or value:
        raise ValueError("bands know zero padding of rows and columns only")
    left, right, top, bottom = pad
    B, C, H, W = x.shape
    meta = torch.empty((B, C, H + top + bottom, W + left + right), dtype=x.dtype, device=META)
    return lifted(Padded((x,), tuple(pad)), meta, 2, meta.shape[2], x.cost)


@handles(F.interpolate)
def _interpolate(
    x: Banded,
    size: Any = None,
    scale_factor: float | None = None,
    mode: str = "nearest",
    **options: Any,
) -> Banded:
    if (mode, scale_factor) not in {("nearest", 2.0), ("bilinear", 0.5)} or any(options.values()):
        raise ValueError(f"bands know nearest doubling and bilinear halving, not {mode}")

    def resize(part: Tensor) -> Tensor:
        return F.interpolate(part, scale_factor=scale_factor, mode=mode)

    return _resampled(x, resize, *((2, 1) if mode == "nearest" else (1, 2)))


@handles(F.avg_pool2d)
def _avg_pool2d(x: Banded, kernel: Any, stride: Any = None, *rest: Any, **options: Any) -> Banded:
    if _pair(kernel) != (2, 2) or _pair(stride or kernel) != (2, 2):
        raise ValueError("bands know pooling of 2x2 only")
    return _resampled(x, lambda part: F.avg_pool2d(part, 2), 1, 2)


def _resampled(x: Banded, function: Callable[[Tensor], Tensor], up: int, down: int) -> Banded:
    sides = [side * up // down for side in x.shape[2:]]
    meta = torch.empty((*x.shape[:2], *sides), dtype=x.dtype, device=META)
    return lifted(Resampled(function, (x,), up, down), meta, 2, meta.shape[2], x.cost)


@handles(torch.cat)
def _cat(parts: Sequence[Banded], dim: int = 0) -> Banded:
    """Settle the parts and join them; a norm of the result takes its statistics from theirs."""
    for part in parts:
        if part.cost > FREE:
            part.settle()
    first = parts[0]
    dim %= first.ndim
    if dim == first.axis:
        raise ValueError("rows cannot be joined")
    shape = list(first.shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    meta = torch.empty(shape, dtype=first.dtype, device=META)
    made = applied(torch.cat, FREE, ((list(parts),), {"dim": dim}), meta, first.axis)
    made.joined = (tuple(parts), dim) if dim < 2 <= made.axis else None
    return made


@handles(F.group_norm)
def _group_norm(
    x: Banded,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Banded:
    """Scale and shift each channel, after computing the statistics of the whole canvas."""
    mean, var = x.moments().grouped(groups)
    scale = (var + eps).rsqrt().expand(-1, -1, x.shape[1] // groups).flatten(1)  # (B, C)
    mean = mean.expand(-1, -1, x.shape[1] // groups).flatten(1)
    if weight is not None:
        scale = scale * wide(weight)
    shift = -mean * scale + (0.0 if bias is None else wide(bias))
    scale, shift = (values.float().to(x.device) for values in (scale, shift))
    node = Local(lambda part: _scaled_and_shifted(part, scale, shift), (x,))
    return lifted(node, x.meta, x.axis, x.height, x.cost)


def _scaled_and_shifted(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Compute scale * x + shift per picture and channel; scale and shift are (B, C) float32.

    This uses batch norm, whose kernel computes in float32 and reads and writes half precision once.
    """
    zeros, ones = torch.zeros_like(scale[0]), torch.ones_like(scale[0])
    pictures = zip(x.split(1), scale, shift, strict=True)
    made = [F.batch_norm(part, zeros, ones, a, b, False, 0.0, 0.0) for part, a, b in pictures]
    return made[0] if len(made) == 1 else torch.cat(made)


@handles(F.layer_norm)
def _layer_norm(x: Banded, *args: Any, **kwargs: Any) -> Banded:
    if x.cost > FREE:
        x.settle()  # it is read twice: by the residual branch and by the sum after it
    node = Local(lambda part: F.layer_norm(part, *args, **kwargs), (x,))
    return lifted(node, x.meta, x.axis, x.height, x.cost)


@handles(F.scaled_dot_product_attention)
def _attention(q: Banded, k: Any, v: Any) -> Banded:
    if not isinstance(k, Banded):
        node = Local(lambda part: F.scaled_dot_product_attention(part, k, v), (q,))
        made = lifted(node, q.meta, q.axis, q.height, max(LIGHT, q.cost))
        return counted(made, 2 * k.shape[-2])
    k.settle()
    v.settle()
    made = lifted(Attention((q, k, v)), q.meta, q.axis, q.height, HEAVY)
    return counted(made, 2 * k.shape[-2])


@handles(Tensor.chunk, torch.chunk)
def _chunk(x: Banded, chunks: int, dim: int = 0) -> tuple[Banded, ...]:
    if dim % x.ndim == x.axis:
        raise ValueError("rows cannot be cut into chunks")

    def part(index: int) -> Banded:
        return local(lambda t: t.chunk(chunks, dim)[index], FREE, x)

    return tuple(part(index) for index in range(chunks))


@handles(Tensor.unflatten)
def _unflatten(x: Banded, dim: int, sizes: Sequence[int]) -> Banded:
    if dim % x.ndim == x.axis:
        if len(sizes) != 2 or sizes[0] not in (x.height, -1):
            raise ValueError(f"{x.height} rows cannot become {tuple(sizes)}")
        sizes = (-1, sizes[1])
    return local(Tensor.unflatten, FREE, x, dim, tuple(sizes))


@handles(Tensor.__getitem__)
def _getitem(x: Banded, item: Any) -> Banded:
    items = item if isinstance(item, tuple) else (item,)
    if not all(part is None or isinstance(part, int) or part == slice(None) for part in items):
        raise ValueError("a banded map cannot be sliced")
    return local(Tensor.__getitem__, FREE, x, item)


def _method(name: str) -> Function:
    function = getattr(Tensor, name)
    return lambda self, *args, **kwargs: HANDLERS[function](self, *args, **kwargs)


for _name in [*METHODS, "chunk", "unflatten", "__getitem__"]:
    setattr(Banded, _name, _method(_name))
