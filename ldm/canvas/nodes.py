"""How the rows of a banded map come about: the nodes of a lazy expression.

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
from ldm.models.strips import Window

if typing.TYPE_CHECKING:
    from ldm.canvas.banded import Banded


class Strip:
    """The computation of one range of rows: every expression in it is evaluated once.

    Args:
        uses: id of a map -> how many others are computed from it; what is used once is not kept.
    """

    def __init__(self, uses: dict[int, int] | None = None) -> None:
        self._uses = uses or {}
        self._known: dict[tuple[int, int, int], tuple[Tensor, int]] = {}

    def rows(self, x: Banded, start: int, stop: int) -> Tensor:
        """Rows [start, stop) of x, in its own layout."""
        key = (id(x), start, stop)
        if key in self._known:
            made, left = self._known.pop(key)
        else:
            made, left = x.node.rows(self, start, stop), self._uses.get(id(x), 1)
        if left > 1:
            self._known[key] = (made, left - 1)
        return made


class Node(typing.Protocol):
    """What a banded map is made by."""

    parents: tuple[Banded, ...]

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Rows [start, stop)."""


@dataclass(frozen=True)
class Whole:
    """A tensor that is there already."""

    tensor: Tensor
    axis: int
    per_row: int
    parents: tuple[Banded, ...] = ()

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """A view."""
        return self.tensor.narrow(self.axis, start * self.per_row, (stop - start) * self.per_row)


@dataclass(frozen=True)
class Kept:
    """A map in the workspace."""

    store: Store
    parents: tuple[Banded, ...] = ()

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Read from memory or the file."""
        return self.store.read(start, stop)


def is_in_memory(node: Node) -> bool:
    """Whether a strip of it is a view of what is there already."""
    return isinstance(node, Whole) or (isinstance(node, Kept) and node.store.is_in_memory)


@dataclass(frozen=True)
class Local:
    """A function of the same rows of its parents."""

    function: Callable[..., Tensor]  # of the parents' strips
    parents: tuple[Banded, ...]

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """The function of the parents' rows."""
        return self.function(*(strip.rows(parent, start, stop) for parent in self.parents))


@dataclass(frozen=True)
class Resampled:
    """A function of `down` parent rows for every `up` rows: pooling, nearest doubling."""

    function: Callable[[Tensor], Tensor]
    parents: tuple[Banded, ...]
    up: int
    down: int

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Whole groups of rows are computed and cut to what was asked."""
        first, last = start // self.up, -(-stop // self.up)
        made = self.function(strip.rows(self.parents[0], first * self.down, last * self.down))
        return made.narrow(2, start - first * self.up, stop - start)


@dataclass(frozen=True)
class Convolution:
    """A convolution whose window covers several rows.

    Args:
        parents: Its map.
        strip: From rows, and how many zero rows belong above and below them.
        window: What it sees.
    """

    parents: tuple[Banded, ...]
    strip: Callable[[Tensor, int, int], Tensor]
    window: Window

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Rows beyond the canvas are zero, as in the whole convolution."""
        (x,), seen = self.parents, self.window
        low, high = start // seen.up, -(-stop // seen.up)  # windows
        first = low * seen.stride - seen.padding
        last = (high - 1) * seen.stride - seen.padding + seen.size
        part = strip.rows(x, max(first, 0), min(last, x.height))
        part = part.contiguous(memory_format=torch.channels_last)  # a batch of rows is neither
        made = self.strip(part, max(0, -first), max(0, last - x.height))
        return made.narrow(2, start - low * seen.up, stop - start)


@dataclass(frozen=True)
class Padded:
    """Zero rows above and below, zero columns on the sides."""

    parents: tuple[Banded, ...]
    sides: tuple[int, int, int, int]  # left, right, top, bottom

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """The parent's rows with the zero rows that fall into the range."""
        (x,), (left, right, top, _) = self.parents, self.sides
        first, last = max(start - top, 0), min(stop - top, x.height)
        if first >= last:  # nothing but zeros, as wide as any row
            nearest = 0 if stop <= top else x.height - 1  # others may be forgotten already
            row = strip.rows(x, nearest, nearest + 1)
            return F.pad(row[:, :, :0], (left, right, stop - start, 0))
        part = strip.rows(x, first, last)
        above, below = first + top - start, stop - top - last
        return F.pad(part, (left, right, above, below))
