"""Weight files that are split into parts, since hosts of repositories refuse large files.

`model.safetensors` may be stored as `model-00001-of-00002.safetensors` and
`model-00002-of-00002.safetensors`, which are the usual names. This module needs no torch.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
from collections.abc import Mapping
from pathlib import Path

MAX_PART_BYTES = 9_900_000  # without header; Hugging Face accepts 10 MB without git-lfs


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the file itself or, if it does not exist, all of its parts in order.

    If neither exists, or a part is missing, only the path of the file is returned.
    """
    if not os.path.exists(path):
        pattern = f"{glob.escape(path.stem)}-?????-of-?????{glob.escape(path.suffix)}"
        with contextlib.suppress(OSError):  # the folder does not exist or cannot be read
            names = fnmatch.filter(os.listdir(path.parent), pattern)
            parts = [path.with_name(name) for name in sorted(names)]
            if parts and parts == names_of(path, len(parts)):
                return tuple(parts)
    return (path,)


def is_there(path: Path) -> bool:
    """Whether the file or all of its parts exist."""
    return all(os.path.exists(file) for file in files_of(path))


def names_of(path: Path, count: int) -> list[Path]:
    """Return the paths of a file's parts."""
    return [
        path.with_name(f"{path.stem}-{number:05}-of-{count:05}{path.suffix}")
        for number in range(1, count + 1)
    ]


def divided(sizes: Mapping[str, int], largest: int = MAX_PART_BYTES) -> list[list[str]]:
    """Divide weights into parts in their given order; a weight over `largest` gets its own part.

    Args:
        sizes: Name of a weight -> bytes.
        largest: Most bytes of a part of several weights.
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
