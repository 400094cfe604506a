"""Scenes that no model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm.data import attributes, scenes

HELD_OUT = 1  # the seed's first word; training scenes have 0


@dataclass(frozen=True)
class HeldOut:
    """N held-out scenes."""

    images: Tensor  # (N, 3, H, W) float32 in [-1, 1]
    labels: Tensor  # (N, H, W) class ids
    captions: list[str]  # naming everything in the scene
    truth: Tensor  # (N, len(attributes.NAMES))


def held_out(count: int, width: int = 128, height: int = 128) -> HeldOut:
    """The first `count` held-out scenes at a size in px."""
    images, labels, captions, truth = [], [], [], []
    for i in range(count):
        rng = np.random.default_rng([HELD_OUT, i])
        sample = scenes.render(scenes.sample(rng, width, height))
        images.append(sample.image)
        labels.append(sample.labels)
        captions.append(scenes.caption(sample, rng, share=1.0))
        truth.append(attributes.encode(sample.attributes))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return HeldOut(
        pixels,
        torch.from_numpy(np.stack(labels)).long(),
        captions,
        torch.from_numpy(np.stack(truth)),
    )
