"""SHA-256 of weight files, for downloads and for a picture's metadata."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from ldm.catalog.schema import Preset
from ldm.checkpoints.folders import weight_files
from ldm.checkpoints.parts import files_of
from ldm.errors import CheckpointError, PresetError

CHUNK_BYTES = 1 << 20


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
        PresetError: If a weight file is missing, or one of a diffusers folder is damaged.
    """
    try:
        digests = [_cached(*stamp) for stamp in weight_stamps(preset)]
    except OSError as error:
        raise PresetError(f"{preset.name} has no weights at {error.filename}.") from error
    except CheckpointError as error:
        raise PresetError(str(error)) from error
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def weight_stamps(preset: Preset) -> tuple[tuple[Path, int, int], ...]:
    """Return (path, bytes, modification time in ns) of every weight file, to detect changes.

    Raises:
        OSError: If a file is missing.
        CheckpointError: If one of a diffusers folder is missing or damaged.
    """
    files = [file for path in preset.weight_paths for file in _files(path)]
    return tuple((file, (at := file.stat()).st_size, at.st_mtime_ns) for file in files)


def _files(path: Path) -> list[Path]:
    """List the file or its parts, or the weight files of a diffusers folder sorted by name."""
    return sorted(weight_files(path)) if path.is_dir() else [*files_of(path)]


@lru_cache(maxsize=512)  # a model may lie in many shards
def _cached(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_of(path)
