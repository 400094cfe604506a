"""Which pipelines of the diffusers library are known, and what the models in them are for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldm.catalog.parsing import read_json
from ldm.checkpoints.folders import PIPELINE_NAME
from ldm.errors import PresetError

TASKS = {
    "LDMTextToImagePipeline": "text-to-image",
    "LDMSuperResolutionPipeline": "upscale",
    "LDMPipeline": "unconditional",
}
# Ways in which the library runs Stable Diffusion 1. Which of its two models a folder holds is said
# by its UNet, not by the pipeline that saved it.
STABLE = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInpaintPipelineLegacy",
    "StableDiffusionPAGPipeline",
    "StableDiffusionPAGImg2ImgPipeline",
    "StableDiffusionPAGInpaintPipeline",
    "StableDiffusionPanoramaPipeline",
    "StableDiffusionSAGPipeline",
    "StableDiffusionAttendAndExcitePipeline",
    "CycleDiffusionPipeline",
)
_STABLE_TASKS = {4: "text-to-image", 9: "inpaint"}  # by the channels that the UNet takes


def kind_of(folder: Path) -> str:
    """Return the class of pipeline that a folder names, one of TASKS or STABLE.

    Raises:
        PresetError: If it names another one.
    """
    kind = read_json(folder / PIPELINE_NAME).get("_class_name")
    known = (*TASKS, *STABLE)
    if not isinstance(kind, str) or kind not in known:
        raise PresetError(
            f"{folder}: pipeline must be one of {', '.join(known)}, got {kind!r:.80}."
        )
    return kind


def task_of(kind: str, unet: Mapping[str, Any], where: str) -> str:
    """Return the task of a pipeline's model.

    Args:
        kind: The pipeline's class.
        unet: The configuration of its UNet.
        where: Path of that configuration, for error messages.

    Raises:
        PresetError: If it is another Stable Diffusion than that for sentences or holes.
    """
    if kind not in STABLE:
        return TASKS[kind]
    channels = unet.get("in_channels")
    if not isinstance(channels, int) or channels not in _STABLE_TASKS:
        raise PresetError(
            f"{where}: in_channels of Stable Diffusion must be 4 (for sentences) or 9 (for holes), "
            f"got {channels!r:.80}."
        )
    return _STABLE_TASKS[channels]
