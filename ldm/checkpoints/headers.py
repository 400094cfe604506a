"""What a weight file tells before its weights are read: that it is whole, and what it names.

The same checks come before a model is listed and before it is loaded. This module needs no torch.
"""

from __future__ import annotations

import json
import stat
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ldm.errors import CheckpointError

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
SAFE_SUFFIX = ".safetensors"
SUFFIXES = (*PICKLE_SUFFIXES, SAFE_SUFFIX)
# a header of a hundred thousand weights; the format allows 100 MB, which take far more when parsed
MAX_HEADER_BYTES = 16 * 1024 * 1024
START_BYTES = 512
ARCHIVE_MAGIC = b"PK"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch before 1.6
_ABOUT = "__metadata__"  # what a header says of the whole file
_UNREADABLE = (
    *(ValueError, ArithmeticError, RecursionError),
    *(AttributeError, LookupError, TypeError),
)
_HTML = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")

_T = TypeVar("_T")


def names_in(path: Path) -> dict[str, Any]:
    """Check that a weight file is whole, and return what its header says of each weight.

    Returns:
        Name -> its `dtype`, `shape` and `data_offsets`, which may be any JSON but for the last;
        nothing for a pickled file, which names its weights only when it is read.

    Raises:
        CheckpointError: If the file cannot be read, is none of weights, or is cut off.
    """
    start = checked_start(path)
    if path.suffix.lower() == SAFE_SUFFIX:
        return header_of(path, start)
    check_pickle(path, start)
    return {}


def joined(parts: Iterable[tuple[Path, Mapping[str, _T]]]) -> dict[str, _T]:
    """Join what the files of one model hold, by the weights' names.

    Raises:
        CheckpointError: If two files hold the same weight.
    """
    whole: dict[str, _T] = {}
    for path, part in parts:
        if twice := whole.keys() & part.keys():
            raise CheckpointError(
                f"{path} holds the weight {min(twice)!r:.120} once more, which another file beside "
                "it has; download both again."
            )
        whole |= part
    return whole


def checked_start(path: Path) -> bytes:
    """Return the first START_BYTES of what may be a weight file by its name and its start.

    Raises:
        CheckpointError: If it is none, or cannot be read.
    """
    start = _start_of(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(
            f"{path} is no weight file by its name; it should end in {', '.join(SUFFIXES)}."
        )
    if refusal := _not_weights(start):
        raise CheckpointError(f"{path} {refusal}")
    return start


def check_pickle(path: Path, start: bytes) -> None:
    """Check that a file, whose first bytes are `start`, is one that `torch.save` wrote, to its end.

    Raises:
        CheckpointError: If it is not.
    """
    if start[8:9] == b"{":
        raise CheckpointError(f"{path} is a safetensors file; rename it to end in .safetensors.")
    if start.startswith(ARCHIVE_MAGIC):
        if not zipfile.is_zipfile(path):  # its table of contents is at its end
            raise CheckpointError(f"{path} is cut off or damaged; download it again.")
    elif start[:1] != b"\x80":
        raise CheckpointError(f"{path} is no checkpoint; download it again.")
    elif not start.startswith(LEGACY_MAGIC):
        raise CheckpointError(
            f"{path} is a plain pickle, which could run any code; ask for a .safetensors file."
        )


def header_of(path: Path, start: bytes) -> dict[str, Any]:
    """Read the header of a `.safetensors` file, whose first bytes are `start`.

    Raises:
        CheckpointError: If it has none or is shorter than its header says; each fault has a
            sentence of its own.
    """
    size = path.stat().st_size
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else None
    if length is None or start[8:9] != b"{":
        if start.startswith(ARCHIVE_MAGIC) or start[:1] == b"\x80":
            raise CheckpointError(f"{path} is a pickled checkpoint; rename it to end in .ckpt.")
        raise CheckpointError(f"{path} is no safetensors file; download it again.")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path} claims a header of {length} bytes, at most {MAX_HEADER_BYTES} are allowed; "
            "do not use it."
        )
    if length > size - 8:
        raise CheckpointError(f"{path} is cut off inside its header; download it again.")
    entries, end = _entries(path, length)
    if end > size - 8 - length:
        raise CheckpointError(
            f"{path} is cut off: {size} of {8 + length + end} bytes are there; download it again."
        )
    return entries


def _entries(path: Path, length: int) -> tuple[dict[str, Any], int]:
    """Return what the header says of each weight, and where the last one ends behind it."""
    with path.open("rb") as file:
        file.seek(8)
        try:
            entries = {k: e for k, e in json.loads(file.read(length)).items() if k != _ABOUT}
            return entries, max((int(e["data_offsets"][1]) for e in entries.values()), default=0)
        except _UNREADABLE:
            raise CheckpointError(f"{path} has an unreadable header; download it again.") from None


def _start_of(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise CheckpointError(f"{path} is no file; give the path of a weight file.")
        with path.open("rb") as file:
            return file.read(START_BYTES)
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
