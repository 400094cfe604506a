"""A weight file, or the parts that it lies in: hosts of repositories refuse large files.

`model.safetensors` may lie as `model-00001-of-00002.safetensors` and its fellow, the usual names.
This module needs no torch.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
from collections.abc import Mapping
from pathlib import Path

MAX_PART_BYTES = 9_900_000  # Hugging Face takes 10 MB without git-lfs; the header comes to this


def files_of(path: Path) -> tuple[Path, ...]:
    """The file itself; where it is not there, all of its parts, in order.

    Just the path where neither is there, or where a part is missing.
    """
    if not os.path.exists(path):
        pattern = f"{glob.escape(path.stem)}-?????-of-?????{glob.escape(path.suffix)}"
        with contextlib.suppress(OSError):  # there is no such folder, or it is closed
            names = fnmatch.filter(os.listdir(path.parent), pattern)
            parts = [path.with_name(name) for name in sorted(names)]
            if parts and parts == names_of(path, len(parts)):
                return tuple(parts)
    return (path,)


def is_there(path: Path) -> bool:
    """Whether the file is there, or all of its parts."""
    return all(os.path.exists(file) for file in files_of(path))


def names_of(path: Path, count: int) -> list[Path]:
    """What the parts of a file are called."""
    return [
        path.with_name(f"{path.stem}-{number:05}-of-{count:05}{path.suffix}")
        for number in range(1, count + 1)
    ]


def divided(sizes: Mapping[str, int], largest: int = MAX_PART_BYTES) -> list[list[str]]:
    """Names in their order, in as few parts as they fill without sorting; a large one has its own.

    Args:
        sizes: Name -> bytes.
        largest: Bytes of a part.
    """
    parts: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if parts[-1] and filled + size > largest:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += size
    return parts
