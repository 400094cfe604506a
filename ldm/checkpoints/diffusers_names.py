"""Conversion of first-stage and text-encoder weights between diffusers' and the published names.

One shape differs as well: the 1x1 convolutions of the first stage's attention are matrices in
diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from ldm.errors import CheckpointError

Names = tuple[tuple[str, str], ...]  # (published, diffusers), each without its last dot

_CODE_ATTENTION: Names = (
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
)
_CODE_MIDDLE: Names = (
    ("mid.block_1", "mid_block.resnets.0"),
    ("mid.attn_1", "mid_block.attentions.0"),
    ("mid.block_2", "mid_block.resnets.1"),
)
_CODE_ENDS: Names = (
    ("conv_in", "conv_in"),
    ("norm_out", "conv_norm_out"),
    ("conv_out", "conv_out"),
)
_CODE_RESNET: Names = (
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("nin_shortcut", "conv_shortcut"),
)
_CODE_INNER: Mapping[str, Names] = {"resnets": _CODE_RESNET, "attentions": _CODE_ATTENTION}
_CODE_UNCHANGED = ("quant_conv.", "post_quant_conv.", "quantize.embedding.")
_TEXT_ENDS: Names = (
    ("token_emb", "model.embed_tokens"),
    ("pos_emb.emb", "model.embed_positions"),
    ("norm", "model.layer_norm"),
    ("to_logits", "to_logits"),
)
# A layer of diffusers is two published layers: attention, then feed-forward.
_TEXT_LAYER: Mapping[str, tuple[int, str]] = {
    "self_attn_layer_norm": (0, "0"),
    "self_attn.q_proj": (0, "1.to_q"),
    "self_attn.k_proj": (0, "1.to_k"),
    "self_attn.v_proj": (0, "1.to_v"),
    "self_attn.out_proj": (0, "1.to_out"),
    "final_layer_norm": (1, "0"),
    "fc1": (1, "1.net.0.0"),
    "fc2": (1, "1.net.2"),
}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def first_stage_from_diffusers(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Convert a diffusers `AutoencoderKL` or `VQModel` to the published names and shapes.

    Raises:
        CheckpointError: If a weight is not known.
    """
    levels = len({n.split(".")[2] for n in tensors if n.startswith("decoder.up_blocks.")})
    renamed = rename(tensors, source, lambda name: _code_name(name, levels))
    return {n: t[:, :, None, None] if _is_code_attention(n, t) else t for n, t in renamed.items()}


def first_stage_to_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `first_stage_from_diffusers`."""
    levels = len({n.split(".")[2] for n in tensors if n.startswith("decoder.up.")})
    named = {_code_name_there(name, levels): (name, tensor) for name, tensor in tensors.items()}
    return {
        there: t[:, :, 0, 0] if re.search(r"\.(q|k|v|proj_out)\.weight$", name) else t
        for there, (name, t) in named.items()
    }


def text_from_diffusers(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Convert a diffusers `LDMBertModel` to the published names below `transformer.`.

    Raises:
        CheckpointError: If a weight is not known.
    """
    return rename(tensors, source, _text_name)


def rename(
    tensors: Mapping[str, Tensor], source: str, name_of: Callable[[str], str | None]
) -> dict[str, Tensor]:
    """Rename every weight by `name_of`, which returns None for unknown weights.

    Raises:
        CheckpointError: If a weight is not known or two weights get the same name.
    """
    renamed = {}
    for name, tensor in tensors.items():
        ours = name_of(_modern(name))
        if ours is None or ours in renamed:
            raise CheckpointError(
                f"{source} holds the weight {name!r:.120}, which no latent diffusion model has; "
                "it is of another architecture."
            )
        renamed[ours] = tensor
    return renamed


def _modern(name: str) -> str:
    """Return the name of an attention weight as diffusers writes it since version 0.17."""
    parts = name.rsplit(".", 2)
    if len(parts) == 3 and ".attentions." in name and parts[1] in _OLD_ATTENTION:
        parts[1] = _OLD_ATTENTION[parts[1]]
    return ".".join(parts)


def swap(name: str, names: Names, back: bool = False) -> str | None:
    """Replace the start of `name` by its partner in `names`; None if it is not in the table.

    Without `back` diffusers' names become published ones, with `back` the reverse.
    """
    for ours, theirs in names:
        old, new = (ours, theirs) if back else (theirs, ours)
        if name.startswith(old + "."):
            return new + name[len(old) :]
    return None


def _code_name(name: str, levels: int) -> str | None:
    """Return the published name of a diffusers autoencoder weight; None if it is not known."""
    if name.startswith(_CODE_UNCHANGED):
        return name
    half, _, rest = name.partition(".")
    if half not in ("encoder", "decoder"):
        return None
    if match := re.fullmatch(r"(mid_block\.(resnets|attentions)\.[01])\.(.+)", rest):
        inner = swap(match[3], _CODE_INNER[match[2]])
        return inner and f"{half}.{swap(f'{match[1]}.{inner}', _CODE_MIDDLE)}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", rest)
    if match is None:
        swapped = swap(rest, _CODE_ENDS)
        return swapped and f"{half}.{swapped}"
    way, level, kind, i = match[1], int(match[2]), match[3], match[4]
    block = f"{half}.{way}.{level if way == 'down' else levels - 1 - level}"
    if kind == f"{way}samplers":
        return f"{block}.{way}sample.{match[5]}"
    inner = swap(match[5], _CODE_INNER[kind]) if kind in _CODE_INNER else None
    return inner and f"{block}.{'block' if kind == 'resnets' else 'attn'}.{i}.{inner}"


def _code_name_there(name: str, levels: int) -> str:
    """Return diffusers' name of a published autoencoder weight."""
    if name.startswith(_CODE_UNCHANGED):
        return name
    half, _, rest = name.partition(".")
    if match := re.fullmatch(r"(mid\.(block|attn)_[12])\.(.+)", rest):
        kind = "resnets" if match[2] == "block" else "attentions"
        inner = swap(match[3], _CODE_INNER[kind], back=True)
        return f"{half}.{swap(f'{match[1]}.{inner}', _CODE_MIDDLE, back=True)}"
    match = re.fullmatch(r"(down|up)\.(\d+)\.(\w+)\.(.+)", rest)
    if match is None:
        return f"{half}.{swap(rest, _CODE_ENDS, back=True)}"
    way, level, kind = match[1], int(match[2]), match[3]
    block = f"{half}.{way}_blocks.{level if way == 'down' else levels - 1 - level}"
    if kind == f"{way}sample":
        return f"{block}.{way}samplers.0.{match[4]}"
    kind = "resnets" if kind == "block" else "attentions"
    i, _, inner = match[4].partition(".")
    return f"{block}.{kind}.{i}.{swap(inner, _CODE_INNER[kind], back=True)}"


def _is_code_attention(name: str, tensor: Tensor) -> bool:
    """Whether a weight is a 1x1 convolution of attention that is stored as a matrix."""
    return tensor.dim() == 2 and re.search(r"\.(q|k|v|proj_out)\.weight$", name) is not None


def _text_name(name: str) -> str | None:
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if match is None:
        return swap(name, _TEXT_ENDS)
    if match[2] not in _TEXT_LAYER:
        return None
    half, ours = _TEXT_LAYER[match[2]]
    return f"attn_layers.layers.{2 * int(match[1]) + half}.{ours}.{match[3]}"
