"""The files of a training run: snapshots to resume from, and exported weight files."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ldm.catalog.compvis import PRESETS_DIR
from ldm.checkpoints.parts import divided, files_of, is_there, names_of
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import TrainingError
from ldm.files import put_in_place

CRITIC_WEIGHTS = PRESETS_DIR / "demo" / "critic.safetensors"
FIRST_CONVOLUTION = "unet.input_blocks.0.0.weight"

log = logging.getLogger(__name__)


def save_snapshot(path: Path, state: Mapping[str, Any]) -> None:
    """Write a snapshot atomically: a kill at any moment leaves either the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    put_in_place(part, path)


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot; only tensors and plain values are accepted.

    Raises:
        TrainingError: If the file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path} is no usable snapshot; delete it to start anew.") from error


def start_equal(model: nn.Module, path: Path, rename: Callable[[str], str] = str) -> None:
    """Load all weights of a model from an exported file.

    Args:
        model: The model to load into; it keeps its precision.
        path: The weight file.
        rename: The model's parameter name -> the file's.

    Raises:
        CheckpointError: If the file cannot be read.
        TrainingError: If it is missing or belongs to another architecture.
    """
    tensors = _exported(path)
    for name, value in model.state_dict().items():
        stored = tensors.get(rename(name))
        if stored is None or stored.shape != value.shape:
            raise TrainingError(f"{path} is of another architecture at {name}; move it away.")
        value.copy_(stored)


def start_alike(
    model: nn.Module,
    path: Path,
    latent_channels: int = 0,
    rename: Callable[[str], str | None] = str,
) -> int:
    """Initialise a model from another one's weights: from all of the same name and shape.

    If the two models' conditions have different channels, the first convolution takes only the
    weights of the latents' channels. Those of the new condition start at zero, without effect.

    Args:
        model: The model to load into; it keeps its precision.
        path: An exported weight file of the other model.
        latent_channels: Number of a denoiser's first input channels, which are latents in both.
        rename: The model's parameter name -> the file's; None if there is no match.

    Returns:
        How many tensors were taken.

    Raises:
        CheckpointError: If the file cannot be read.
        TrainingError: If the file is missing, or holds no weight that fits.
    """
    tensors, ours, taken = _exported(path), model.state_dict(), 0
    for name, value in ours.items():
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
    if not taken:  # the run would begin with random weights
        raise TrainingError(
            f"{path} holds no weight of the name and shape of one here; start_from must name a "
            "preset that is built alike."
        )
    log.info("%d of %d weights are taken from %s", taken, len(ours), path)
    return taken


def _exported(path: Path) -> dict[str, Tensor]:
    """Read an exported weight file, which has to be there."""
    if not is_there(path):
        raise TrainingError(f"{path} is missing; train it first.")
    return read_checkpoint(path)


def export_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: dict[str, str],
    largest: int = sys.maxsize,
) -> None:
    """Export weights as float16 safetensors; atomically if they fit into a single file.

    Args:
        path: The weight file; an existing one, or its parts, are replaced.
        tensors: Tensors by name.
        metadata: Metadata for the file's header.
        largest: Maximum bytes of a file; larger weights are split into parts.

    Raises:
        TrainingError: If a weight is not finite or too large for float16. Nothing is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {name: _half(name, tensor) for name, tensor in tensors.items()}
    parts = divided({name: tensor.nbytes for name, tensor in half.items()}, largest)
    files = [path] if len(parts) == 1 else names_of(path, len(parts))
    before = set(files_of(path)) - set(files)
    for file, names in zip(files, parts, strict=True):
        made = file.with_suffix(".part")
        save_file({name: half[name] for name in names}, made, metadata)
        made.chmod(0o644)  # safetensors makes the file private, but it is to be shared
        put_in_place(made, file)
    for file in before:
        file.unlink(missing_ok=True)


def _half(name: str, tensor: Tensor) -> Tensor:
    """A copy in float16 on the CPU; scalars become float32."""
    dtype = torch.float16 if tensor.ndim else torch.float32
    half = tensor.detach().to("cpu", dtype, copy=True).contiguous()
    if not torch.isfinite(half).all():
        raise TrainingError(
            f"{name} holds {float(tensor.abs().max()):.3g}, and weights are kept up to "
            f"{torch.finfo(dtype).max:.3g}; take a lower optimizer.learning_rate."
        )
    return half
