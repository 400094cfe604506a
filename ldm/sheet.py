"""Pictures side by side on one sheet, with what each column and row is.

This module needs no torch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LONGEST = 8192  # px of a sheet's longer side; the pictures on a larger one are made smaller
GAP = 8  # px
MARGIN = 20  # px
SHARE = 22  # a letter is so many times smaller than a picture, ...
LETTERS = (13, 40)  # ... within these heights in px
LINE = 1.35  # letters from one line to the next
WIDEST = 14  # letters wide, about: what stands beside a row
LINES = 3  # of a label at most
PAPER, INK, QUIET = (250, 248, 244), (45, 50, 58), (110, 116, 124)


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    above: Sequence[str],
    beside: Sequence[str] = (),
    title: str = "",
) -> np.ndarray:
    """All pictures in a grid on paper.

    Args:
        rows: (H, W, 3) uint8 each, as many in every row; each stands in the middle of its cell.
        above: What the columns are.
        beside: What the rows are; none: there is nothing to say.
        title: A line over all of it.

    Returns:
        (H, W, 3) uint8.
    """
    made = _pictures(rows)
    width, height = (max(image.size[i] for row in made for image in row) for i in (0, 1))
    letter = int(np.clip(min(width, height) / SHARE, *LETTERS))
    font, line = ImageFont.load_default(letter), round(LINE * letter)
    heads = [_lines(text, width, font) for text in above]
    sides = [_lines(text, WIDEST * letter, font) for text in beside]
    left = MARGIN + max((_width(words, font) + GAP for text in sides for words in text), default=0)
    top = MARGIN + 2 * line * bool(title) + line * max(map(len, heads)) + GAP
    right = left + len(above) * (width + GAP) - GAP + MARGIN
    bottom = top + len(rows) * (height + GAP) - GAP + MARGIN
    page = Image.new("RGB", (right, bottom), PAPER)
    draw = ImageDraw.Draw(page)
    over = _lines(title, right - 2 * MARGIN, font)[:1] if title else []
    _write(draw, over, (MARGIN, MARGIN), line, fill=QUIET, font=font)
    for i, text in enumerate(heads):
        at = left + i * (width + GAP) + width // 2, top - GAP - line * len(text)
        _write(draw, text, at, line, fill=INK, font=font, anchor="ma")
    for i, text in enumerate(sides):
        at = left - GAP, top + i * (height + GAP) + (height - line * len(text)) // 2
        _write(draw, text, at, line, fill=INK, font=font, anchor="ra")
    for i, row in enumerate(made):
        for j, image in enumerate(row):
            across = left + j * (width + GAP) + (width - image.width) // 2
            page.paste(image, (across, top + i * (height + GAP) + (height - image.height) // 2))
    return np.asarray(page)


def _pictures(rows: Sequence[Sequence[np.ndarray]]) -> list[list[Image.Image]]:
    """As large as they are, or all of them smaller."""
    height, width = (max(image.shape[i] for row in rows for image in row) for i in (0, 1))
    share = min(1.0, LONGEST / (len(rows[0]) * width), LONGEST / (len(rows) * height))

    def fitted(array: np.ndarray) -> Image.Image:
        image = Image.fromarray(array)
        if share == 1:
            return image
        size = [max(1, int(side * share)) for side in image.size]
        return image.resize(size, Image.Resampling.LANCZOS)

    return [[fitted(array) for array in row] for row in rows]


def _write(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], at: tuple[int, int], line: int, **about: Any
) -> None:
    for i, words in enumerate(lines):
        draw.text((at[0], at[1] + i * line), words, **about)


def _lines(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """A label in a few lines that fit; the last ends in dots if there is more to say."""
    letters = max(4, int(width / (_width("abcdefghij", font) / 10)))
    return textwrap.wrap(text, letters, max_lines=LINES, placeholder=" …") or [""]


def _width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return int(np.ceil(font.getlength(text)))
