"""Scenes that no model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.catalog.tokenizer import tokenizer_of
from ldm.data import attributes, captions, classes, scenes
from ldm.data.rendering import render
from ldm.data.scenes import Box
from ldm.errors import PresetError
from ldm.images import to_tensor

# task -> what its models must know: the names of the landscapes' classes, in the order of their ids
CLASSES = {
    "class-conditional": classes.NAMES,
    "semantic": tuple(scenes.CLASSES),
    "layout": scenes.BOX_CLASSES,
}
NAMED = 3  # most names in an error
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
    return HeldOut(
        to_tensor(images),
        torch.from_numpy(np.stack(labels)).long(),
        captions,
        torch.from_numpy(np.stack(truth)),
        boxes,
    )


def require_landscapes(preset: Preset) -> None:
    """Refuse a model that cannot be asked for what is in the landscapes.

    Raises:
        PresetError: If its classes are not those of the landscapes, in their order, its
            vocabulary lacks words of their captions, or it cannot be asked for anything and draws
            something else.
    """
    on = f"{preset.task} is measured on the procedural landscapes"
    known = CLASSES.get(preset.task)
    if known is not None and tuple(preset.classes) != known:
        others = f" ({_some(preset.classes)})" if preset.classes else ""
        raise PresetError(
            f"{preset.name} knows other classes{others}; {on}, whose classes are {_some(known)}."
        )
    if preset.task == "unconditional" and (preset.is_own or preset.origin != "shipped"):
        raise PresetError(f"{preset.name} draws other pictures; {on}.")
    if preset.task == "text-to-image":
        tokenizer = tokenizer_of(preset.architecture.conditioner)
        words = [word for word in captions.vocabulary() if word.isalpha()]
        if tokenizer is not None and (unknown := tokenizer.unknown_words(" ".join(words))):
            raise PresetError(
                f"{preset.name} does not know the words {_some(unknown)}; {on}, whose captions "
                "have them."
            )


def _some(names: Sequence[str]) -> str:
    """The first NAMED names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
