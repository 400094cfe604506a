"""Stores of maps that are written and read by ranges of picture rows, in memory or in a file.

A map is stored row after row, so that any range of picture rows is contiguous. All maps of a run
share one file.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from ldm.errors import MemoryBudgetError

BLOCK_BYTES = 2**20


class Store:
    """A map of known shape, written and read by ranges of picture rows.

    Args:
        meta: A tensor of the whole map's shape and dtype.
        axis: The dimension along which the rows lie.
        height: Picture rows; the length of `axis` is a multiple of it.
        device: Device on which the rows are computed.
    """

    is_in_memory = False

    def __init__(self, meta: Tensor, axis: int, height: int, device: torch.device) -> None:
        self.order = _row_major(meta.ndim, axis, is_picture=meta.shape[axis] == height)
        self.back = [self.order.index(i) for i in range(meta.ndim)]
        self.inner = [meta.shape[i] for i in self.order]
        self.per_row = self.inner[0] // height  # positions along `axis` in a picture row
        self.dtype, self.device = meta.dtype, device

    def write(self, start: int, part: Tensor) -> None:
        """Store `part`, the rows from `start` on."""
        raise NotImplementedError

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows [start, stop), in the layout of the map."""
        raise NotImplementedError

    def forget_passed(self) -> None:
        """Free what lies above the rows read since the last call, if the store can do so.

        It will not be read again.
        """


class MemoryStore(Store):
    """A map in memory."""

    is_in_memory = True

    def __init__(self, meta: Tensor, axis: int, height: int, device: torch.device) -> None:
        super().__init__(meta, axis, height, device)
        self._data = torch.empty(self.inner, dtype=self.dtype, device=self.device)

    def write(self, start: int, part: Tensor) -> None:
        """Store `part`, the rows from `start` on."""
        part = part.permute(self.order)
        self._data.narrow(0, start * self.per_row, part.shape[0]).copy_(part)

    def read(self, start: int, stop: int) -> Tensor:
        """Return a view of the rows [start, stop), in the layout of the map."""
        length = (stop - start) * self.per_row
        return self._data.narrow(0, start * self.per_row, length).permute(self.back)


class SpillFile:
    """An unnamed temporary file, divided into blocks that maps take and give back.

    The file grows only when no block is free. On a virtual machine most of the time of writing is
    spent on pages that are touched for the first time, which reused blocks avoid.

    Args:
        folder: Folder of the file; None: the system's folder for temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.blocks = 0  # length of the file in blocks
        self._free: list[int] = []
        self._file: FileIO | None = None

    def take(self) -> int:
        """Return the index of a block to overwrite: the one given back last, or a new one."""
        if self._free:
            return self._free.pop()
        self.blocks += 1
        return self.blocks - 1

    def give_back(self, block: int) -> None:
        """Mark a block as free."""
        self._free.append(block)

    def write(self, block: int, offset: int, data: memoryview) -> None:
        """Write `data` into a block, from the byte `offset` on."""
        file = self._at(block, offset)
        while data:
            data = data[file.write(data) :]

    def read(self, block: int, offset: int, data: memoryview) -> None:
        """Fill `data` from a block, from the byte `offset` on."""
        file = self._at(block, offset)
        while data:
            data = data[file.readinto(data) :]

    def _at(self, block: int, offset: int) -> FileIO:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0, dir=self.folder)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        self._file.seek(block * BLOCK_BYTES + offset)
        return self._file


class FileStore(Store):
    """A map in the blocks of a `SpillFile`.

    The file is not memory-mapped, since mapped pages would count as memory of the process.
    """

    def __init__(
        self, meta: Tensor, axis: int, height: int, device: torch.device, file: SpillFile
    ) -> None:
        super().__init__(meta, axis, height, device)
        self._row_bytes = meta.nbytes // height
        self._file = file
        self._blocks: dict[int, int] = {}  # block of the map -> block of the file
        self._read_from: int | None = None  # first row read since the last `forget_passed`
        self._forgotten = 0  # blocks that were freed, counted from the top of the map
        weakref.finalize(self, _give_back, file, self._blocks)

    def write(self, start: int, part: Tensor) -> None:
        """Store `part`, the rows from `start` on.

        Raises:
            MemoryBudgetError: If the disk is full.
        """
        rest = _bytes_of(part.permute(self.order).contiguous().cpu())
        try:
            for number, offset, length in _pieces(start * self._row_bytes, len(rest)):
                if number not in self._blocks:
                    self._blocks[number] = self._file.take()
                self._file.write(self._blocks[number], offset, rest[:length])
                rest = rest[length:]
        except OSError as error:
            raise MemoryBudgetError(
                f"a map of this canvas does not fit on the disk ({error.strerror}); take a smaller "
                "size, a larger memory budget or a folder with more room."
            ) from error

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows [start, stop), in the layout of the map."""
        self._read_from = start if self._read_from is None else min(start, self._read_from)
        shape = [(stop - start) * self.per_row, *self.inner[1:]]
        data = torch.empty(shape, dtype=self.dtype)
        rest = _bytes_of(data)
        for number, offset, length in _pieces(start * self._row_bytes, len(rest)):
            self._file.read(self._blocks[number], offset, rest[:length])
            rest = rest[length:]
        return data.to(self.device).permute(self.back)

    def forget_passed(self) -> None:
        """Free the blocks above the rows read since the last call; they will not be read again."""
        passed = (self._read_from or 0) * self._row_bytes // BLOCK_BYTES
        for number in range(self._forgotten, passed):
            self._file.give_back(self._blocks.pop(number))
        self._forgotten = max(self._forgotten, passed)
        self._read_from = None


def _give_back(file: SpillFile, blocks: dict[int, int]) -> None:
    for block in blocks.values():
        file.give_back(block)


def _pieces(start: int, nbytes: int) -> Iterator[tuple[int, int, int]]:
    """Split a range of a map's bytes by blocks: (index of the block, offset in it, length)."""
    stop = start + nbytes
    while start < stop:
        number, offset = divmod(start, BLOCK_BYTES)
        length = min(BLOCK_BYTES - offset, stop - start)
        yield number, offset, length
        start += length


def _row_major(dims: int, axis: int, *, is_picture: bool) -> list[int]:
    """Return the order of dimensions in a store: rows first, the channels of a picture last.

    The tokens of several heads have four dimensions too. They are not reordered: attention needs
    the values of a token side by side, otherwise it takes memory for every pair of tokens.
    """
    others = [i for i in range(dims) if i != axis]
    if is_picture and dims == 4 and axis == 2:
        others = [0, 3, 1]  # (rows, B, columns, C): channels-last, the fastest for convolutions
    return [axis, *others]


def _bytes_of(data: Tensor) -> memoryview:
    return memoryview(data.flatten().view(torch.uint8).numpy())
