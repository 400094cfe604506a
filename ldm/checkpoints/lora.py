"""LoRAs (Hu et al., arXiv:2106.09685) merged into the model that they change.

A LoRA holds, for some layers, two thin matrices whose product is added to the layer's weight:
W + strength * alpha / rank * up @ down. Known are the names of kohya's scripts and of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ldm.checkpoints.convert import check_new, write_safetensors
from ldm.checkpoints.diffusers_unet import unet_to_diffusers
from ldm.checkpoints.keymaps import ema_name, part
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError

UNET, TEXT = "model.diffusion_model.", "cond_stage_model.transformer."
STRONGEST = 10.0
# the end of a name -> which part of its layer's change it is
_ENDS = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".alpha": "alpha",
}
_CLIP = "text_model."
_PROCESSOR = re.compile(r"\.processor(?=\.to_)")  # of attention, in diffusers' first files


def merge(base: str | Path, lora: str | Path, out: str | Path, strength: float = 1.0) -> Path:
    """Write a model's weights with a LoRA's changes added.

    Args:
        base: The model's file or diffusers folder; it is not changed.
        lora: The LoRA's file.
        out: The new file, ending in `.safetensors`; it is written whole or not at all.
        strength: Factor on all changes, from -STRONGEST to STRONGEST; 1 is as it was trained.

    Returns:
        `out`.

    Raises:
        CheckpointError: If a file cannot be read or written, the LoRA is of another model or of
            another kind, or the strength is out of range.
    """
    base, lora, out = Path(base), Path(lora), Path(out)
    if not -STRONGEST <= strength <= STRONGEST:
        raise CheckpointError(
            f"strength must be {-STRONGEST:g} to {STRONGEST:g}, got {strength:g}."
        )
    check_new(out)
    tensors = read_checkpoint(base)
    merged = tensors | merged_weights(tensors, read_checkpoint(lora), strength, str(lora))
    return write_safetensors(merged, out, base)


def merged_weights(
    tensors: Mapping[str, Tensor], lora: Mapping[str, Tensor], strength: float, source: str
) -> dict[str, Tensor]:
    """Return the weights that a LoRA changes, by their published names.

    Args:
        tensors: The model's weights by their published names.
        lora: The LoRA's.
        strength: Factor on all changes.
        source: Origin of the LoRA, for error messages.

    Raises:
        CheckpointError: If the LoRA is of another model, or of another kind.
    """
    layers = _layers(lora, source)
    names = _names(tensors)
    changed = {}
    for layer, parts in layers.items():
        name = names.get(layer)
        if name is None:
            raise CheckpointError(
                f"{source} changes {layer!r:.120}, which the model does not have."
            )
        if missing := {"up", "down"} - set(parts):
            raise CheckpointError(f"{source} is damaged: {layer} has no {missing.pop()} matrix.")
        change = strength * _product(parts, tensors[name].shape, f"{source}: {layer}")
        for one in {name, ema_name(name)} & set(tensors):  # averaged weights are preferred
            changed[one] = (tensors[one].float() + change).to(tensors[one].dtype)
    return changed


def _layers(lora: Mapping[str, Tensor], source: str) -> dict[str, dict[str, Tensor]]:
    """Return layer -> its parts, "up", "down" and perhaps "alpha"."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in lora.items():
        end = next((end for end in _ENDS if name.endswith(end)), None)
        if end is None:
            raise CheckpointError(f"{source} holds {name!r:.120}, which is no part of a LoRA.")
        layer = _PROCESSOR.sub("", name.removesuffix(end))
        layer = layer + ".0" if layer.endswith(".to_out") else layer
        layers.setdefault(layer, {})[_ENDS[end]] = tensor
    if not layers:
        raise CheckpointError(f"{source} holds no weights.")
    return layers


def _names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return a layer's name in LoRAs -> the published name of its weight, for all of a model."""
    unet, text = part(tensors, UNET), part(tensors, TEXT)
    # a downsampling layer follows the residual blocks of its level
    down = [re.fullmatch(r"input_blocks\.(\d+)\.0\.op\.weight", name) for name in unet]
    per_level = min((int(match[1]) for match in down if match), default=3) - 1
    ours = {id(tensor): UNET + name for name, tensor in unet.items()}
    there = unet_to_diffusers(unet, per_level, None) if unet else {}
    layers = {("unet", "unet", name): ours[id(tensor)] for name, tensor in there.items()}
    for name in text:  # some files leave the first part of the text's names out
        whole = name if name.startswith(_CLIP) else _CLIP + name
        layers["te", "text_encoder", whole] = TEXT + name
    names = {}
    for (short, long, name), weight in layers.items():
        if name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            names[f"lora_{short}_{layer.replace('.', '_')}"] = weight
            names[f"{long}.{layer}"] = weight
    return names


def _product(parts: Mapping[str, Tensor], shape: torch.Size, where: str) -> Tensor:
    """Return alpha / rank * up @ down in the shape of a layer's weight, float32."""
    up, down = parts["up"].float(), parts["down"].float()
    rank = len(down) if down.ndim else 0
    alpha = parts.get("alpha", torch.tensor(float(rank)))
    fits = rank and len(shape) > 1 and up.shape[:2] == (shape[0], rank) and alpha.numel() == 1
    if not fits or (up.numel(), down.numel()) != (shape[0] * rank, rank * shape[1:].numel()):
        found = f"{[*up.shape]} and {[*down.shape]}"
        raise CheckpointError(f"{where} has matrices of {found}, for a weight of {[*shape]}.")
    return (
        float(alpha) / rank * (up.reshape(shape[0], rank) @ down.reshape(rank, -1)).reshape(shape)
    )
