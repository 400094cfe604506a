"""What outlives a run: the snapshot to resume from, and the weight file that the project ships."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ldm.checkpoints.parts import divided, files_of, is_there, names_of
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import TrainingError

FIRST_CONVOLUTION = "unet.input_blocks.0.0.weight"


def save_snapshot(path: Path, state: Mapping[str, Any]) -> None:
    """Write a snapshot so that a kill at any moment leaves either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot; only tensors and plain values are accepted.

    Raises:
        TrainingError: If the file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path} is no usable snapshot; delete it to start anew.") from error


def warm_start(model: nn.Module, path: Path, rename: Callable[[str], str] = str) -> bool:
    """Start from shipped weights where there are any, so that a later day can go on from them.

    Args:
        model: Takes the weights, in its own precision.
        path: A shipped weight file.
        rename: The model's parameter name -> the file's.

    Returns:
        Whether there were any.

    Raises:
        CheckpointError: If the file cannot be read.
        TrainingError: If it belongs to another architecture.
    """
    if not is_there(path):
        return False
    tensors = read_checkpoint(path)
    state = model.state_dict()
    for name, value in state.items():
        stored = tensors.get(rename(name))
        if stored is None or stored.shape != value.shape:
            raise TrainingError(f"{path} is of another architecture at {name}; move it away.")
        value.copy_(stored)
    return True


def start_alike(
    model: nn.Module,
    path: Path,
    latent_channels: int = 0,
    rename: Callable[[str], str | None] = str,
) -> int:
    """Start a model from the weights of a relative: all of the same name and shape.

    The first convolution takes the latents' part where the relative's condition has other
    channels; those of the new condition start at zero, so it is at first not looked at.

    Args:
        model: Takes the weights, in its own precision.
        path: A shipped weight file of another model.
        latent_channels: Of a denoiser, the first inputs, which mean the same in both.
        rename: The model's parameter name -> the file's; None: it has none like it.

    Returns:
        How many weights were taken.

    Raises:
        CheckpointError: If the file cannot be read.
        TrainingError: If it is missing.
    """
    if not is_there(path):
        raise TrainingError(f"{path} is missing; train it first.")
    tensors = read_checkpoint(path)
    taken = 0
    for name, value in model.state_dict().items():
        stored = tensors.get(rename(name))
        if stored is None:
            continue
        if stored.shape == value.shape:
            value.copy_(stored)
            taken += 1
        elif name == FIRST_CONVOLUTION and stored.shape[0] == value.shape[0]:
            value.zero_()
            value[:, :latent_channels] = stored[:, :latent_channels]
            taken += 1
    return taken


def export_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: dict[str, str],
    largest: int = sys.maxsize,
) -> None:
    """Write a shipped weight file: float16 safetensors, atomically if it is one.

    Args:
        path: Where to; what lies there under this name is replaced.
        tensors: By name.
        metadata: For the file's header.
        largest: Bytes of a file; larger weights are written in parts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {name: _half(tensor) for name, tensor in tensors.items()}
    parts = divided({name: tensor.nbytes for name, tensor in half.items()}, largest)
    files = [path] if len(parts) == 1 else names_of(path, len(parts))
    before = set(files_of(path)) - set(files)
    for file, names in zip(files, parts, strict=True):
        made = file.with_suffix(".part")
        save_file({name: half[name] for name in names}, made, metadata)
        made.chmod(0o644)  # safetensors makes it private, but it is there to be shipped
        os.replace(made, file)
    for file in before:
        file.unlink(missing_ok=True)


def _half(tensor: Tensor) -> Tensor:
    """A copy in float16; single numbers keep their precision."""
    dtype = torch.float16 if tensor.ndim else torch.float32
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()
