"""Sheets: pictures side by side, with labels for the columns and rows, and files to write them to.

This module needs no torch.
"""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldm.errors import RequestError

LONGEST = 8192  # px: most for all pictures of a row, or of a column, together
GAP = 8  # px
MARGIN = 20  # px
SHARE = 22  # a picture's shorter side / font size, ...
LETTERS = (13, 40)  # ... with font sizes within these limits in px
LINE = 1.35  # line spacing / font size
WIDEST = 14  # width of a row's label / font size, about
LINES = 3  # most lines of a label
TITLE_LINES = 12  # most lines of the title; all that is held fixed takes less
TITLE_WIDTH = 20  # least width of the title / font size
PAPER, INK, QUIET = (250, 248, 244), (45, 50, 58), (110, 116, 124)


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    above: Sequence[str],
    beside: Sequence[str] = (),
    title: str = "",
) -> np.ndarray:
    """Draw pictures in a labelled grid.

    Args:
        rows: Pictures (H, W, 3) uint8, the same number in every row; each is centred in its cell.
        above: Labels of the columns.
        beside: Labels of the rows; empty: the rows have none.
        title: Text above the grid.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = (max(image.shape[i] for row in rows for image in row) for i in (0, 1))
    letter = int(np.clip(min(width, height) / SHARE, *LETTERS))
    font, line = ImageFont.load_default(letter), round(LINE * letter)
    heads = [_lines(text, width, font) for text in above]
    room = max(1, min(LINES, height // line))
    sides = [_lines(text, WIDEST * letter, font, room) for text in beside]
    left = MARGIN + max((_width(words, font) + GAP for text in sides for words in text), default=0)
    right = left + len(above) * (width + GAP) - GAP + MARGIN
    if title:
        right = max(right, TITLE_WIDTH * letter + 2 * MARGIN)
    over = _lines(title, right - 2 * MARGIN, font, TITLE_LINES) if title else []
    top = MARGIN + line * (len(over) + bool(over) + max(map(len, heads))) + GAP
    bottom = top + len(rows) * (height + GAP) - GAP + MARGIN
    page = Image.new("RGB", (right, bottom), PAPER)
    draw = ImageDraw.Draw(page)
    _write(draw, over, (MARGIN, MARGIN), line, fill=QUIET, font=font)
    for i, text in enumerate(heads):
        at = left + i * (width + GAP) + width // 2, top - GAP - line * len(text)
        _write(draw, text, at, line, fill=INK, font=font, anchor="ma")
    for i, text in enumerate(sides):
        at = left - GAP, top + i * (height + GAP) + (height - line * len(text)) // 2
        _write(draw, text, at, line, fill=INK, font=font, anchor="ra")
    made = np.array(page)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            below = top + i * (height + GAP) + (height - image.shape[0]) // 2
            after = left + j * (width + GAP) + (width - image.shape[1]) // 2
            made[below : below + image.shape[0], after : after + image.shape[1]] = image
    return made


def shrunk_to(image: np.ndarray, down: int, across: int) -> np.ndarray:
    """Shrink a picture (H, W, 3) if `down` rows or `across` columns of it exceed LONGEST px."""
    height, width, _ = image.shape
    share = min(LONGEST / (across * width), LONGEST / (down * height))
    if share >= 1:
        return image
    size = max(1, int(width * share)), max(1, int(height * share))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def check_picture_file(path: Path) -> None:
    """Check before minutes of work that a picture can be written there.

    Raises:
        RequestError: See `check_file`; or if its name does not end like that of a picture.
    """
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise RequestError(f"{path} cannot be written; it should end in .png.")
    check_file(path)


def check_file(path: Path) -> None:
    """Check that a file can be written; make its folder.

    Raises:
        RequestError: If it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{path} cannot be written ({error}).") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise RequestError(f"{path} cannot be written; give a file in a folder of yours.")


def _write(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], at: tuple[int, int], line: int, **about: Any
) -> None:
    for i, words in enumerate(lines):
        draw.text((at[0], at[1] + i * line), words, **about)


def _lines(text: str, width: int, font: ImageFont.FreeTypeFont, most: int = LINES) -> list[str]:
    """Wrap a label to `width` px and at most `most` lines; an ellipsis marks text that is cut.

    The font that comes with Pillow has no accents, which are removed, and no ×.
    """
    text = unicodedata.normalize("NFKD", text.replace("×", "x"))
    text = "".join(c for c in text if not unicodedata.combining(c))
    about = {"max_lines": most, "placeholder": " …", "break_on_hyphens": False}
    for letters in range(max(4, 2 * width // _width("e", font)), 3, -1):
        lines = textwrap.wrap(text, letters, **about) or [""]
        if max(_width(line, font) for line in lines) <= width:
            break
    return lines


def _width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return int(np.ceil(font.getlength(text)))
