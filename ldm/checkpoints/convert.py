"""A checkpoint of any format rewritten as `.safetensors`, the format that cannot run anything."""

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

HEADER = "__metadata__"  # what the format says of a file stands under this name


def convert(checkpoint: Path, out: Path) -> Path:
    """Write every weight of a checkpoint, under its own name, as safetensors.

    Args:
        checkpoint: What `read_checkpoint` reads; it is not changed.
        out: Ends in `.safetensors` and does not exist yet; written whole or not at all.

    Returns:
        `out`.

    Raises:
        CheckpointError: If the checkpoint cannot be read or `out` cannot be written.
    """
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out} should end in .safetensors.")
    if os.path.exists(out):  # also of a name that the system refuses
        raise CheckpointError(f"{out} exists already; delete it or choose another name.")
    tensors = _unshared(read_checkpoint(checkpoint), checkpoint)
    part = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata={"source": checkpoint.name})
        os.replace(part, out)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        # KeyError: a kind of number that the format lacks; ValueError: a name that is no text
        with suppress(OSError):
            part.unlink(missing_ok=True)
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{out} cannot be written ({reason}).") from error
    return out


def _unshared(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Contiguous tensors, each with memory of its own; inpainting files name some twice."""
    seen: set[int] = set()
    own = {}
    if HEADER in tensors:
        raise CheckpointError(
            f"{source} holds a weight {HEADER!r}, a name that .safetensors has no place for."
        )
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if tensor.nbytes > storage.nbytes():  # a number that is repeated without end
            raise CheckpointError(
                f"{source} claims {tensor.nbytes} bytes for {name!r:.120} and has "
                f"{storage.nbytes()}; do not use it."
            )
        is_whole = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes
        if is_whole and storage.data_ptr() not in seen:
            own[name] = tensor.detach()
        else:
            own[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return own
