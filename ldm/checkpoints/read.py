"""Reading of weight files: `.ckpt`, `.safetensors` and diffusers folders, mapped into memory.

Nothing that a file names is ever imported or called, and tensors are mapped from the file until
they are used, not copied.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ldm.checkpoints.diffusers import read_diffusers
from ldm.checkpoints.parts import files_of
from ldm.checkpoints.pickles import read_pickle
from ldm.errors import CheckpointError

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
SUFFIXES = (*PICKLE_SUFFIXES, ".safetensors")
MAX_HEADER_BYTES = 100 * 1024 * 1024  # the limit of the safetensors format
LARGE_BYTES = 2**26  # from this size on, reading a file before it is mapped saves time
BLOCK_BYTES = 2**20  # bytes that are read ahead at a time
PROBES = 64  # offsets of a file that are probed to tell whether it is in the page cache
_HTML = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


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
        return read_diffusers(path, read_file)
    return {name: value for file in files_of(path) for name, value in read_file(file).items()}


def read_file(path: Path) -> dict[str, Tensor]:
    """`read_checkpoint` for one file; see there."""
    start = _start_of(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(
            f"{path} is no weight file by its name; it should end in {', '.join(SUFFIXES)}."
        )
    if refusal := _not_weights(start):
        raise CheckpointError(f"{path} {refusal}")
    if path.stat().st_size >= LARGE_BYTES:
        _read_ahead(path)
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path, start)
    if start[8:9] == b"{":
        raise CheckpointError(f"{path} is a safetensors file; rename it to end in .safetensors.")
    return read_pickle(path)


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


def _start_of(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise CheckpointError(f"{path} is no file; give the path of a weight file.")
        with path.open("rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; download or convert it first.") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read ({reason}); check it and its rights."
        ) from None


def _not_weights(start: bytes) -> str | None:
    """Return why a file with this start holds no weights, and what to do; None: it may."""
    # A safetensors file starts with a length, whose first byte may look like text before zeros.
    text = b"" if b"\0" in start[:8] else start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return "is empty; download it again."
    if not start.strip(b"\0"):
        return "holds only zeros, as a broken-off download does; download it again."
    if text.startswith(b"version https://git-lfs"):
        return "is a git-LFS pointer, not the weights; run `git lfs pull` or download the file."
    if text.startswith(_HTML):
        return "is a web page, not weights; download it from the page's own download link."
    if text.startswith((b"{", b"[")):
        return "is a text file, perhaps a server's error message; download it again."
    return None


def _read_safetensors(path: Path, start: bytes) -> dict[str, Tensor]:
    _check_header(path, start)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{path} is a damaged safetensors file ({reason}); download it again."
        ) from None


def _check_header(path: Path, start: bytes) -> None:
    """Check the header's length and text, so that each fault gets a message of its own."""
    size = path.stat().st_size
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else None
    if length is None or start[8:9] != b"{":
        if start[:2] == b"PK" or start[:1] == b"\x80":
            raise CheckpointError(f"{path} is a pickled checkpoint; rename it to end in .ckpt.")
        raise CheckpointError(f"{path} is no safetensors file; download it again.")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path} claims a header of {length} bytes, at most {MAX_HEADER_BYTES} are allowed; "
            "do not use it."
        )
    if length > size - 8:
        raise CheckpointError(f"{path} is cut off inside its header; download it again.")
    with path.open("rb") as file:
        file.seek(8)
        try:
            entries = json.loads(file.read(length))
            end = max(
                (int(e["data_offsets"][1]) for k, e in entries.items() if k != "__metadata__"),
                default=0,
            )
        except (
            ValueError,
            ArithmeticError,
            RecursionError,
            AttributeError,
            LookupError,
            TypeError,
        ):
            raise CheckpointError(f"{path} has an unreadable header; download it again.") from None
    if end > size - 8 - length:
        raise CheckpointError(
            f"{path} is cut off: {size} of {8 + length + end} bytes are there; download it again."
        )
