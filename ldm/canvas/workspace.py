"""Where the maps of a bounded run live: in memory up to a budget, in unnamed files beyond it.

A map is kept row after row, so that any range of picture rows is one contiguous piece.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import tempfile
import weakref
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from ldm.errors import MemoryBudgetError

STRIP_SHARE = 0.25  # of the budget: what one strip's computation may take; the rest keeps maps
STRIP_BYTES = 16 * 2**20  # a strip takes no more than this if it can: it stays in the cache
STRIP_OPERATIONS = 4e10  # nor more than this per thread: half a second in which it cannot end


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
        self.files = Files(folder)

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
        return max(1, min(int(rows), height))

    def store(self, meta: Tensor, axis: int, height: int, device: torch.device) -> Store:
        """A place for a map of the shape and dtype of `meta` whose rows lie along `axis`."""
        if self.kept + meta.nbytes > self.budget * (1 - STRIP_SHARE):
            return FileStore(meta, axis, height, device, self.files)
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
        self.most_spilled = max(self.most_spilled, self.spilled)
        weakref.finalize(store, self._remove, meta.nbytes)
        return store

    def _remove(self, nbytes: int) -> None:
        self.spilled -= nbytes


class Store:
    """A map of known shape, written and read by ranges of picture rows.

    Args:
        meta: A tensor of the whole map's shape and dtype.
        axis: The dimension along which the rows lie.
        height: Picture rows; the length of `axis` is a multiple of it.
        device: Where its rows are computed.
    """

    is_in_memory = False

    def __init__(self, meta: Tensor, axis: int, height: int, device: torch.device) -> None:
        self.order = _row_major(meta.ndim, axis, is_picture=meta.shape[axis] == height)
        self.back = [self.order.index(i) for i in range(meta.ndim)]
        self.inner = [meta.shape[i] for i in self.order]
        self.per_row = self.inner[0] // height  # positions along `axis` in a picture row
        self.dtype, self.device = meta.dtype, device

    def write(self, start: int, part: Tensor) -> None:
        """Keep `part`, the rows from `start` on."""
        raise NotImplementedError

    def read(self, start: int, stop: int) -> Tensor:
        """The rows [start, stop), in the map's own layout."""
        raise NotImplementedError


class MemoryStore(Store):
    """A map in memory."""

    is_in_memory = True

    def __init__(self, meta: Tensor, axis: int, height: int, device: torch.device) -> None:
        super().__init__(meta, axis, height, device)
        self._data = torch.empty(self.inner, dtype=self.dtype, device=self.device)

    def write(self, start: int, part: Tensor) -> None:
        """Keep `part`, the rows from `start` on."""
        part = part.permute(self.order)
        self._data.narrow(0, start * self.per_row, part.shape[0]).copy_(part)

    def read(self, start: int, stop: int) -> Tensor:
        """The rows [start, stop), in the map's own layout; a view."""
        length = (stop - start) * self.per_row
        return self._data.narrow(0, start * self.per_row, length).permute(self.back)


class Files:
    """Files without a name, each for one map after the other; gone when nobody holds them.

    The pages of a used file are there already. All of them together never take more of the disk
    than the maps alone did at the worst moment.

    Args:
        folder: Where; None: the system's folder for temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._free: list[tuple[FileIO, int]] = []  # and their bytes
        self._used = 0  # bytes of maps now ...
        self._most = 0  # ... and at the worst moment

    def take(self, nbytes: int) -> FileIO:
        """One for a map of so many bytes; what is in it is of no meaning."""
        self._used += nbytes
        self._most = max(self._most, self._used)
        file, length = self._free.pop() if self._free else (self._new(), 0)
        if length > nbytes:
            file.truncate(nbytes)
        self._trim()
        return file

    def give_back(self, file: FileIO, nbytes: int) -> None:
        """Its map is gone."""
        self._used -= nbytes
        self._free.append((file, nbytes))
        self._trim()

    def _new(self) -> FileIO:
        file = tempfile.TemporaryFile(buffering=0, dir=self.folder)  # noqa: SIM115  (lives as long)
        weakref.finalize(self, file.close)
        return file

    def _trim(self) -> None:
        while self._free and self._used + sum(length for _, length in self._free) > self._most:
            self._free.pop(0)[0].close()


class FileStore(Store):
    """A map in a file.

    It is read and written, not mapped: pages of a mapped file would count as the process's memory.
    """

    def __init__(
        self, meta: Tensor, axis: int, height: int, device: torch.device, files: Files
    ) -> None:
        super().__init__(meta, axis, height, device)
        self._file = files.take(meta.nbytes)
        weakref.finalize(self, files.give_back, self._file, meta.nbytes)
        self._row_bytes = meta.nbytes // height

    def write(self, start: int, part: Tensor) -> None:
        """Keep `part`, the rows from `start` on.

        Raises:
            MemoryBudgetError: If the disk is full.
        """
        rest = _bytes_of(part.permute(self.order).contiguous().cpu())
        try:
            self._file.seek(start * self._row_bytes)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise MemoryBudgetError(
                f"a map of this canvas does not fit on the disk ({error.strerror}); take a smaller "
                "size, a larger memory budget or a folder with more room."
            ) from error

    def read(self, start: int, stop: int) -> Tensor:
        """The rows [start, stop), in the map's own layout."""
        shape = [(stop - start) * self.per_row, *self.inner[1:]]
        data = torch.empty(shape, dtype=self.dtype)
        rest = _bytes_of(data)
        self._file.seek(start * self._row_bytes)
        while rest:
            rest = rest[self._file.readinto(rest) :]
        return data.to(self.device).permute(self.back)


def _row_major(dims: int, axis: int, *, is_picture: bool) -> list[int]:
    """The rows first; then the other dimensions, the channels of a picture last.

    The tokens of several heads have four dimensions too, and attention wants a token's numbers
    side by side: with others it takes memory for every pair of tokens.
    """
    others = [i for i in range(dims) if i != axis]
    if is_picture and dims == 4 and axis == 2:
        others = [0, 3, 1]  # (rows, B, columns, C): channels-last, as convolutions like it
    return [axis, *others]


def _bytes_of(data: Tensor) -> memoryview:
    return memoryview(data.flatten().view(torch.uint8).numpy())
