"""Models of one file without a configuration: Stable Diffusion 1, told by the weights in it.

Most models that people trained further are handed on like this. Only the header of a `.safetensors`
file is read, which holds names and shapes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ldm.checkpoints.headers import SAFE_SUFFIX, names_in
from ldm.errors import CheckpointError, PresetError

SUFFIX = SAFE_SUFFIX
PICKLED = ".ckpt"
_FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_CONTEXT = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_PARTS = ("first_stage_model.", "cond_stage_model.transformer.")
# width of the context, and channels of the first layer -> the preset that has this architecture
_LIKE = {
    (768, 4): "stable-diffusion-v1-4",
    (768, 9): "stable-diffusion-inpainting",
}


_LORA = "a LoRA; python -m ldm merge MODEL LORA NEW.safetensors makes a model of it and another one"
# part of a weight's name -> what a file with it is, if it is of no known architecture
_OTHERS = {
    "lora_": _LORA,
    ".lora": _LORA,
    "emb_params": "a textual inversion, which is a word for another model",
    "control_model.": "a ControlNet, which steers another model",
    "conditioner.embedders.": "of Stable Diffusion XL, which this cannot run",
    "cond_stage_model.model.": "of Stable Diffusion 2, which this cannot run",
}


def preset_like(path: Path) -> str:
    """Return the name of the preset that has the architecture of a file.

    Raises:
        PresetError: If the file is damaged or of an architecture that needs its configuration.
    """
    if path.suffix == PICKLED:
        raise PresetError(
            f"{path} does not say what it holds; python -m ldm convert {path} "
            f"{path.with_suffix(SUFFIX)} makes a file that does."
        )
    about = path.stat()
    return _preset_like(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)  # all are looked at whenever models are listed
def _preset_like(path: Path, _size: int, _written: int) -> str:
    try:
        header = names_in(path)
    except CheckpointError as error:
        raise PresetError(str(error)) from error
    sizes = [_shape(header, name)[1:2] for name in (_CONTEXT, _FIRST)]
    like = _LIKE.get(tuple(side for one in sizes for side in one))
    known = (what for part, what in _OTHERS.items() if any(part in name for name in header))
    if like is None and (what := next(known, None)):
        raise PresetError(f"{path} is {what}.")
    if like is None:
        raise PresetError(
            f"{path} is not of Stable Diffusion 1, the only model that is known by its weights "
            "alone; put it into a folder with its config.yaml."
        )
    lacking = [part for part in _PARTS if not any(name.startswith(part) for name in header)]
    if lacking:
        raise PresetError(f"{path} is a part of a model alone: it has no {lacking[0]} weights.")
    return like


def _shape(header: dict[str, Any], name: str) -> list[Any]:
    """Return the shape that a header gives a weight; empty if it names none."""
    shape = header.get(name, {}).get("shape")
    return shape if isinstance(shape, list) and all(isinstance(n, int) for n in shape) else []
