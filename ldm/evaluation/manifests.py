"""Compare our networks with published key lists: names, shapes, counts and attention layers.

Models are built on the meta device, so nothing is computed or allocated.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ldm.catalog.architecture import Architecture
from ldm.catalog.build import build_first_stage, build_model
from ldm.catalog.compvis import read_architecture
from ldm.checkpoints.apply import SCHEDULE_BUFFERS
from ldm.checkpoints.keymaps import EMA_COUNTERS, ema_name, to_published_names
from ldm.errors import CheckpointError, PresetError
from ldm.evaluation.verify import Check
from ldm.models.attention import AttentionBlock, SpatialTransformer
from ldm.models.autoencoder import AttnBlock
from ldm.models.text import HEAD_DIM, HEADS, SelfAttention

# Prefixes of the perceptual loss and discriminator of first stage training, which we never load.
IGNORED = ("loss.", "first_stage_model.loss.", "cond_stage_model.loss.")
Shape = list[Any]  # [[sides], dtype]


def verify_manifests(folder: Path) -> Iterator[Check]:
    """Check every `*.json.gz` key list below `folder`.

    Raises:
        CheckpointError: If there is none.
    """
    paths = sorted(Path(folder).glob("*.json.gz"))
    if not paths:
        raise CheckpointError(f"{folder} holds no key list; they are called NAME.json.gz.")
    for path in paths:
        yield from verify_manifest(path.name.removesuffix(".json.gz"), path)


def verify_manifest(name: str, path: Path) -> Iterator[Check]:
    """Check one key list; if it cannot be read or its model built, yield a failed check."""
    try:
        manifest = json.loads(gzip.decompress(path.read_bytes()))
        architecture = read_architecture({"model": manifest["model"]}, name)
        alone = architecture.unet is None
        model = build_first_stage(architecture) if alone else build_model(architecture)
    except (PresetError, OSError, EOFError, KeyError, ValueError) as error:
        yield Check(f"{name} keys", False, f"{type(error).__name__}: {error}")
        return
    shapes = published_shapes(model, architecture, manifest.get("use_ema", False))
    recorded = manifest["state_dict"] | manifest.get("loss_state_dict", {})
    yield _keys(name, shapes, recorded)
    yield _attention(name, model, manifest["attention"])
    yield _counts(name, model, architecture, shapes, manifest["counts"])


def published_shapes(
    model: nn.Module, architecture: Architecture, use_ema: bool
) -> dict[str, Shape]:
    """Published name -> shape and dtype of every tensor in a checkpoint of our model."""
    if architecture.unet is None:
        return {key: _shape(value) for key, value in model.state_dict().items()}
    published = to_published_names(model.state_dict())
    shapes = {key: _shape(value) for key, value in published.items()}
    if architecture.conditioner.kind == "first_stage":  # published under two names
        twins = [key for key in shapes if key.startswith("first_stage_model.")]
        shapes |= {
            key.replace("first_stage_model", "cond_stage_model"): shapes[key] for key in twins
        }
    if use_ema:
        weights = [key for key in shapes if key.startswith("model.")]
        shapes |= {ema_name(key): shapes[key] for key in weights}
        shapes |= dict(zip(EMA_COUNTERS, ([[], "float32"], [[], "int32"]), strict=True))
    if architecture.scale_factor is None:  # stored only in the checkpoint
        shapes["scale_factor"] = [[], "float32"]
    return shapes | {key: [[model.schedule.length], "float32"] for key in SCHEDULE_BUFFERS}


def _shape(tensor: Tensor) -> Shape:
    return [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]


def _keys(name: str, ours: dict[str, Shape], recorded: dict[str, Shape]) -> Check:
    theirs = {key: shape for key, shape in recorded.items() if not key.startswith(IGNORED)}
    faults = _faults(
        ("unknown here", [key for key in theirs if key not in ours]),
        ("not published", [key for key in ours if key not in theirs]),
        ("of another shape", [key for key in theirs if ours.get(key, theirs[key]) != theirs[key]]),
    )
    ignored = len(recorded) - len(theirs)
    detail = f"{len(theirs)} accounted for" + (
        f", {ignored} of the loss ignored" if ignored else ""
    )
    return Check(f"{name} keys", not faults, faults or detail)


def _attention(name: str, model: nn.Module, theirs: dict[str, Any]) -> Check:
    """Compare number and width of the attention heads, which tensor shapes do not show."""
    ours = to_published_names(dict(_attention_layers(model)))
    faults = _faults(
        ("unknown here", [key for key in theirs if key not in ours]),
        ("not published", [key for key in ours if key not in theirs]),
        ("differ", [key for key in theirs if ours.get(key, theirs[key]) != theirs[key]]),
    )
    return Check(f"{name} heads", not faults, faults or f"{len(theirs)} attention layers")


def _attention_layers(model: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    """(module path, description in the terms of the key lists) of each attention layer."""
    for path, module in model.named_modules():
        if isinstance(module, AttentionBlock):
            width = module.proj_out.in_channels
            yield path, _layer("qkv_legacy", module.heads, width // module.heads)
        elif isinstance(module, AttnBlock):
            yield path, _layer("single_head_conv", 1, module.q.in_channels)
        elif isinstance(module, SelfAttention):
            yield path, _layer("text_self_attention", HEADS, HEAD_DIM)
        elif isinstance(module, SpatialTransformer):
            yield path, _transformer(module)


def _transformer(module: SpatialTransformer) -> dict[str, Any]:
    blocks = module.transformer_blocks
    attention = blocks[0].attn2
    about = _layer(
        "spatial_transformer", attention.heads, attention.to_q.out_features // attention.heads
    )
    shape = {"in_channels": module.proj_in.in_channels, "context_dim": attention.to_k.in_features}
    return about | shape | {"depth": len(blocks)}


def _layer(kind: str, heads: int, head_dim: int) -> dict[str, Any]:
    return {"type": kind, "heads": heads, "head_dim": head_dim}


def _faults(*kinds: tuple[str, list[str]]) -> str:
    """Number of keys of each kind of fault, with one example; empty if there are none."""
    return "; ".join(f"{len(keys)} {what} (first {keys[0]})" for what, keys in kinds if keys)


def _counts(
    name: str,
    model: nn.Module,
    architecture: Architecture,
    shapes: dict[str, Shape],
    recorded: dict[str, Any],
) -> Check:
    """Compare the numbers of parameters per part and of keys, without those of the loss."""
    alone = architecture.unet is None
    ours = _count_first_stage(model) if alone else _count_model(model, shapes)
    ours["n_keys"] = len(shapes)
    wrong = [
        f"{key} {ours[key]:,}, recorded {recorded[key]:,}"
        for key in ours
        if key in recorded and ours[key] != recorded[key]
    ]
    detail = ", ".join(f"{key} {ours[key]:,}" for key in ours if key in recorded)
    return Check(f"{name} counts", not wrong, "; ".join(wrong) or detail)


def _count_first_stage(model: nn.Module) -> dict[str, int]:
    parts = ("encoder", "decoder", "quantize", "quant_conv", "post_quant_conv")
    counts = {part: _count(getattr(model, part, None)) for part in parts}
    return counts | {"autoencoder_total": _count(model)}


def _count_model(model: nn.Module, shapes: dict[str, Shape]) -> dict[str, int]:
    unet, conditioner = _count(model.unet), _count(model.conditioner)
    averages = [key for key in shapes if key.startswith("model_ema.")]
    unused = [p for name, p in model.named_parameters() if "to_logits" in name]
    return {
        "unet": unet,
        "first_stage": _count(model.first_stage),
        "cond_stage": conditioner,
        "cond_stage_without_to_logits": conditioner - sum(p.numel() for p in unused),
        "unet_plus_cond": unet + conditioner,
        "all_unique_params": _count(model),
        "ema_buffers": len(averages),
    }


def _count(model: nn.Module | None) -> int:
    return 0 if model is None else sum(parameter.numel() for parameter in model.parameters())
