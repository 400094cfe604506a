"""Conversion of checkpoints of any format to `.safetensors`, a format that cannot hold code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError
from ldm.files import put_in_place

MOST_TIMES = 4  # the size of a file's weights without sharing; inpainting files share a few
HEADER = "__metadata__"  # reserved name of the format, for facts about the file


def convert(checkpoint: str | Path, out: str | Path) -> Path:
    """Write every weight of a checkpoint, under its own name, as safetensors.

    Args:
        checkpoint: A path that `read_checkpoint` reads; it is not changed.
        out: The new file, ending in `.safetensors`; it is written whole or not at all.

    Returns:
        `out`.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or `out` has another suffix, exists or
            cannot be written.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    check_new(out)
    return write_safetensors(read_checkpoint(checkpoint), out, checkpoint)


def write_safetensors(tensors: Mapping[str, Tensor], out: Path, source: Path) -> Path:
    """Write weights that came from a file `source`; `out` is written whole or not at all.

    Raises:
        CheckpointError: If `out` has another suffix than `.safetensors`, exists or cannot be
            written, or the weights claim more memory than they have.
    """
    check_new(out)
    tensors = _unshared(tensors, source)
    part = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata={"source": source.name})
        put_in_place(part, out)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        # KeyError: a dtype that the format lacks; ValueError: a name that cannot be encoded
        with suppress(OSError):
            part.unlink(missing_ok=True)
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{out} cannot be written ({reason}).") from error
    return out


def check_new(out: Path) -> None:
    """Refuse a path that cannot become a new file.

    Raises:
        CheckpointError: If it has another suffix than `.safetensors`, or exists.
    """
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out} should end in .safetensors.")
    if os.path.exists(out):  # False for names that the system refuses; Path.exists would raise
        raise CheckpointError(f"{out} exists already; delete it or choose another name.")


def _unshared(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Make all tensors contiguous, with memory of their own; inpainting files share some."""
    seen: set[int] = set()
    own = {}
    # any number of names may share a storage, and strides of 0 repeat a value any number of times
    storages = [tensor.untyped_storage() for tensor in tensors.values()]
    has = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    claimed = sum(tensor.nbytes for tensor in tensors.values())
    if claimed > MOST_TIMES * has:
        raise CheckpointError(
            f"{source} claims {claimed} bytes of weights and has {has}; do not use it."
        )
    if HEADER in tensors:
        raise CheckpointError(
            f"{source} holds a weight {HEADER!r}, a name that .safetensors has no place for."
        )
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        is_whole = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes
        if is_whole and storage.data_ptr() not in seen:
            own[name] = tensor.detach()
        else:
            own[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return own
