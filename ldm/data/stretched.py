"""Stretched scenes: things wider or narrower than they ever are.

In plain scenes a tree is taller than wide and a house is not, so that the shape of a box says what
is in it, and a model of layouts learns to pass over the label. Here shapes say less.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ldm.data import scenes
from ldm.data.rendering import render
from ldm.data.scenes import Sample


def stretched_scene(rng: np.random.Generator, size: int, most: float) -> Sample:
    """Draw a random scene, stretched along one side, of `size` x `size` px.

    Args:
        rng: Chooses the scene, and how far it is stretched.
        size: Side in px.
        most: Most times that its things become wider, or taller; at least 1.
    """
    wider = most ** rng.uniform(-1, 1)
    width, height = round(size * max(1, 1 / wider)), round(size * max(1, wider))
    return squeezed(render(scenes.sample(rng, width, height, scenes.MORE)), size)


def squeezed(sample: Sample, size: int) -> Sample:
    """Return a sample at `size` x `size` px, whatever its ratio is."""
    height, width = sample.labels.shape
    boxes = tuple(
        replace(
            box,
            x0=size * box.x0 // width,
            y0=size * box.y0 // height,
            x1=-(-size * box.x1 // width),
            y1=-(-size * box.y1 // height),
        )
        for box in sample.boxes
    )
    image = cv2.resize(sample.image, (size, size), interpolation=cv2.INTER_AREA)
    labels = cv2.resize(sample.labels, (size, size), interpolation=cv2.INTER_NEAREST)
    return replace(sample, image=image, labels=labels, boxes=boxes)
