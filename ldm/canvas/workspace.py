"""Storage of the maps of a bounded run: in memory up to a budget, beyond it in an unnamed file."""

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

STRIP_SHARE = 0.25  # share of the budget for computing one strip; the rest is for kept maps
STRIP_BYTES = 16 * 2**20  # most bytes of a strip of several rows, so that it stays in the cache
# per thread, in float32: half a second of an older core, in which a run cannot be cancelled
STRIP_OPERATIONS = 2e10
TILE_ROWS = 4  # rows of a Winograd tile on the CPU; rows beside whole tiles would be wasted


class Workspace:
    """The memory of one bounded run.

    Args:
        budget: Bytes for kept maps and for the computation of one strip together.
        folder: Folder for maps that do not fit; None: the system's folder for temporary files.
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
        """Return the rows to compute at once, where each takes `bytes_per_row` and `operations`.

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
        """Make a store for a map of the shape and dtype of `meta` whose rows lie along `axis`."""
        if self.kept + meta.nbytes > self.budget * (1 - STRIP_SHARE):
            return FileStore(meta, axis, height, device, self.file)
        store = MemoryStore(meta, axis, height, device)
        self.kept += meta.nbytes
        weakref.finalize(store, self._give_back, meta.nbytes)
        return store

    def settled(self) -> None:
        """Return the freed memory of strips to the system; called after each complete map.

        malloc keeps freed blocks, but maps of other sizes cannot reuse them: without this call a
        run takes up to twice the budget. Called once per map, it costs no measurable time.
        """
        with contextlib.suppress(OSError, AttributeError):  # glibc only
            ctypes.CDLL(None).malloc_trim(0)

    def _give_back(self, nbytes: int) -> None:
        self.kept -= nbytes


class Rehearsal(Workspace):
    """A workspace that computes nothing and counts what a real run with this budget takes."""

    is_rehearsal = True

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.strips = 0
        self.operations = 0.0  # multiplications and sums of convolutions, products and attention
        self.least = 0  # bytes of the smallest sufficient budget
        self.spilled = 0  # bytes in the file now
        self.most_spilled = 0

    def strip_rows(self, bytes_per_row: float, height: int, operations: float = 0.0) -> int:
        """Count the strips and raise `least` as needed; return the rows of a sufficient budget."""
        self.least = max(self.least, math.ceil(bytes_per_row / STRIP_SHARE))
        self.budget, real = max(self.budget, self.least), self.budget
        try:
            rows = super().strip_rows(bytes_per_row, height, operations)
        finally:
            self.budget = real
        self.strips += -(-height // rows)
        return rows

    def store(self, meta: Tensor, axis: int, height: int, device: torch.device) -> Store:
        """Return an empty store and count its bytes as kept or spilled."""
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
        """Update the peak of spilled bytes, now that the map has replaced its freed inputs."""
        self.most_spilled = max(self.most_spilled, self.spilled)

    def _remove(self, nbytes: int) -> None:
        self.spilled -= nbytes
