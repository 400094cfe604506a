"""Reading of weight files: `.ckpt`, `.safetensors` and diffusers folders, mapped into memory.

Nothing that a file names is ever imported or called, and tensors are mapped from the file until
they are used, not copied.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ldm.checkpoints.diffusers import read_diffusers
from ldm.checkpoints.headers import SAFE_SUFFIX, checked_start, header_of, joined
from ldm.checkpoints.parts import files_of
from ldm.checkpoints.pickles import read_pickle
from ldm.errors import CheckpointError

LARGE_BYTES = 2**26  # from this size on, reading a file before it is mapped saves time
BLOCK_BYTES = 2**20  # bytes that are read ahead at a time
PROBES = 64  # offsets of a file that are probed to tell whether it is in the page cache


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read every weight of a checkpoint under the names that the file gives them.

    Args:
        path: A `.ckpt`, `.pt`, `.pth`, `.bin` or `.safetensors` file, which may be split into parts
            (see `ldm.checkpoints.parts`), or a diffusers folder, whose names are converted to the
            published ones.

    Returns:
        Name -> CPU tensor, mapped from the file; writing into one does not change the file.

    Raises:
        CheckpointError: If the file cannot be read; one line that names it, the fault and a remedy.
    """
    path = Path(path)
    if os.path.isdir(path):  # False for names that the system refuses; Path.is_dir may raise
        return read_diffusers(path, read_files)
    return read_files(files_of(path))


def read_files(paths: Iterable[Path]) -> dict[str, Tensor]:
    """`read_checkpoint` for the files of one model, each of which holds some of its weights."""
    return joined((path, read_file(path)) for path in paths)


def read_file(path: Path) -> dict[str, Tensor]:
    """`read_checkpoint` for one file; see there."""
    start = checked_start(path)
    if path.stat().st_size >= LARGE_BYTES:
        _read_ahead(path)
    if path.suffix.lower() == SAFE_SUFFIX:
        return _read_safetensors(path, start)
    return read_pickle(path, start)


def _read_ahead(path: Path) -> None:
    """Read a file sequentially into the page cache, unless it is there.

    Otherwise the mapped pages would be read one by one when used, which takes twice as long.
    """
    buffer = bytearray(BLOCK_BYTES)
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        if _is_in_memory(file.fileno(), path.stat().st_size):
            return
        while file.readinto(buffer):
            pass


def _is_in_memory(file: int, size: int) -> bool:
    """Whether PROBES offsets of a file are in the page cache; False if this is not known."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    places = (size * i // PROBES for i in range(PROBES))
    try:
        return all(os.preadv(file, [bytearray(1)], place, os.RWF_NOWAIT) for place in places)
    except OSError:  # a read would have to wait for the disk, or the file system cannot tell
        return False


def _read_safetensors(path: Path, start: bytes) -> dict[str, Tensor]:
    header_of(path, start)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{path} is a damaged safetensors file ({reason}); download it again."
        ) from None
