"""Bounding boxes of scenes, in the form for training layout models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ldm.data.scenes import BOX_CLASSES, CLASSES


def corner_waves(side: int, width: int) -> Tensor:
    """Sines and cosines of row and column of each point of a square grid: (side * side, width)."""
    at = torch.linspace(0, 1, side)
    frequencies = torch.pi * torch.linspace(0.5, side / 4, -(-width // 4))
    waves = torch.cat([f(at[:, None] * frequencies) for f in (torch.sin, torch.cos)], dim=1)
    rows, columns = waves.repeat_interleave(side, dim=0), waves.repeat(side, 1)
    return torch.cat([rows, columns], dim=1)[:, :width]


def relative_boxes(
    boxes: Sequence[Mapping[str, Any]], width: int, height: int
) -> list[tuple[int, float, float, float, float]]:
    """Convert boxes in px to (class, left, top, right, bottom), in fractions of the picture."""
    return [
        (
            BOX_CLASSES.index(box["label"]),
            box["x0"] / width,
            box["y0"] / height,
            box["x1"] / width,
            box["y1"] / height,
        )
        for box in boxes
    ]


def outlined_boxes(boxes: Sequence[Mapping[str, Any]], width: int, height: int) -> np.ndarray:
    """Draw outlines of boxes in class colours on grey: (H, W, 3) uint8."""
    image = Image.new("RGB", (width, height), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    for box in boxes:
        corners = (box["x0"], box["y0"], box["x1"] - 1, box["y1"] - 1)
        draw.rectangle(corners, outline=CLASSES[box["label"]], width=2)
    return np.asarray(image)
