"""Which files of a diffusers folder are its weights: one choice, to list it and to load it.

A pipeline's folder holds a sub-folder per part, and a part may hold its weights in several forms at
once. The first one that is there is read: full precision before half, averaged weights (EMA) before
`non_ema`, and of each `.safetensors` before `.bin`; in one file, or in several that an index names.
An index comes from anybody, so that it may only name files beside it. This module needs no torch.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from ldm.checkpoints.headers import SAFE_SUFFIX, joined, names_in
from ldm.checkpoints.parts import files_of
from ldm.errors import CheckpointError

PIPELINE_NAME = "model_index.json"
CONFIG_NAME = "config.json"
VARIANTS = ("", ".fp16", ".bf16", ".non_ema")  # the library's `variant`; a file without one is full
_FORMS = (
    ("diffusion_pytorch_model", ".safetensors"),
    ("model", ".safetensors"),
    ("diffusion_pytorch_model", ".bin"),
    ("pytorch_model", ".bin"),
)
FIRST_STAGE_FOLDERS = ("vqvae", "vae")
BERT_FOLDER, CLIP_FOLDER = "bert", "text_encoder"
MAX_CONFIG_BYTES = 256 * 1024
MAX_INDEX_BYTES = 4 * 1024 * 1024  # of tens of thousands of weights; a UNet has under a thousand
MAX_WEIGHTS = 100_000  # of one part


def unet_folder(folder: Path) -> Path:
    """Return the sub-folder of a pipeline that holds its UNet."""
    return folder / "unet"


def first_stage_folder(folder: Path) -> Path:
    """Return the sub-folder of a pipeline that holds its autoencoder.

    Raises:
        CheckpointError: If there is none.
    """
    if (found := _first_there(folder, FIRST_STAGE_FOLDERS)) is None:
        raise CheckpointError(
            f"{folder} has no folder {' or '.join(FIRST_STAGE_FOLDERS)}, which holds the first "
            "stage; download the whole folder."
        )
    return found


def text_folder(folder: Path) -> Path | None:
    """Return the sub-folder of a pipeline that holds its text transformer; None: it has none."""
    return _first_there(folder, (BERT_FOLDER, CLIP_FOLDER))


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return all weight files of a pipeline's folder, or of that of a first stage alone.

    Every file is there and as long as its header says, and together they hold each weight once.
    Results are cached as long as no file changes.

    Raises:
        CheckpointError: If a part has no weights, or a file is missing or damaged.
    """
    parts = [folder]
    if os.path.isfile(folder / PIPELINE_NAME):
        parts = [unet_folder(folder), first_stage_folder(folder), text_folder(folder)]
    return tuple(file for part in parts if part is not None for file in part_files(part))


def part_files(folder: Path) -> tuple[Path, ...]:
    """Return the weight files of one part's folder; see `weight_files`."""
    index: Path | None = None
    for variant, (stem, suffix) in product(VARIANTS, _FORMS):
        path = folder / f"{stem}{variant}{suffix}"
        index_path = folder / f"{stem}{suffix}.index{variant}.json"
        if os.path.isfile(path):
            return _checked((path,), None)
        if os.path.isfile(index_path):
            files = _indexed(index_path, suffix)
            if any(os.path.exists(file) for file in files):
                return _checked(files, index_path)
            # who fetches one variant alone often has the other's index, which is small
            index = index or index_path
        elif (path,) != (files := files_of(path)):
            return _checked(files, None)
    raise CheckpointError(_lacking(folder, index))


def read_json(path: Path, most: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Read a configuration in JSON, of at most `most` bytes.

    Raises:
        CheckpointError: If the file is missing, too large or no JSON object.
    """
    try:
        about = path.stat()
        if about.st_size > most:
            raise CheckpointError(f"{path} is larger than any configuration; get another copy.")
        if not stat.S_ISREG(about.st_mode):  # reading a pipe would block
            raise OSError
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{path} is missing or no JSON; download the whole folder.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no JSON object; download the whole folder.")
    return values


def _first_there(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if os.path.isdir(folder / name)), None)


def _lacking(folder: Path, index: Path | None) -> str:
    if index is not None:
        return f"{index} names weights of which no file is there; download the whole folder."
    usual = f"{_FORMS[0][0]}{_FORMS[0][1]}"
    others = ", ".join(f"{_FORMS[0][0]}{variant}{_FORMS[0][1]}" for variant in VARIANTS[1:])
    return (
        f"{folder} has no {usual} or other weight file that is known (in another form {others}, "
        "or with an index of several); download the whole folder."
    )


def _places(index: Path) -> Mapping[str, Any]:
    """Return weight -> name of its file, as an index says."""
    places = read_json(index, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index} names no weights; download the whole folder.")
    return places


def _indexed(index: Path, suffix: str) -> tuple[Path, ...]:
    """Return the files that an index names; none of them outside of its folder."""
    about = index.stat()
    return _named(index, suffix, (about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=256)  # as for `_check`
def _named(index: Path, suffix: str, _stamp: tuple[int, int]) -> tuple[Path, ...]:
    named = _places(index).values()
    names = sorted({name if isinstance(name, str) else type(name).__name__ for name in named})
    for name in names:
        if set(name) & set("/\\:\0") or not name.endswith(suffix):
            raise CheckpointError(
                f"{index} names the file {name!r:.80}; it must be one beside the index, without a "
                f"folder, that ends in {suffix}."
            )
    return tuple(index.with_name(name) for name in names)


def _checked(files: tuple[Path, ...], index: Path | None) -> tuple[Path, ...]:
    if missing := [file for file in files if not os.path.exists(file)]:
        name = missing[0].name
        raise CheckpointError(
            f"{index} names {name!r:.120}, which is not there; download the whole folder."
        )
    try:
        at = [path.stat() for path in (*files, *([index] if index else []))]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{error.filename} cannot be read ({reason}).") from None
    _check(files, index, tuple((about.st_size, about.st_mtime_ns) for about in at))
    return files


@lru_cache(maxsize=256)  # all are looked at whenever models are listed
def _check(files: tuple[Path, ...], index: Path | None, _stamps: tuple[Any, ...]) -> None:
    """Check that files are whole, and hold each weight once and where the index says."""
    held: dict[Path, dict[str, Any]] = {}
    for file in files:
        held[file] = names_in(file)
        if sum(map(len, held.values())) > MAX_WEIGHTS:  # each file's header has a limit of its own
            raise CheckpointError(
                f"{file} and the files beside it hold more than {MAX_WEIGHTS} weights, at most so "
                "many are allowed; do not use them."
            )
    joined(held.items())
    places = _places(index) if index is not None else {}
    for weight, name in places.items():
        file = index.with_name(name)
        # a pickled file says only when it is read what it holds
        if file.suffix == SAFE_SUFFIX and weight not in held[file]:
            raise CheckpointError(
                f"{index} names {weight!r:.120} in {name}, which has no such weight; "
                "download the whole folder."
            )
