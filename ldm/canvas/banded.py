"""A feature map that is never whole: networks run on it strip by strip, with the same result.

`Banded` stands in for a tensor of shape (B, C, H, W) in any network of ours: `decoder(banded(z))`
builds a lazy expression, whose rows are computed in strips of as many rows as the budget allows.

- What looks at one position at a time (activations, sums, linear layers, 1x1 convolutions, a
  change of layout) stays lazy and is fused into what comes next.
- A 3x3 convolution reads a halo of neighbouring rows. Its input must be cheap, so what is costly
  in it is computed once before, strip by strip, and kept in the workspace ("settled").
- GroupNorm takes its statistics over the whole canvas: they are collected in float32 per strip
  and merged in float64 while a map is settled, so the norm itself is a scale and a shift.
- Self-attention keeps keys and values of the whole canvas and asks them strip by strip.

Nothing is computed twice but the halo rows of cheap expressions, and nothing is approximated.
What each torch function means for bands is in `ldm.canvas.operations`.
"""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ldm.canvas.moments import Moments
from ldm.canvas.nodes import Kept, Node, Strip, Whole, is_in_memory
from ldm.canvas.stores import Store
from ldm.canvas.workspace import Workspace
from ldm.models.kernels import has_tiles

TILES = 8  # times as many operations in the same time, where a processor multiplies tiles
FREE, LIGHT, HEAVY = 0, 1, 2  # what a row costs: a read or a sum; a matrix product; a convolution
HANDLERS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""torch function -> what it means for bands; filled by `ldm.canvas.operations`."""


class Banded:
    """A tensor that is computed by rows.

    Args:
        space: Memory of the run.
        node: How its rows come about.
        meta: A tensor on the meta device of the whole map's shape and dtype.
        axis: The dimension along which the rows lie.
        height: Picture rows; `axis` holds a whole number of positions per row.
        cost: FREE, LIGHT or HEAVY.
        device: Where its rows are computed.
    """

    def __init__(  # noqa: PLR0913  (made in one place only)
        self,
        space: Workspace,
        node: Node,
        meta: Tensor,
        axis: int,
        height: int,
        cost: int,
        device: torch.device,
    ) -> None:
        self.space = space
        self.node = node
        self.meta = meta
        self.axis = axis
        self.height = height
        self.cost = cost
        self.device = device
        self.operations = 0.0  # multiplications and sums of the whole map, its parents' not counted
        self.joined: tuple[tuple[Banded, ...], int] | None = None  # pictures (0) or channels (1) of
        self._moments: Moments | None = None

    @property
    def shape(self) -> torch.Size:
        """Of the whole map."""
        return self.meta.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the values."""
        return self.meta.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.meta.ndim

    def is_floating_point(self) -> bool:
        """Whether the values are."""
        return self.meta.is_floating_point()

    def settle(self) -> None:
        """Compute the map and keep it; what it was made of can go."""
        if isinstance(self.node, (Whole, Kept)):
            return
        store = self.space.store(self.meta, self.axis, self.height, self.device)
        if self.space.is_rehearsal:
            self._strip_rows()
            self._moments = Moments.unknown(*self.shape[:2], self.device)
        else:
            self._fill(store, self._let_go())
        self.node, self.cost, self.operations = Kept(store), FREE, 0.0
        self.space.settled()

    def _fill(self, store: Store, last_used: list[Store]) -> None:
        written = self._written(store, last_used)
        if self.axis > 1:  # (B, C, positions...)
            self._moments = Moments.gathered(map(Moments.of, written))
        else:  # tokens have no group norm
            for _ in written:
                pass

    def _written(self, store: Store, last_used: list[Store]) -> Iterator[Tensor]:
        """The strips, each once it is in the store, in place of what nobody needs any more."""
        for start, part in self.strips():
            for old in last_used:
                old.forget_passed()
            store.write(start, part)
            yield part

    def _let_go(self) -> list[Store]:
        """Give up the maps that this one is made of, for copies that nobody else knows.

        Returns:
            Where the maps are that nobody else held: they are used here for the last time.
        """
        kept = [part for part in self._expression() if isinstance(part.node, Kept)]
        stores = [(part.node.store, weakref.ref(part)) for part in kept]
        del kept
        self.node = self._copied({}).node
        return [store for store, others in stores if others() is None]

    def _copied(self, known: dict[int, Banded]) -> Banded:
        """The map and all that it is computed from, as copies; `known`: those made already."""
        if id(self) not in known:
            made = known[id(self)] = copy.copy(self)
            made.joined = None
            parents = tuple(parent._copied(known) for parent in self.node.parents)
            made.node = replace(self.node, parents=parents)
        return known[id(self)]

    def whole(self) -> Tensor:
        """The map as one tensor; in a rehearsal one without numbers."""
        if isinstance(self.node, Whole):
            return self.node.tensor
        if self.space.is_rehearsal:
            self._strip_rows()
            return self.meta
        made = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        per_row = self.shape[self.axis] // self.height
        for start, part in self.strips():
            made.narrow(self.axis, start * per_row, part.shape[self.axis]).copy_(part)
        return made

    def strips(self) -> Iterator[tuple[int, Tensor]]:
        """(first row, rows) from the top down, as many rows at a time as the budget allows."""
        uses, rows = self._uses(), self._strip_rows()
        for start in range(0, self.height, rows):
            self.space.on_strip()
            yield start, Strip(uses).rows(self, start, min(start + rows, self.height))

    def _strip_rows(self) -> int:
        operations = sum(part.operations for part in self._expression())
        if has_tiles(self.dtype):
            operations /= TILES
        bytes_per_row = self.row_bytes() / self.height
        return self.space.strip_rows(bytes_per_row, self.height, operations / self.height)

    def row_bytes(self) -> int:
        """Bytes at the worst moment of computing the whole map as one strip."""
        made, held, worst = self._own_bytes(), 0, 0
        for parent in self.node.parents:
            worst = max(worst, held + parent.row_bytes())
            held += parent._own_bytes()
        return max(worst, held + made)

    def _own_bytes(self) -> int:
        """Bytes of the map itself, if a strip of it is a tensor of its own and not a view."""
        return 0 if is_in_memory(self.node) else self.meta.nbytes

    def _uses(self) -> dict[int, int]:
        """For each map of this expression, how many others are computed from it."""
        parents = (parent for part in self._expression() for parent in part.node.parents)
        return Counter(map(id, parents))

    def _expression(self) -> list[Banded]:
        """The map and all that it is computed from, each once."""
        found = {id(self): self}
        todo = [self]
        while todo:
            new = {id(p): p for p in todo.pop().node.parents if id(p) not in found}
            found |= new
            todo += new.values()
        return list(found.values())

    def moments(self) -> Moments:
        """Mean and spread of each channel over the canvas."""
        if self.cost > FREE:
            self.settle()
        if self._moments is None and self.joined is not None:
            parts, dim = self.joined
            self._moments = Moments.joined([part.moments() for part in parts], dim)
        if self._moments is None and self.space.is_rehearsal:
            self._strip_rows()
            self._moments = Moments.unknown(*self.shape[:2], self.device)
        if self._moments is None:
            self._moments = Moments.gathered(Moments.of(part) for _, part in self.strips())
        return self._moments

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What torch calls for every function of a `Banded`."""
        handler = HANDLERS.get(function)
        if handler is None:
            name = getattr(function, "__name__", function)
            raise TypeError(f"{name} is not written for canvases in bands; see ldm/canvas/banded")
        return handler(*args, **(kwargs or {}))
