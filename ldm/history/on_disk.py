"""The pictures in the subfolders of a folder, one for each day."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ldm.errors import LDMError

LATEST = 2**63 - 1  # ns since 1970: the largest number that an index can hold


def pictures(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the pictures in subfolders as (path relative to `folder`, time of writing in ns)."""
    for day, entry in files(folder):
        if (made := _written(entry)) is not None:
            yield f"{day.name}/{entry.name}", made


def files(folder: Path) -> Iterator[tuple[os.DirEntry[str], os.DirEntry[str]]]:
    """Yield (subfolder, entry) for every name in a subfolder that ends in ".png"."""
    for day in _entries(folder):
        if _is_text(day.name) and day.is_dir():
            yield from ((day, one) for one in _entries(Path(day.path)) if one.name.endswith(".png"))


def move(path: Path, target: Path) -> None:
    """Move a file to a path where there is none yet.

    Raises:
        LDMError: If it cannot be moved; in one sentence.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise FileExistsError(errno.EEXIST, "there is another file of this name")
        path.rename(target)
    except OSError as error:
        reason = error.strerror or error
        raise LDMError(f"{path.name} cannot be moved to {target.parent}: {reason}.") from error


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List the entries of a folder; empty if it is gone or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _written(entry: os.DirEntry[str]) -> int | None:
    """Return when a picture was written, in ns; None if it is no picture or is gone meanwhile.

    An empty file only reserves the name of a picture that is still to be written.
    """
    try:
        about = entry.stat()
    except OSError:
        return None
    is_one = _is_text(entry.name) and about.st_size and stat.S_ISREG(about.st_mode)
    return max(-LATEST, min(about.st_mtime_ns, LATEST)) if is_one else None


def _is_text(name: str) -> bool:
    """Whether a file name is valid Unicode; on a disk, it may consist of any bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
