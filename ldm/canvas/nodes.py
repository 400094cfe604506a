"""The nodes of the lazy expressions that compute the rows of banded maps.

Each node computes rows [start, stop) of its map from rows of its parents.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.canvas.stores import Store
from ldm.inference.strips import Window

if typing.TYPE_CHECKING:
    from ldm.canvas.banded import Banded


class Strip:
    """Evaluates the expressions of one strip, each range of rows once.

    Args:
        uses: id of a map -> number of maps computed from it; rows are kept until their last use.
    """

    def __init__(self, uses: dict[int, int] | None = None) -> None:
        self._uses = uses or {}
        self._known: dict[tuple[int, int, int], tuple[Tensor, int]] = {}

    def rows(self, x: Banded, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) of x, in the layout of x."""
        key = (id(x), start, stop)
        if key in self._known:
            made, left = self._known.pop(key)
        else:
            made, left = x.node.rows(self, start, stop), self._uses.get(id(x), 1)
        if left > 1:
            self._known[key] = (made, left - 1)
        return made


class Node(typing.Protocol):
    """An operation that computes the rows of a banded map."""

    parents: tuple[Banded, ...]

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) of the map."""


@dataclass(frozen=True)
class Whole:
    """A map that exists as a whole tensor."""

    tensor: Tensor
    axis: int
    per_row: int
    parents: tuple[Banded, ...] = ()

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Return a view of the rows."""
        return self.tensor.narrow(self.axis, start * self.per_row, (stop - start) * self.per_row)


@dataclass(frozen=True)
class Kept:
    """A map that was computed and is kept in the workspace."""

    store: Store
    parents: tuple[Banded, ...] = ()

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Read the rows from memory or from the file."""
        return self.store.read(start, stop)


def is_in_memory(node: Node) -> bool:
    """Whether strips of the node's map are views of a tensor in memory."""
    return isinstance(node, Whole) or (isinstance(node, Kept) and node.store.is_in_memory)


@dataclass(frozen=True)
class Local:
    """A function of the same rows of its parents."""

    function: Callable[..., Tensor]  # strips of the parents -> strip
    parents: tuple[Banded, ...]

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Apply the function to the parents' rows."""
        return self.function(*(strip.rows(parent, start, stop) for parent in self.parents))


@dataclass(frozen=True)
class Resampled:
    """A function that turns `down` parent rows into `up` rows, e.g. pooling or doubling."""

    function: Callable[[Tensor], Tensor]
    parents: tuple[Banded, ...]
    up: int
    down: int

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Compute whole groups of `up` rows and cut out those that were asked for."""
        first, last = start // self.up, -(-stop // self.up)
        made = self.function(strip.rows(self.parents[0], first * self.down, last * self.down))
        return made.narrow(2, start - first * self.up, stop - start)


@dataclass(frozen=True)
class Convolution:
    """A convolution whose window covers several rows.

    Args:
        parents: The input map.
        strip: Convolves rows, given the numbers of zero rows above and below them.
        window: Size, stride and padding of the convolution.
    """

    parents: tuple[Banded, ...]
    strip: Callable[[Tensor, int, int], Tensor]
    window: Window

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Convolve the rows with their halo; rows beyond the canvas are zero, as in a whole map."""
        (x,), seen = self.parents, self.window
        low, high = start // seen.up, -(-stop // seen.up)  # windows
        first = low * seen.stride - seen.padding
        last = (high - 1) * seen.stride - seen.padding + seen.size
        part = strip.rows(x, max(first, 0), min(last, x.height))
        # rows cut from a batch are in neither of torch's memory formats
        part = part.contiguous(memory_format=torch.channels_last)
        made = self.strip(part, max(0, -first), max(0, last - x.height))
        return made.narrow(2, start - low * seen.up, stop - start)


@dataclass(frozen=True)
class Padded:
    """A map padded with zero rows above and below and zero columns on the sides."""

    parents: tuple[Banded, ...]
    sides: tuple[int, int, int, int]  # left, right, top, bottom

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Return the parent's rows, with the zero rows that fall into the range."""
        (x,), (left, right, top, _) = self.parents, self.sides
        first, last = max(start - top, 0), min(stop - top, x.height)
        if first >= last:  # zeros only; any row tells their width
            nearest = 0 if stop <= top else x.height - 1  # rows further off may be freed already
            row = strip.rows(x, nearest, nearest + 1)
            return F.pad(row[:, :, :0], (left, right, stop - start, 0))
        part = strip.rows(x, first, last)
        above, below = first + top - start, stop - top - last
        return F.pad(part, (left, right, above, below))
