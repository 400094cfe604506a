"""Write a sheet of uncurated samples: the first held-out scenes or fixed prompts, fixed seeds."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldm.catalog.registry import load_preset
from ldm.errors import PresetError, RequestError
from ldm.evaluation.held_out import require_landscapes
from ldm.images.sheet import check_picture_file
from ldm.runtime.manager import ModelManager

GAP = 6  # px
CAPTION_HEIGHT = 34  # px
MODULES = {
    "text-to-image": "text_to_image",
    "semantic": "semantic",
    "upscale": "upscale",
    "inpaint": "inpaint",
    "layout": "layout",
    "class-conditional": "class_conditional",
}
"""Task -> the module of this folder whose `examples(preset, model)` returns the blocks."""


@dataclass(frozen=True)
class Block:
    """A row of pictures with a common caption."""

    caption: str
    pictures: Sequence[np.ndarray]  # (H, W, 3) uint8, all of one size


def write_grid(preset_name: str, path: Path) -> None:
    """Sample examples with a preset's defaults and write them as one picture file.

    Raises:
        PresetError: If the preset's task has no examples, or it cannot be asked for what is in
            them.
        RequestError: If `path` cannot be written.
    """
    preset = load_preset(preset_name)
    if preset.task not in MODULES:
        raise PresetError(
            f"{preset.name} does {preset.task}; there are grids of {', '.join(MODULES)}."
        )
    require_landscapes(preset)
    check_picture_file(path)  # before minutes of sampling
    module = importlib.import_module(f"ldm.evaluation.{MODULES[preset.task]}")
    with ModelManager().use(preset.name) as model:
        blocks = module.examples(preset, model)
    try:
        sheet(blocks, columns=2).save(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be written ({error}).") from error


def sheet(blocks: Sequence[Block], columns: int) -> Image.Image:
    """Arrange all blocks on one sheet, `columns` to a row."""
    made = [_block(block) for block in blocks]
    width, height = made[0].size
    rows = -(-len(made) // columns)
    size = (columns * (width + 4 * GAP) - 2 * GAP, rows * height + 2 * GAP)
    page = Image.new("RGB", size, "white")
    for i, block in enumerate(made):
        page.paste(block, (GAP + i % columns * (width + 4 * GAP), i // columns * height))
    return page


def _block(block: Block) -> Image.Image:
    """Draw a block: the caption, and under it the pictures in a row."""
    height, width, _ = block.pictures[0].shape
    row = np.full((height, len(block.pictures) * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, image in enumerate(block.pictures):
        row[:, i * (width + GAP) : i * (width + GAP) + width] = image
    made = Image.new("RGB", (row.shape[1], height + CAPTION_HEIGHT), "white")
    made.paste(Image.fromarray(row), (0, CAPTION_HEIGHT))
    text = textwrap.shorten(block.caption, 80)
    draw = ImageDraw.Draw(made)
    draw.text((2, 12), text, fill=(60, 70, 80), font=ImageFont.load_default(14))
    return made
