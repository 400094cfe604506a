"""Uncurated samples on one sheet: eight prompts, the seeds 0 to 3, nothing chosen."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldm.catalog.registry import load_preset
from ldm.errors import PresetError
from ldm.requests import Result, TextToImage
from ldm.runtime.manager import ModelManager
from ldm.studio import resolve
from ldm.tasks import RUNNERS

PROMPTS = (
    "a calm lake with mountains at sunset",
    "a red house in the snow at night, the moon",
    "two pine trees, a green meadow, white clouds in the afternoon",
    "a sailing boat with a white sail on a quiet lake at dawn",
    "an autumn field with three trees, low hills, clear sky at noon",
    "snow covered ground, distant mountains, falling snow by day",
    "a sandy beach, still water, the sun in the sky at noon",
    "a yellow cottage on the left, fog, early in the morning",
)
SEEDS = 4
GAP = 6  # px
CAPTION_HEIGHT = 34  # px


def write_grid(preset_name: str, path: Path) -> None:
    """Draw every prompt with every seed, at the preset's defaults, and write one PNG.

    Raises:
        PresetError: If the preset does not make pictures from text.
    """
    preset = load_preset(preset_name)
    if preset.task != TextToImage.task:
        raise PresetError(f"{preset.name} does {preset.task}; a grid needs a text-to-image preset.")
    blocks = []
    with ModelManager().use(preset.name) as model:
        for prompt in PROMPTS:
            request = TextToImage(prompt=prompt, preset=preset.name, seed=0, count=SEEDS)
            *_, result = RUNNERS[request.task](model, resolve(request, preset))
            blocks.append(_block(prompt, result))
    path.parent.mkdir(parents=True, exist_ok=True)
    _sheet(blocks, columns=2).save(path)


def _block(prompt: str, result: Result) -> Image.Image:
    """Four pictures in a row under their prompt."""
    height, width, _ = result.images[0].shape
    row = np.full((height, SEEDS * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, image in enumerate(result.images):
        row[:, i * (width + GAP) : i * (width + GAP) + width] = image
    block = Image.new("RGB", (row.shape[1], height + CAPTION_HEIGHT), "white")
    block.paste(Image.fromarray(row), (0, CAPTION_HEIGHT))
    text = textwrap.shorten(prompt, 80)
    draw = ImageDraw.Draw(block)
    draw.text((2, 12), text, fill=(60, 70, 80), font=ImageFont.load_default(14))
    return block


def _sheet(blocks: list[Image.Image], columns: int) -> Image.Image:
    width, height = blocks[0].size
    rows = -(-len(blocks) // columns)
    size = (columns * (width + 4 * GAP) - 2 * GAP, rows * height + 2 * GAP)
    sheet = Image.new("RGB", size, "white")
    for i, block in enumerate(blocks):
        sheet.paste(block, (GAP + i % columns * (width + 4 * GAP), i // columns * height))
    return sheet
