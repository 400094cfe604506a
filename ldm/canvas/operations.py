"""What each torch function that our networks use means for a map in bands.

A function that is not listed is refused: applied to a strip it might mean something else.
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
from ldm.canvas.nodes import Convolution, Local, Node, Padded, Resampled, Whole
from ldm.canvas.workspace import Workspace
from ldm.models.first_stage import VectorQuantizer, quantise
from ldm.models.strips import POINT, RowLayer, Window, along_rows, convolve_strip

META = torch.device("meta")
Function = Callable[..., Any]


def banded(tensor: Tensor, space: Workspace) -> Banded:
    """A (B, C, H, W) tensor as the start of a bounded computation."""
    height = tensor.shape[2]
    return Banded(space, Whole(tensor, 2, 1), _meta(tensor), 2, height, FREE, tensor.device)


def handles(*functions: Function) -> Callable[[Function], Function]:
    """Register what torch `functions` mean for bands."""

    def register(handler: Function) -> Function:
        HANDLERS.update(dict.fromkeys(functions, handler))
        return handler

    return register


def local(function: Function, cost: int, *args: Any, **kwargs: Any) -> Banded:
    """A function that gives the same for a strip as for the whole map, applied strip by strip.

    Which dimension of its result holds the rows is found by asking for twice as many of them.
    """
    meta = _on_meta(function, args, kwargs, 1)
    axis = _grown_axis(meta.shape, _on_meta(function, args, kwargs, 2).shape)
    return _applied(function, cost, (args, kwargs), meta, axis)


def pointwise(function: Function, *args: Any, **kwargs: Any) -> Banded:
    """`local` for a function of single numbers, as sums and activations are.

    Its shape is that of its arguments together and its dtype that of one number. (On meta tensors
    torch would ask its own Python code for both, which takes 2 seconds to import.)
    """
    tensors = [arg for arg in args if isinstance(arg, (Tensor, Banded))]
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    first = next(tensor for tensor in tensors if isinstance(tensor, Banded))
    dtype = function(*map(_one_number, args), **kwargs).dtype
    meta = torch.empty(shape, dtype=dtype, device=META)
    axis = first.axis - first.ndim + len(shape)
    return _applied(function, FREE, (args, kwargs), meta, axis)


def _one_number(value: Any) -> Any:
    if not isinstance(value, (Tensor, Banded)):
        return value
    return torch.ones([1] * value.ndim, dtype=value.dtype)


def _applied(
    function: Function, cost: int, given: tuple[Any, dict[str, Any]], meta: Tensor, axis: int
) -> Banded:
    args, kwargs = given
    parents = _parents(args) + _parents(kwargs.values())
    if len({parent.height for parent in parents}) != 1:
        raise ValueError(f"maps of {[p.height for p in parents]} rows do not go together")

    def call(*parts: Tensor) -> Tensor:
        known = dict(zip(map(id, parents), parts, strict=True))
        return function(*_with(args, known), **{k: _with(v, known) for k, v in kwargs.items()})

    cost = max(cost, *(parent.cost for parent in parents))
    return _made(Local(call, tuple(parents)), meta, axis, parents[0].height, cost)


def _made(node: Node, meta: Tensor, axis: int, height: int, cost: int) -> Banded:
    parent = node.parents[0]
    return Banded(parent.space, node, meta, axis, height, cost, parent.device)


def _parents(values: Any) -> list[Banded]:
    """The banded maps among arguments, each once, in order; lists are searched too."""
    found: list[Banded] = []
    for value in values:
        inside = _parents(value) if isinstance(value, (list, tuple)) else [value]
        found += [x for x in inside if isinstance(x, Banded) and not any(x is y for y in found)]
    return found


def _with(value: Any, given: dict[int, Any]) -> Any:
    """`value` with every banded map replaced by what is given for it."""
    if isinstance(value, (list, tuple)):
        return type(value)(_with(part, given) for part in value)
    return given[id(value)] if isinstance(value, Banded) else value


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=META)


def _on_meta(function: Function, args: Any, kwargs: dict[str, Any], times: int) -> Tensor:
    """The shape and dtype of the result, for maps of `times` as many rows."""

    def shrink(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(shrink, value))
        if isinstance(value, Banded):
            shape = list(value.shape)
            shape[value.axis] *= times
            return torch.empty(shape, dtype=value.dtype, device=META)
        return _meta(value) if isinstance(value, Tensor) else value

    return function(*map(shrink, args), **{k: shrink(v) for k, v in kwargs.items()})


def _grown_axis(before: torch.Size, after: torch.Size) -> int:
    grown = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if len(grown) != 1:
        raise ValueError(f"the rows are lost between {tuple(before)} and {tuple(after)}")
    return grown[0]


def _everywhere(apply: Function, functions: Sequence[Function]) -> None:
    for function in functions:
        HANDLERS[function] = functools.partial(apply, function)


OPERATORS = ["__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__"]
ARITHMETIC = ["__neg__", "add", "sub", "mul", "div", "addcmul", "clamp", "exp", "square"]
NUMBERS = [*OPERATORS, *ARITHMETIC, "add_", "mul_", "to", "float"]
LAYOUT = ["contiguous", "flatten", "transpose", "permute"]
METHODS = [*NUMBERS, *LAYOUT]
_everywhere(pointwise, [getattr(Tensor, name) for name in NUMBERS])
_everywhere(pointwise, [torch.add, torch.sub, torch.mul, torch.div, torch.addcmul, torch.exp])
_everywhere(pointwise, [F.silu, F.gelu, torch.clamp])
for _layout in LAYOUT:
    HANDLERS[getattr(Tensor, _layout)] = functools.partial(local, getattr(Tensor, _layout), FREE)


def _counted(made: Banded, times: float) -> Banded:
    """Note that each number of a map takes so many multiplications and sums."""
    made.operations = 2 * made.meta.numel() * times
    if made.space.is_rehearsal:
        made.space.operations += made.operations
    return made


@handles(F.linear)
def _linear(x: Banded, weight: Tensor, bias: Tensor | None = None) -> Banded:
    return _counted(local(F.linear, LIGHT, x, weight, bias), weight.shape[1])


@handles(quantise)
def _quantise(z: Banded, quantizer: VectorQuantizer) -> Banded:
    node = Local(lambda part: quantise(part, quantizer), (z,))
    return _made(node, z.meta, z.axis, z.height, max(LIGHT, z.cost))


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
        return _counted(local(F.conv2d, LIGHT, x, weight, bias), weight.shape[1])
    if x.cost > FREE:
        x.settle()
    bias_meta = None if bias is None else _meta(bias)
    meta = F.conv2d(x.meta, _meta(weight), bias_meta, stride, padding)
    window = Window(weight.shape[2], stride[0], padding[0])

    def convolve(part: Tensor, zeros: list[int]) -> Tensor:
        return F.conv2d(part, weight, bias, stride, zeros)

    def strip(part: Tensor, above: int, below: int) -> Tensor:
        return convolve_strip(convolve, part, (above, below), window)

    made = _made(Convolution((x,), strip, window), meta, 2, meta.shape[2], HEAVY)
    return _counted(made, weight[0].numel())


@handles(along_rows)
def _along_rows(x: Banded, layer: RowLayer) -> Banded:
    meta = torch.empty(layer.shape_of(x.shape), dtype=layer.dtype, device=META)
    if layer.window == POINT:
        made = _made(Local(layer, (x,)), meta, x.axis, x.height, max(LIGHT, x.cost))
        return _counted(made, layer.products)
    if x.cost > FREE:
        x.settle()
    node = Convolution((x,), layer.strip, layer.window)
    return _counted(_made(node, meta, 2, meta.shape[2], HEAVY), layer.products)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


@handles(F.conv1d, torch.conv1d)
def _conv1d(x: Banded, weight: Tensor, bias: Tensor | None = None, *rest: Any) -> Banded:
    if weight.shape[2] != 1:
        raise ValueError("bands know 1d convolutions of width 1 only")
    return _counted(local(F.conv1d, LIGHT, x, weight, bias), weight.shape[1])


@handles(F.pad)
def _pad(x: Banded, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    if len(pad) != 4 or mode != "constant" or value:
        raise ValueError("bands know zero padding of rows and columns only")
    left, right, top, bottom = pad
    B, C, H, W = x.shape
    meta = torch.empty((B, C, H + top + bottom, W + left + right), dtype=x.dtype, device=META)
    return _made(Padded((x,), tuple(pad)), meta, 2, meta.shape[2], x.cost)


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
    return _made(Resampled(function, (x,), up, down), meta, 2, meta.shape[2], x.cost)


@handles(torch.cat)
def _cat(parts: Sequence[Banded], dim: int = 0) -> Banded:
    """Settled first: then the norm of the result has its statistics from the parts."""
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
    made = _applied(torch.cat, FREE, ((list(parts),), {"dim": dim}), meta, first.axis)
    made.channel_parts = tuple(parts) if dim == 1 and made.axis > 1 else None
    return made


@handles(F.group_norm)
def _group_norm(
    x: Banded,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Banded:
    """A scale and a shift of each channel, once the statistics of the canvas are known."""
    mean, var = x.moments().grouped(groups)
    scale = (var + eps).rsqrt().expand(-1, -1, x.shape[1] // groups).flatten(1)  # (B, C)
    mean = mean.expand(-1, -1, x.shape[1] // groups).flatten(1)
    if weight is not None:
        scale = scale * weight.double()
    shift = -mean * scale + (0.0 if bias is None else bias.double())
    node = Local(lambda part: _scaled_and_shifted(part, scale.float(), shift.float()), (x,))
    return _made(node, x.meta, x.axis, x.height, x.cost)


def _scaled_and_shifted(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each channel of each picture: scale * x + shift, (B, C) float32.

    As a batch norm, whose kernel computes in float32 and reads and writes half precision once.
    """
    zeros, ones = torch.zeros_like(scale[0]), torch.ones_like(scale[0])
    pictures = zip(x.split(1), scale, shift, strict=True)
    made = [F.batch_norm(part, zeros, ones, a, b, False, 0.0, 0.0) for part, a, b in pictures]
    return made[0] if len(made) == 1 else torch.cat(made)


@handles(F.layer_norm)
def _layer_norm(x: Banded, *args: Any, **kwargs: Any) -> Banded:
    if x.cost > FREE:
        x.settle()  # what follows reads it twice: the branch and the sum
    node = Local(lambda part: F.layer_norm(part, *args, **kwargs), (x,))
    return _made(node, x.meta, x.axis, x.height, x.cost)


@handles(F.scaled_dot_product_attention)
def _attention(q: Banded, k: Any, v: Any) -> Banded:
    if not isinstance(k, Banded):
        node = Local(lambda part: F.scaled_dot_product_attention(part, k, v), (q,))
        made = _made(node, q.meta, q.axis, q.height, max(LIGHT, q.cost))
        return _counted(made, 2 * k.shape[-2])
    k.settle()
    v.settle()
    made = _made(Attention((q, k, v)), q.meta, q.axis, q.height, HEAVY)
    return _counted(made, 2 * k.shape[-2])


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
