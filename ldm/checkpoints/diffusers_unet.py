"""Conversion of UNet weights between diffusers' names and shapes and the published ones.

Besides the names, one shape differs: the attention of UNets without cross-attention has three
matrices in diffusers, and one matrix, grouped by head, in the published files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ldm.checkpoints.diffusers_names import Names, rename, swap
from ldm.errors import CheckpointError

_UNET_ENDS: Names = (
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
)
_MIDDLE: Names = (
    ("middle_block.0", "mid_block.resnets.0"),
    ("middle_block.1", "mid_block.attentions.0"),
    ("middle_block.2", "mid_block.resnets.1"),
)
_RESNET: Names = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
)
_QKV = ("to_q", "to_k", "to_v")
# without q, k and v, see `_join_qkv`
_QKV_ATTENTION: Names = (("norm", "group_norm"), ("proj_out", "to_out.0"))


def unet_from_diffusers(
    tensors: Mapping[str, Tensor], source: str, head_width: int | None
) -> dict[str, Tensor]:
    """Convert a diffusers UNet to the published names and shapes.

    Args:
        tensors: The weights of a `UNet2DModel` or `UNet2DConditionModel`.
        source: Origin of the weights, for error messages.
        head_width: Channels per head of qkv attention; None: one head.

    Raises:
        CheckpointError: If a weight is not known.
    """
    per_level = len({n.split(".")[3] for n in tensors if n.startswith("down_blocks.0.resnets.")})
    attended = {n.split(".")[1] for n in tensors if re.match(r"up_blocks\.\d+\.attentions\.", n)}
    renamed = rename(tensors, source, lambda name: _unet_name(name, per_level, attended))
    return _join_qkv(renamed, source, head_width)


def unet_to_diffusers(
    tensors: Mapping[str, Tensor], num_res_blocks: int, head_width: int | None
) -> dict[str, Tensor]:
    """The inverse of `unet_from_diffusers`."""
    split = _split_qkv(tensors, head_width)
    is_transformer = any(name.endswith(".proj_in.weight") for name in tensors)
    return {
        _unet_name_there(name, num_res_blocks, is_transformer): tensor
        for name, tensor in split.items()
    }


def _inner(name: str, kind: str) -> str | None:
    """Return the published name inside a block; that of a spatial transformer is the same."""
    return swap(name, _RESNET) if kind == "resnets" else swap(name, _QKV_ATTENTION) or name


def _inner_there(name: str, kind: str, is_transformer: bool) -> str | None:
    """Return diffusers' name inside a block."""
    if kind == "resnets":
        return swap(name, _RESNET, back=True)
    return name if is_transformer else swap(name, _QKV_ATTENTION, back=True) or name


def _unet_name(name: str, per_level: int, attended: Iterable[str]) -> str | None:
    """Return the published name of a diffusers weight; None if it is not known.

    Args:
        name: Diffusers' name.
        per_level: Residual blocks per level of the encoder.
        attended: Indices of the `up_blocks` with attention.
    """
    if swapped := swap(name, _UNET_ENDS):
        return swapped
    if match := re.fullmatch(r"(mid_block\.(resnets|attentions)\.[01])\.(.+)", name):
        inner = _inner(match[3], match[2])
        return inner and swap(f"{match[1]}.{inner}", _MIDDLE)
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    if match is None:
        return None
    way, level, kind, i, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    blocks = "input_blocks" if way == "down" else "output_blocks"
    first = level * (per_level + 1) + (way == "down")
    if kind in ("resnets", "attentions"):
        inner = _inner(rest, kind)
        return inner and f"{blocks}.{first + i}.{int(kind == 'attentions')}.{inner}"
    if kind != f"{way}samplers":
        return None
    inner = swap(rest, _RESNET) or rest  # a resampling layer is a residual block or a convolution
    if way == "down":
        plain = "op." + inner.removeprefix("conv.") if inner.startswith("conv.") else inner
        return f"{blocks}.{first + per_level}.0.{plain}"
    return f"{blocks}.{first + per_level}.{2 if match[2] in attended else 1}.{inner}"


def _unet_name_there(name: str, per_level: int, is_transformer: bool) -> str:
    """Return diffusers' name of a published UNet weight."""
    if swapped := swap(name, _UNET_ENDS, back=True):
        return swapped
    if match := re.fullmatch(r"(middle_block\.([012]))\.(.+)", name):
        kind = "attentions" if match[2] == "1" else "resnets"
        return swap(
            f"{match[1]}.{_inner_there(match[3], kind, is_transformer)}", _MIDDLE, back=True
        )
    match = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", name)
    is_down = match[1] == "input"
    level, i = divmod(int(match[2]) - is_down, per_level + 1)
    blocks = f"{'down' if is_down else 'up'}_blocks.{level}"
    resized = swap(match[4], _RESNET, back=True) or match[4]
    if is_down and i == per_level:
        return f"{blocks}.downsamplers.0.{re.sub(r'^op', 'conv', resized)}"
    if not is_down and match[3] != "0" and (resized != match[4] or resized.startswith("conv.")):
        return f"{blocks}.upsamplers.0.{resized}"
    kind = "attentions" if match[3] == "1" else "resnets"
    return f"{blocks}.{kind}.{i}.{_inner_there(match[4], kind, is_transformer)}"


def _join_qkv(tensors: dict[str, Tensor], source: str, head_width: int | None) -> dict[str, Tensor]:
    """Join q, k, v (C, C) to `qkv` (3C, C, 1), [q, k, v] within each head; biases to (3C,)."""
    joined = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.+)\.(to_q|to_k|to_v|proj_out)\.(weight|bias)", name)
        if match is None or ".transformer_blocks." in name or _is_transformer(match[1], tensors):
            joined[name] = tensor
        elif match[2] == "proj_out":
            joined[name] = tensor[:, :, None] if match[3] == "weight" else tensor
        elif match[2] == "to_q":
            thirds = [tensors.get(f"{match[1]}.{third}.{match[3]}") for third in _QKV]
            if any(t is None or t.shape != tensor.shape for t in thirds):
                raise CheckpointError(f"{source} lacks a part of {name}; get another copy.")
            joined[f"{match[1]}.qkv.{match[3]}"] = _group(thirds, head_width or len(tensor))
    return joined


def _split_qkv(tensors: Mapping[str, Tensor], head_width: int | None) -> dict[str, Tensor]:
    split = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.+)\.(qkv|proj_out)\.(weight|bias)", name)
        if match is None or (match[2] == "proj_out" and f"{match[1]}.qkv.weight" not in tensors):
            split[name] = tensor
            continue
        matrix = tensor[..., 0] if match[3] == "weight" else tensor
        if match[2] == "proj_out":
            split[name] = matrix
            continue
        width = head_width or len(matrix) // 3
        heads = matrix.reshape(-1, 3, width, *matrix.shape[1:])
        for i, third in enumerate(_QKV):
            split[f"{match[1]}.{third}.{match[3]}"] = heads[:, i].flatten(0, 1)
    return split


def _group(thirds: list[Tensor], width: int) -> Tensor:
    heads = torch.stack([t.reshape(-1, width, *t.shape[1:]) for t in thirds], dim=1)
    grouped = heads.flatten(0, 2)
    return grouped[:, :, None] if grouped.dim() == 2 else grouped


def _is_transformer(block: str, tensors: Mapping[str, Tensor]) -> bool:
    return f"{block}.proj_in.weight" in tensors
