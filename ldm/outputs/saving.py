"""Saving of finished pictures: each is a new file, written atomically."""

from __future__ import annotations

import itertools
import re
import secrets
import textwrap
import unicodedata
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ldm.errors import LDMError
from ldm.events import Frame, Result
from ldm.outputs import metadata
from ldm.outputs.titles import headline, subject
from ldm.requests.progression import Progression

SECRET_BYTES = 8  # of a name that cannot be guessed
MAX_NAME = 40  # characters of what is seen


def save_pictures(
    result: Result, folder: Path, weights_sha256: str, is_secret: bool = False
) -> Result:
    """Write each picture as a new file; return the result with their paths.

    The file names are made of the time, what is seen and the seed, and if they are to be secret of
    random characters as well. If writing fails half-way, the result holds what was saved, with a
    note.

    Raises:
        LDMError: If no picture can be written.
    """
    paths: list[Path] = []
    made = list(zip(result.requests, result.images, strict=True))
    time = datetime.now().strftime("%H%M%S")
    try:
        for request, image in made:
            stem = "-".join(filter(None, (time, _words(subject(request)), str(request.seed))))
            stem += f"-{secrets.token_hex(SECRET_BYTES)}" if is_secret else ""
            paths.append(_saved(folder, image, request, weights_sha256, stem))
    except OSError as error:
        if not paths:
            raise unwritable(folder, error) from error
        number = len(paths)
        note = f"Only {number} of {len(made)} pictures could be saved: {error.strerror or error}."
        kept = {"requests": result.requests[:number], "images": result.images[:number]}
        result = replace(result, **kept, notes=(*result.notes, note))
    return replace(result, paths=tuple(paths))


def save_sheet(image: np.ndarray, first: Result, folder: Path, comparison: Any) -> Path:
    """Write a sheet of compared pictures.

    Args:
        image: The sheet, (H, W, 3) uint8.
        first: Saved result of its first picture; the sheet takes over its request and weights hash.
        folder: Folder to write to.
        comparison: The comparison that it is of.

    Raises:
        LDMError: If it cannot be written.
    """
    weights = metadata.load(first.paths[0]).weights_sha256
    about = {"compared": comparison.record(), "title": subject(comparison)}
    about["stem"] = f"{first.paths[0].stem}-compared"
    try:
        return _saved(folder, image, first.requests[0], weights, **about)
    except OSError as error:
        raise unwritable(folder, error) from error


def save_steps(
    result: Result, progression: Progression, frames: list[Frame], is_secret: bool = False
) -> Result:
    """Write a sheet of a saved picture's steps beside it, and rewrite its file as a film of them.

    Unless files are secret, an equal picture of the same day takes the place of the new one. If
    something fails, the result holds what was written, with a note.
    """
    result = replace(result, estimate=None)  # it covers the picture alone
    request, picture, path = result.requests[0], result.images[0], result.paths[0]
    try:
        record = metadata.load(path)
        twin = None if is_secret else _twin(path, record)
        if twin is not None:
            path.unlink()
            path = twin
            result = replace(result, paths=(path,))
        weights = record.weights_sha256
        sheet = progression.sheet(frames, picture, headline([request]))
        about = {"stem": f"{path.stem}-steps", "frames": progression.frames}
        beside = _saved(path.parent, sheet, request, weights, **about)
    except (OSError, MemoryError, LDMError) as error:
        return _noted(result, "There is no sheet of its steps", error)
    requests = (request, replace(progression, request=request))
    result = replace(result, requests=requests, images=(picture, sheet), paths=(path, beside))
    try:
        film = progression.film(frames, picture)
        if film:
            metadata.save(path, picture, request, weights, film=film, title=subject(request))
    except (OSError, MemoryError) as error:
        return _noted(result, "Its file does not play its steps", error)
    return result


def _twin(path: Path, record: metadata.Record) -> Path | None:
    """Find the newest other file of an equal picture in its folder; names hold the seed."""
    for other in sorted(path.parent.glob(f"*-{record.request.seed}-*.png"), reverse=True):
        with suppress(LDMError):
            if other != path and _is_equal(metadata.load(other), record):
                return other
    return None


def _is_equal(one: metadata.Record, other: metadata.Record) -> bool:
    """Whether two records are of one picture, which the same versions of libraries made."""
    same = one.made == other.made and one.weights_sha256 == other.weights_sha256
    return same and one.versions == other.versions


def _noted(result: Result, what: str, error: Exception) -> Result:
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, MemoryError):
        why = "there is not enough memory"
    return replace(result, notes=(*result.notes, f"{what}: {why.rstrip('.')}."))


def _words(title: str) -> str:
    """The first words of a title in a-z and 0-9, for a file name; "" if it has none."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.findall("[a-z0-9]+", plain)
    return textwrap.shorten(" ".join(words), MAX_NAME, placeholder="").replace(" ", "-")


def _saved(
    folder: Path, image: Any, request: Any, weights_sha256: str, stem: str, **about: Any
) -> Path:
    path = new_path(folder, stem)
    about = {"title": subject(request)} | about
    try:
        metadata.save(path, image, request, weights_sha256, **about)
    except BaseException:
        path.unlink()  # the file that reserves the name is empty
        raise
    return path


def unwritable(folder: Path, error: OSError) -> LDMError:
    """Return the error for a folder that no picture can be saved in."""
    return LDMError(f"no picture can be saved in {folder}: {error.strerror or error}.")


def new_path(folder: Path, stem: str) -> Path:
    """Reserve a PNG path that no process uses: `<stem>-<n>.png`.

    The empty file that reserves the name is replaced when `metadata.save` has written the picture.
    """
    for number in itertools.count(1):
        path = folder / f"{stem}-{number}.png"
        try:
            path.touch(exist_ok=False)  # atomic
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")
