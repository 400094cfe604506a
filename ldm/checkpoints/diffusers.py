"""Reading of diffusers folders of latent diffusion models, under the published names.

A pipeline's folder holds one sub-folder per part, each with a `config.json` and weight files;
`ldm.checkpoints.folders` says which of them are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor

from ldm.checkpoints.diffusers_names import first_stage_from_diffusers, text_from_diffusers
from ldm.checkpoints.diffusers_unet import unet_from_diffusers
from ldm.checkpoints.folders import (
    CLIP_FOLDER,
    CONFIG_NAME,
    PIPELINE_NAME,
    first_stage_folder,
    part_files,
    read_json,
    text_folder,
    unet_folder,
)
from ldm.errors import CheckpointError

ReadFiles = Callable[[Iterable[Path]], dict[str, Tensor]]


def read_diffusers(folder: Path, read_files: ReadFiles) -> dict[str, Tensor]:
    """Read the weights of a diffusers folder under the published names.

    Args:
        folder: A pipeline's folder, or that of a first stage alone.
        read_files: Reads the weight files of one part.

    Raises:
        CheckpointError: If a part is missing or holds an unknown weight.
    """
    is_pipeline = (folder / PIPELINE_NAME).is_file()
    if not is_pipeline and not (folder / CONFIG_NAME).is_file():
        raise CheckpointError(
            f"{folder} is a folder without {PIPELINE_NAME} or {CONFIG_NAME}; "
            "name the weight file in it."
        )
    try:
        if is_pipeline:
            return _read_pipeline(folder, read_files)
        return first_stage_from_diffusers(read_files(part_files(folder)), str(folder))
    except (RuntimeError, IndexError) as error:  # a weight of a shape that cannot be converted
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{folder} is of another architecture ({reason}).") from None


def _read_pipeline(folder: Path, read_files: ReadFiles) -> dict[str, Tensor]:
    unet, first_stage, text = unet_folder(folder), first_stage_folder(folder), text_folder(folder)
    width = read_json(unet / CONFIG_NAME).get("attention_head_dim", 8)
    named = {
        "model.diffusion_model.": unet_from_diffusers(
            read_files(part_files(unet)), str(unet), width if isinstance(width, int) else None
        ),
        "first_stage_model.": first_stage_from_diffusers(
            read_files(part_files(first_stage)), str(first_stage)
        ),
        "cond_stage_model.transformer.": _read_text(text, read_files) if text is not None else {},
    }
    return {prefix + name: t for prefix, part in named.items() for name, t in part.items()}


def _read_text(folder: Path, read_files: ReadFiles) -> dict[str, Tensor]:
    tensors = read_files(part_files(folder))
    if folder.name == CLIP_FOLDER:  # its names are the published ones
        return tensors
    return text_from_diffusers(tensors, str(folder))
