"""How a torch function becomes one for maps in bands, applied strip by strip."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ldm.canvas.banded import FREE, HANDLERS, Banded
from ldm.canvas.nodes import Local, Node

META = torch.device("meta")
Function = Callable[..., Any]


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
    return applied(function, cost, (args, kwargs), meta, axis)


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
    return applied(function, FREE, (args, kwargs), meta, axis)


def _one_number(value: Any) -> Any:
    if not isinstance(value, (Tensor, Banded)):
        return value
    return torch.ones([1] * value.ndim, dtype=value.dtype)


def applied(
    function: Function, cost: int, given: tuple[Any, dict[str, Any]], meta: Tensor, axis: int
) -> Banded:
    """A function of the maps among its `given` arguments, whose result is as `meta` says."""
    args, kwargs = given
    parents = _parents(args) + _parents(kwargs.values())
    if len({parent.height for parent in parents}) != 1:
        raise ValueError(f"maps of {[p.height for p in parents]} rows do not go together")

    places = {id(parent): _Place(i) for i, parent in enumerate(parents)}
    args, kwargs = _with(args, places), _with(kwargs, places)

    def call(*parts: Tensor) -> Tensor:  # it holds no map: what is not needed any more can go
        return function(*_filled(args, parts), **_filled(kwargs, parts))

    cost = max(cost, *(parent.cost for parent in parents))
    return lifted(Local(call, tuple(parents)), meta, axis, parents[0].height, cost)


def lifted(node: Node, meta: Tensor, axis: int, height: int, cost: int) -> Banded:
    """A node's result, of the shape and dtype of `meta`, its `height` picture rows along `axis`."""
    parent = node.parents[0]
    return Banded(parent.space, node, meta, axis, height, cost, parent.device)


def _parents(values: Any) -> list[Banded]:
    """The banded maps among arguments, each once, in order; lists are searched too."""
    found: list[Banded] = []
    for value in values:
        inside = _parents(value) if isinstance(value, (list, tuple)) else [value]
        found += [x for x in inside if isinstance(x, Banded) and not any(x is y for y in found)]
    return found


class _Place(int):
    """Where a strip belongs among arguments: that of the map with this number."""


def _with(value: Any, places: dict[int, _Place]) -> Any:
    """`value` with a place instead of every banded map."""
    return _replaced(value, Banded, lambda x: places[id(x)])


def _filled(value: Any, parts: Sequence[Tensor]) -> Any:
    """`value` with a strip in every place."""
    return _replaced(value, _Place, lambda place: parts[place])


def _replaced(value: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """`value` with everything in it of that kind replaced; lists are searched too."""
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(part, kind, by) for part in value)
    if isinstance(value, dict):
        return {name: _replaced(part, kind, by) for name, part in value.items()}
    return by(value) if isinstance(value, kind) else value


def empty_like(tensor: Tensor) -> Tensor:
    """Its shape and dtype without numbers."""
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
        return empty_like(value) if isinstance(value, Tensor) else value

    return function(*map(shrink, args), **{k: shrink(v) for k, v in kwargs.items()})


def _grown_axis(before: torch.Size, after: torch.Size) -> int:
    grown = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if len(grown) != 1:
        raise ValueError(f"the rows are lost between {tuple(before)} and {tuple(after)}")
    return grown[0]


def everywhere(apply: Function, functions: Sequence[Function]) -> None:
    """`apply` each of the functions, whenever it meets a map in bands."""
    for function in functions:
        HANDLERS[function] = functools.partial(apply, function)


def counted(made: Banded, times: float) -> Banded:
    """Note that each number of a map takes so many multiplications and sums."""
    made.operations = 2 * made.meta.numel() * times
    if made.space.is_rehearsal:
        made.space.operations += made.operations
    return made
