"""How much memory a network's whole run will take, from two runs on small canvases."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the tensors that are made while it is entered, and forgets those that are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                self._count(value)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self._known:  # a view, or changed in place
            return
        nbytes = storage.nbytes()
        self._known.add(key)
        self.now += nbytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, nbytes)

    def _forget(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self.now -= nbytes


@dataclass(frozen=True)
class Peak:
    """Bytes of activations at the worst moment, as a line over the canvas' cells."""

    fixed: float
    per_cell: float

    def at(self, cells: int) -> int:
        """Bytes for a canvas of so many latent cells, all pictures of a batch together."""
        return round(self.fixed + self.per_cell * cells)


def peak_of(run: Callable[[int], Any], sides: tuple[int, int]) -> Peak:
    """Fit the line to two square canvases.

    Every layer of our networks takes memory in proportion to the area (attention is fused), so two
    points are enough.

    Args:
        run: Runs the network on a canvas of so many cells a side.
        sides: Two sides that the network takes; the larger they are, the surer the line.
    """
    small, large = (_peak(run, side) for side in sides)
    areas = [side * side for side in sides]
    slope = (large - small) / (areas[1] - areas[0])
    return Peak(small - slope * areas[0], slope)


def _peak(run: Callable[[int], Any], side: int) -> int:
    with LiveBytes() as live:
        run(side)
    return live.peak
