"""Scenes that no model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data import attributes, scenes
from ldm.data.rendering import render
from ldm.data.scenes import Box
from ldm.errors import PresetError

# first stages of the models that were trained on the procedural landscapes
FIRST_STAGES = ("demo-kl-f4", "demo-vq-f4")
HELD_OUT = 1  # first word of the scenes' seeds; training scenes have 0


@dataclass(frozen=True)
class HeldOut:
    """N held-out scenes."""

    images: Tensor  # (N, 3, H, W) float32 in [-1, 1]
    labels: Tensor  # (N, H, W) class ids
    captions: list[str]  # each names everything in its scene
    truth: Tensor  # (N, len(attributes.NAMES)) encoded attributes
    boxes: list[tuple[Box, ...]]  # of each scene, in px


def held_out(count: int, width: int = 128, height: int = 128, first: int = 0) -> HeldOut:
    """Render `count` held-out scenes of a size in px, starting with scene `first`."""
    images, labels, captions, truth, boxes = [], [], [], [], []
    for i in range(first, first + count):
        rng = np.random.default_rng([HELD_OUT, i])
        sample = render(scenes.sample(rng, width, height))
        images.append(sample.image)
        labels.append(sample.labels)
        captions.append(scenes.caption(sample, rng, share=1.0))
        truth.append(attributes.encode(sample.attributes))
        boxes.append(sample.boxes)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return HeldOut(
        pixels,
        torch.from_numpy(np.stack(labels)).long(),
        captions,
        torch.from_numpy(np.stack(truth)),
        boxes,
    )


def require_landscapes(preset: Preset) -> None:
    """Refuse models that were not trained on the landscapes: their class ids differ.

    Raises:
        PresetError: If the preset's first stage is not in FIRST_STAGES.
    """
    if preset.first_stage_preset not in FIRST_STAGES:
        raise PresetError(
            f"{preset.name} knows other classes; {preset.task} is measured on the procedural "
            f"landscapes, with a first stage of {' or '.join(FIRST_STAGES)}."
        )
