"""Bounded folders: the oldest files go when all of them take too much of the disk.

For a page that many share: whatever strangers make or upload, the disk does not fill.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

EVERY = 30.0  # s between two looks at the folders

log = logging.getLogger(__name__)


def trim(folder: Path, most: int, spared: Container[Path] = ()) -> int:
    """Delete the oldest files under a folder until the rest take at most `most` bytes.

    Folders that become empty go, too. What cannot be deleted stays, and does not stop the rest.

    Args:
        folder: The folder, which need not exist.
        most: Bytes that the files may take.
        spared: Files that neither count nor go.

    Returns:
        The bytes that the rest takes.
    """
    files = sorted(about for about in _files(folder) if about[2] not in spared)
    total, emptied = sum(size for _, size, _ in files), set()
    before = total
    for _, size, path in files:
        if total <= most:
            break
        with suppress(OSError):
            path.unlink()
            emptied.add(path.parent)
            total -= size
    if total < before:
        log.info("%s: the oldest %d bytes are gone", folder, before - total)
    for parent in emptied - {folder}:
        with suppress(OSError):  # it is not empty
            parent.rmdir()
    return total


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Yield (time of its last change in s, bytes, path) of every file and link under a folder."""
    for path in folder.rglob("*"):
        with suppress(OSError):  # it has gone meanwhile
            about = path.lstat()
            if not path.is_dir() or path.is_symlink():
                yield about.st_mtime, about.st_size, path


class Keeper:
    """A thread that keeps folders within a limit until it is closed.

    Args:
        folders: The folders, which need not exist.
        most: Bytes that each may take.
        spared: Files that neither count nor go.
    """

    def __init__(self, folders: Sequence[Path], most: int, spared: Container[Path] = ()) -> None:
        self._folders, self._most, self._spared = folders, most, spared
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            for folder in self._folders:
                try:
                    trim(folder, self._most, self._spared)
                except Exception:
                    log.exception("%s could not be kept within its limit", folder)
            if self._closed.wait(EVERY):
                return
