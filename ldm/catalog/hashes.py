"""SHA-256 of weight files, for downloads and for a picture's metadata."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from ldm.catalog.schema import Preset
from ldm.checkpoints.parts import files_of
from ldm.errors import PresetError

CHUNK_BYTES = 1 << 20
WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def weights_sha256(preset: Preset) -> str:
    """Return one hash for all weight files of a preset: of the single file, or of all hashes.

    Hashes are cached in the process; a changed file is read again.

    Raises:
        PresetError: If a weight file is missing.
    """
    try:
        digests = [_cached(*stamp) for stamp in weight_stamps(preset)]
    except OSError as error:
        raise PresetError(f"{preset.name} has no weights at {error.filename}.") from error
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def weight_stamps(preset: Preset) -> tuple[tuple[Path, int, int], ...]:
    """Return (path, bytes, modification time in ns) of every weight file, to detect changes.

    Raises:
        OSError: If a file is missing.
    """
    files = [file for path in preset.weight_paths for file in _files(path)]
    return tuple((file, (at := file.stat()).st_size, at.st_mtime_ns) for file in files)


def _files(path: Path) -> list[Path]:
    """List the file or its parts, or the weight files of a diffusers folder sorted by name."""
    if not path.is_dir():
        return [*files_of(path)]
    return sorted(file for file in path.rglob("*") if file.suffix in WEIGHT_SUFFIXES)


@lru_cache(maxsize=64)
def _cached(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_of(path)
