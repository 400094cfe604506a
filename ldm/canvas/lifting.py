"""Tools that turn a torch function into one for banded maps, applied strip by strip."""

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
    """Return a decorator that registers a handler of torch `functions` for banded maps."""

    def register(handler: Function) -> Function:
        HANDLERS.update(dict.fromkeys(functions, handler))
        return handler

    return register


def local(function: Function, cost: int, *args: Any, **kwargs: Any) -> Banded:
    """Apply a function strip by strip that gives the same for a strip as for the whole map.

    To find the dimension of the result that holds the rows, the function is also run on meta
    tensors with twice as many rows.
    """
    meta = _on_meta(function, args, kwargs, 1)
    axis = _grown_axis(meta.shape, _on_meta(function, args, kwargs, 2).shape)
    return applied(function, cost, (args, kwargs), meta, axis)


def pointwise(function: Function, *args: Any, **kwargs: Any) -> Banded:
    """Apply an elementwise function, such as a sum or an activation, strip by strip.

    The result's shape is found by broadcasting, its dtype by a call on single values. (On meta
    tensors torch would import its own Python code for both, which takes 2 seconds.)
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
    """Make the lazy result of `function(*args, **kwargs)`, where `given` is (args, kwargs).

    Args:
        function: Applied to strips of the banded maps among the arguments.
        cost: Cost of the function; the result's cost is at least that of its parents.
        given: Arguments and keyword arguments, with banded maps in place of tensors.
        meta: A tensor of the shape and dtype of the result.
        axis: The dimension of the result along which the rows lie.
    """
    args, kwargs = given
    parents = _parents(args) + _parents(kwargs.values())
    if len({parent.height for parent in parents}) != 1:
        raise ValueError(f"maps of {[p.height for p in parents]} rows do not go together")

    places = {id(parent): _Place(i) for i, parent in enumerate(parents)}
    args, kwargs = _with(args, places), _with(kwargs, places)

    def call(*parts: Tensor) -> Tensor:  # refers to no map, so that unused maps can be freed
        return function(*_filled(args, parts), **_filled(kwargs, parts))

    cost = max(cost, *(parent.cost for parent in parents))
    return lifted(Local(call, tuple(parents)), meta, axis, parents[0].height, cost)


def lifted(node: Node, meta: Tensor, axis: int, height: int, cost: int) -> Banded:
    """Make a node's lazy result, shaped as `meta`, with `height` picture rows along `axis`."""
    parent = node.parents[0]
    return Banded(parent.space, node, meta, axis, height, cost, parent.device)


def _parents(values: Any) -> list[Banded]:
    """List the banded maps among arguments, each once, in order; lists are searched too."""
    found: list[Banded] = []
    for value in values:
        inside = _parents(value) if isinstance(value, (list, tuple)) else [value]
        found += [x for x in inside if isinstance(x, Banded) and not any(x is y for y in found)]
    return found


class _Place(int):
    """A placeholder among arguments for the strip of the parent with this index."""


def _with(value: Any, places: dict[int, _Place]) -> Any:
    """Replace every banded map in `value` by its placeholder."""
    return _replaced(value, Banded, lambda x: places[id(x)])


def _filled(value: Any, parts: Sequence[Tensor]) -> Any:
    """Replace every placeholder in `value` by its strip."""
    return _replaced(value, _Place, lambda place: parts[place])


def _replaced(value: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """Replace every object of type `kind` in `value`, also inside lists, tuples and dicts."""
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(part, kind, by) for part in value)
    if isinstance(value, dict):
        return {name: _replaced(part, kind, by) for name, part in value.items()}
    return by(value) if isinstance(value, kind) else value


def empty_like(tensor: Tensor) -> Tensor:
    """Return a meta tensor of the same shape and dtype."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=META)


def _on_meta(function: Function, args: Any, kwargs: dict[str, Any], times: int) -> Tensor:
    """Run a function on meta tensors, with banded maps of `times` as many rows."""

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
    """Register `apply(function, ...)` as the handler of each of the functions."""
    for function in functions:
        HANDLERS[function] = functools.partial(apply, function)


def counted(made: Banded, times: float) -> Banded:
    """Record that each value of a map takes `times` multiplications and as many sums."""
    made.operations = 2 * made.meta.numel() * times
    if made.space.is_rehearsal:
        made.space.operations += made.operations
    return made
