"""Lazy feature maps that networks compute strip by strip, with the result of the whole map.

`Banded` stands in for a tensor of shape (B, C, H, W) in any network of ours: `decoder(banded(z))`
builds a lazy expression, whose rows are computed in strips of as many rows as the budget allows.

- Operations on single positions (activations, sums, linear layers, 1x1 convolutions, changes of
  layout) stay lazy and are fused into the operation that follows.
- A 3x3 convolution reads a halo of neighbouring rows. Its input must be cheap to read, so a costly
  input is first computed strip by strip and kept in the workspace: it is "settled".
- GroupNorm takes its statistics over the whole canvas. They are collected in float32 per strip and
  merged in float64 while a map is settled, so the norm itself is a scale and a shift.
- Self-attention keeps the keys and values of the whole canvas; queries are computed in strips.

Only the halo rows of cheap expressions are computed twice, and nothing is approximated. The
torch functions are implemented for bands in `ldm.canvas.operations`.
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
from ldm.inference.kernels import has_tiles

TILES = 16  # operations in the time of a float32 one where tiles of matrices are multiplied
FREE, LIGHT, HEAVY = 0, 1, 2  # cost of a row: a read or a sum; a matrix product; a convolution
HANDLERS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""torch function -> its implementation for bands; filled by `ldm.canvas.operations`."""


class Banded:
    """A lazy tensor, computed in strips of picture rows.

    Args:
        space: Memory of the run.
        node: The operation that computes its rows.
        meta: A tensor on the meta device of the whole map's shape and dtype.
        axis: The dimension along which the rows lie.
        height: Number of picture rows; the length of `axis` is a multiple of it.
        cost: Cost of computing a row: FREE, LIGHT or HEAVY.
        device: Device on which the rows are computed.
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
        self.operations = 0.0  # multiplications and sums of the whole map, without its parents'
        # the concatenated maps, and whether pictures (0) or channels (1) were concatenated
        self.joined: tuple[tuple[Banded, ...], int] | None = None
        self._moments: Moments | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape of the whole map."""
        return self.meta.shape

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the values."""
        return self.meta.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.meta.ndim

    def is_floating_point(self) -> bool:
        """Whether the values are floating-point numbers."""
        return self.meta.is_floating_point()

    def settle(self) -> None:
        """Compute the map and keep it in the workspace; its inputs can then be freed."""
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
        """Yield each strip once it is stored; before, free the rows of `last_used` already read."""
        for start, part in self.strips():
            for old in last_used:
                old.forget_passed()
            store.write(start, part)
            yield part

    def _let_go(self) -> list[Store]:
        """Drop the references to this map's parents and compute from private copies instead.

        Returns:
            The stores of the maps that nothing else refers to: this is their last use.
        """
        kept = [part for part in self._expression() if isinstance(part.node, Kept)]
        stores = [(part.node.store, weakref.ref(part)) for part in kept]
        del kept
        self.node = self._copied({}).node
        return [store for store, others in stores if others() is None]

    def _copied(self, known: dict[int, Banded]) -> Banded:
        """Copy the map and all that it is computed from; `known` holds the copies made so far."""
        if id(self) not in known:
            made = known[id(self)] = copy.copy(self)
            made.joined = None
            parents = tuple(parent._copied(known) for parent in self.node.parents)
            made.node = replace(self.node, parents=parents)
        return known[id(self)]

    def whole(self) -> Tensor:
        """Return the whole map as one tensor; in a rehearsal, a meta tensor."""
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
        """Yield (first row, strip) from the top down, in strips as high as the budget allows."""
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
        """Return the peak bytes of computing the whole map as one strip."""
        made, held, worst = self._own_bytes(), 0, 0
        for parent in self.node.parents:
            worst = max(worst, held + parent.row_bytes())
            held += parent._own_bytes()
        return max(worst, held + made)

    def _own_bytes(self) -> int:
        """Return the bytes of the map itself; 0 if its strips are views of memory in use."""
        return 0 if is_in_memory(self.node) else self.meta.nbytes

    def _uses(self) -> dict[int, int]:
        """Count for each map of this expression, by id, the maps that are computed from it."""
        parents = (parent for part in self._expression() for parent in part.node.parents)
        return Counter(map(id, parents))

    def _expression(self) -> list[Banded]:
        """List the map and all that it is computed from, each once."""
        found = {id(self): self}
        todo = [self]
        while todo:
            new = {id(p): p for p in todo.pop().node.parents if id(p) not in found}
            found |= new
            todo += new.values()
        return list(found.values())

    def moments(self) -> Moments:
        """Return the mean and the spread of each channel over the whole canvas."""
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
        """Dispatch a torch function on a `Banded` to its handler; TypeError if it has none."""
        handler = HANDLERS.get(function)
        if handler is None:
            name = getattr(function, "__name__", function)
            raise TypeError(f"{name} is not written for canvases in bands; see ldm/canvas/banded")
        return handler(*args, **(kwargs or {}))
