"""Reading of diffusers folders of latent diffusion models, under the published names.

A pipeline's folder holds one sub-folder per part, each with a `config.json` and a weight file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ldm.checkpoints.diffusers_names import first_stage_from_diffusers, text_from_diffusers
from ldm.checkpoints.diffusers_unet import unet_from_diffusers
from ldm.errors import CheckpointError

WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
FIRST_STAGE_FOLDERS = ("vqvae", "vae")
MAX_CONFIG_BYTES = 256 * 1024

ReadFile = Callable[[Path], dict[str, Tensor]]


def read_diffusers(folder: Path, read_file: ReadFile) -> dict[str, Tensor]:
    """Read the weights of a diffusers folder under the published names.

    Args:
        folder: A pipeline's folder, or that of a first stage alone.
        read_file: Reads one weight file.

    Raises:
        CheckpointError: If a part is missing or holds an unknown weight.
    """
    is_pipeline = (folder / "model_index.json").is_file()
    if not is_pipeline and not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} is a folder without model_index.json or config.json; "
            "name the weight file in it."
        )
    try:
        if is_pipeline:
            return _read_pipeline(folder, read_file)
        return first_stage_from_diffusers(_read_part(folder, read_file), str(folder))
    except (RuntimeError, IndexError) as error:  # a weight of a shape that cannot be converted
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{folder} is of another architecture ({reason}).") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a part's configuration.

    Raises:
        CheckpointError: If the file is missing, too large or no JSON object.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path} is larger than any configuration; get another copy.")
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{path} is missing or no JSON; download the whole folder.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no JSON object; download the whole folder.")
    return values


def first_stage_folder(folder: Path) -> Path:
    """Return the sub-folder of a pipeline that holds its autoencoder."""
    names = [name for name in FIRST_STAGE_FOLDERS if (folder / name).is_dir()]
    return folder / (names or FIRST_STAGE_FOLDERS)[0]


def _read_pipeline(folder: Path, read_file: ReadFile) -> dict[str, Tensor]:
    unet, first_stage = folder / "unet", first_stage_folder(folder)
    width = read_json(unet / "config.json").get("attention_head_dim", 8)
    named = {
        "model.diffusion_model.": unet_from_diffusers(
            _read_part(unet, read_file), str(unet), width if isinstance(width, int) else None
        ),
        "first_stage_model.": first_stage_from_diffusers(
            _read_part(first_stage, read_file), str(first_stage)
        ),
    }
    bert, clip = folder / "bert", folder / "text_encoder"
    if bert.is_dir():
        text = text_from_diffusers(_read_part(bert, read_file), str(bert))
    else:  # its names are the published ones
        text = _read_part(clip, read_file) if clip.is_dir() else {}
    named["cond_stage_model.transformer."] = text
    return {prefix + name: t for prefix, part in named.items() for name, t in part.items()}


def _read_part(folder: Path, read_file: ReadFile) -> dict[str, Tensor]:
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return read_file(folder / name)
    raise CheckpointError(
        f"{folder} has no {WEIGHT_NAMES[0]} or other weight file; download the whole folder."
    )
