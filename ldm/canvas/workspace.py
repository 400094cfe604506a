"""Where the maps of a bounded run live: in memory up to a budget, in an unnamed file beyond it."""

from __future__ import annotations

import contextlib
import ctypes
import math
import weakref
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ldm.canvas.stores import FileStore, MemoryStore, SpillFile, Store
from ldm.errors import MemoryBudgetError

STRIP_SHARE = 0.25  # of the budget: what one strip's computation may take; the rest keeps maps
STRIP_BYTES = 16 * 2**20  # a strip takes no more than this if it can: it stays in the cache
STRIP_OPERATIONS = 4e10  # nor more than this per thread: half a second in which it cannot end
TILE_ROWS = 4  # of Winograd's tiles on the CPU, which has no use for rows beside whole ones


class Workspace:
    """The memory of one bounded run.

    Args:
        budget: Bytes for kept maps and for the work on one strip together.
        folder: Where maps go that do not fit; None: the system's folder for temporary files.
        on_strip: Called before every strip; an exception that it raises ends the run.
    """

    def __init__(
        self,
        budget: int,
        folder: Path | None = None,
        on_strip: Callable[[], None] | None = None,
    ) -> None:
        self.budget = budget
        self.on_strip = on_strip or (lambda: None)
        self.kept = 0  # bytes of maps in memory now
        self.file = SpillFile(folder)

    is_rehearsal = False

    def strip_rows(self, bytes_per_row: float, height: int, operations: float = 0.0) -> int:
        """Rows to compute at once, when each takes `bytes_per_row` and so many operations.

        Raises:
            MemoryBudgetError: If not even one row fits.
        """
        rows = min(self.budget * STRIP_SHARE, STRIP_BYTES) / bytes_per_row
        if operations:
            rows = min(rows, STRIP_OPERATIONS * torch.get_num_threads() / operations)
        if bytes_per_row > self.budget * STRIP_SHARE:
            need = math.ceil(bytes_per_row / STRIP_SHARE / 2**20)
            raise MemoryBudgetError(
                f"a budget of {self.budget / 2**20:.0f} MiB is smaller than one row of this "
                f"canvas needs; {need} MiB would do."
            )
        if rows >= height:
            return height
        whole = int(rows) - int(rows) % TILE_ROWS
        return whole or max(1, int(rows))

    def store(self, meta: Tensor, axis: int, height: int, device: torch.device) -> Store:
        """A place for a map of the shape and dtype of `meta` whose rows lie along `axis`."""
        if self.kept + meta.nbytes > self.budget * (1 - STRIP_SHARE):
            return FileStore(meta, axis, height, device, self.file)
        store = MemoryStore(meta, axis, height, device)
        self.kept += meta.nbytes
        weakref.finalize(store, self._give_back, meta.nbytes)
        return store

    def settled(self) -> None:
        """A map is complete: what its strips took goes back to the system.

        malloc keeps freed blocks, and between maps of other sizes they are of no use: a third more
        than the budget, or as much again. Once per map this costs nothing that could be measured.
        """
        with contextlib.suppress(OSError, AttributeError):  # glibc only
            ctypes.CDLL(None).malloc_trim(0)

    def _give_back(self, nbytes: int) -> None:
        self.kept -= nbytes


class Rehearsal(Workspace):
    """A run in which nothing is computed: it tells what a real one with this budget will take."""

    is_rehearsal = True

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.strips = 0
        self.operations = 0.0  # multiplications and sums of convolutions, products and attention
        self.least = 0  # bytes: the smallest budget that would do
        self.spilled = 0  # bytes in files now
        self.most_spilled = 0

    def strip_rows(self, bytes_per_row: float, height: int, operations: float = 0.0) -> int:
        """As in a real run, which would refuse a budget below `least`."""
        self.least = max(self.least, math.ceil(bytes_per_row / STRIP_SHARE))
        self.budget, real = max(self.budget, self.least), self.budget
        try:
            rows = super().strip_rows(bytes_per_row, height, operations)
        finally:
            self.budget = real
        self.strips += -(-height // rows)
        return rows

    def store(self, meta: Tensor, axis: int, height: int, device: torch.device) -> Store:
        """A place that holds nothing."""
        store = Store(meta, axis, height, device)
        store.is_in_memory = self.kept + meta.nbytes <= self.budget * (1 - STRIP_SHARE)
        if store.is_in_memory:
            self.kept += meta.nbytes
            weakref.finalize(store, self._give_back, meta.nbytes)
            return store
        self.spilled += meta.nbytes
        weakref.finalize(store, self._remove, meta.nbytes)
        return store

    def settled(self) -> None:
        """A map has taken the place of those that it was made of, strip after strip."""
        self.most_spilled = max(self.most_spilled, self.spilled)

    def _remove(self, nbytes: int) -> None:
        self.spilled -= nbytes
