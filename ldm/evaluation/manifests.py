"""Published key lists against our networks: every name, shape, count and attention head.

All on the meta device: nothing is computed or allocated.
"""

from __future__ import annotations

import fnmatch
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from ldm.catalog.build import build_first_stage, build_model
from ldm.catalog.compvis import read_architecture
from ldm.catalog.schema import Architecture
from ldm.checkpoints.apply import ALLOWED
from ldm.checkpoints.keymaps import EMA_COUNTERS, ema_name, to_published_names
from ldm.errors import CheckpointError, PresetError
from ldm.evaluation.verify import Check
from ldm.models.attention import AttentionBlock, SpatialTransformer
from ldm.models.autoencoder import AttnBlock
from ldm.models.text import HEADS, SelfAttention


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
    """Check one key list."""
    manifest = json.loads(gzip.decompress(path.read_bytes()))
    try:
        architecture = read_architecture({"model": manifest["model"]}, name)
    except PresetError as error:
        yield Check(f"{name} keys", False, str(error))
        return
    alone = architecture.unet is None
    model = build_first_stage(architecture) if alone else build_model(architecture)
    yield _keys(name, published_shapes(model, architecture, manifest), manifest["state_dict"])
    yield _heads(name, model, manifest["attention"], alone)
    yield _counts(name, model, manifest["counts"], architecture)


def published_shapes(
    model: nn.Module, architecture: Architecture, manifest: dict[str, Any]
) -> dict[str, list[int]]:
    """The published name and shape of everything that our model would load."""
    if architecture.unet is None:
        return {key: list(value.shape) for key, value in model.state_dict().items()}
    published = to_published_names(model.state_dict())
    shapes = {key: list(value.shape) for key, value in published.items()}
    if manifest["use_ema"]:
        weights = [key for key in shapes if key.startswith("model.")]
        shapes |= {ema_name(key): shapes[key] for key in weights}
        shapes |= {key: [] for key in EMA_COUNTERS}
    if architecture.conditioner.kind == "first_stage":  # published twice
        twins = [key for key in shapes if key.startswith("first_stage_model.")]
        shapes |= {
            key.replace("first_stage_model", "cond_stage_model"): shapes[key] for key in twins
        }
    return shapes


def _keys(name: str, ours: dict[str, list[int]], theirs: dict[str, Any]) -> Check:
    def is_allowed(key: str) -> bool:
        return any(fnmatch.fnmatchcase(key, pattern) for pattern in ALLOWED)

    missing = [key for key in theirs if key not in ours and not is_allowed(key)]
    left_over = [key for key in ours if key not in theirs]
    reshaped = [key for key in theirs if key in ours and ours[key] != theirs[key][0]]
    faults = [
        f"{len(keys)} {what} (first {keys[0]})"
        for what, keys in (
            ("unknown here", missing),
            ("not published", left_over),
            ("of another shape", reshaped),
        )
        if keys
    ]
    return Check(f"{name} keys", not faults, "; ".join(faults) or f"{len(theirs)} accounted for")


def _heads(name: str, model: nn.Module, recorded: dict[str, Any], alone: bool) -> Check:
    """Heads and their widths are not visible in the shapes."""
    ours = dict(_attention(model))
    ours = to_published_names({key + ".": value for key, value in ours.items()})
    ours = {key.removesuffix("."): value for key, value in ours.items()}
    wrong = [
        key
        for key, about in recorded.items()
        if ours.get(key) != (about["heads"], about["head_dim"])
    ]
    # the inpainting model's second copy of its first stage is not built
    wrong = [key for key in wrong if not (key.startswith("cond_stage_model.") and "coder." in key)]
    detail = f"{len(recorded)} attention layers"
    if wrong:
        key = wrong[0]
        about = recorded[key]
        detail = f"{len(wrong)} differ, first {key}: {ours.get(key)}, recorded {about}"
    return Check(f"{name} heads", not wrong, detail)


def _attention(model: nn.Module) -> Iterator[tuple[str, tuple[int, int]]]:
    """Module path -> (heads, width of a head)."""
    for path, module in model.named_modules():
        if isinstance(module, AttentionBlock):
            width = module.proj_out.in_channels
            yield path, (module.heads, width // module.heads)
        elif isinstance(module, AttnBlock):
            yield path, (1, module.q.in_channels)
        elif isinstance(module, SpatialTransformer):
            attention = module.transformer_blocks[0].attn1
            inner = attention.to_q.out_features
            yield path, (attention.heads, inner // attention.heads)
        elif isinstance(module, SelfAttention):
            yield path, (HEADS, module.to_q.out_features // HEADS)


def _counts(
    name: str, model: nn.Module, recorded: dict[str, Any], architecture: Architecture
) -> Check:
    """Parameters per part, as published."""
    if architecture.unet is None:
        ours = {"encoder": _count(model.encoder), "decoder": _count(model.decoder)}
    else:
        ours = {"unet": _count(model.unet), "first_stage": _count(model.first_stage)}
        if model.conditioner is not None:
            ours["cond_stage"] = _count(model.conditioner)
    wrong = {key: n for key, n in ours.items() if key in recorded and recorded[key] != n}
    detail = ", ".join(f"{key} {n:,}" for key, n in ours.items())
    if wrong:
        detail += f"; recorded { ({key: recorded[key] for key in wrong}) }"
    return Check(f"{name} parameters", not wrong, detail)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
