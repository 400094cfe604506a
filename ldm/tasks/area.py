"""The part of a canvas that a model works on, and how what it makes is put back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ldm.canvas.wrapped import Wrap
from ldm.tasks.settings import WRAPS, rounded_up

STRIP_ROWS = 64  # of a canvas that are blended at a time


@dataclass(frozen=True)
class Area:
    """The part of the canvas that the model works on, and the size in px at which it does.

    `wrap`: which of its edges meet, as it goes around the whole canvas.
    """

    rows: slice
    columns: slice
    height: int
    width: int
    wrap: Wrap = WRAPS["no"]

    def of(self, array: np.ndarray) -> np.ndarray:
        """That part of a canvas; a view."""
        return array[self.rows, self.columns]

    def fitted(self, multiple: int) -> Area:
        """The same, its sides multiples where they meet: nothing can be added to those."""
        down, across = (multiple if meets else 1 for meets in (self.wrap.down, self.wrap.across))
        return replace(
            self, height=rounded_up(self.height, down), width=rounded_up(self.width, across)
        )


@dataclass(frozen=True)
class Hole:
    """What is made anew of a canvas that is turned around until the hole does not cross its edges.

    Args:
        turn: By how many rows and columns; 0 where edges do not meet.
        alpha: (H, W) float32 of the turned canvas, 1 in the mask, falling to 0 around it.
        area: What the model sees of it.
    """

    turn: tuple[int, int]
    alpha: np.ndarray
    area: Area


def turned(array: np.ndarray, turn: tuple[int, ...]) -> np.ndarray:
    """(H, W, ...), every pixel so many rows and columns farther, around the edges."""
    return np.roll(array, turn, axis=(0, 1)) if any(turn) else array


def put_back(area: Area, canvas: np.ndarray, alpha: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The canvas with the made part, at the area's working size, blended in by `alpha`; where that
    is 0, nothing changes."""
    before, weights = area.of(canvas), area.of(alpha)[:, :, None]
    if made.shape != before.shape:
        size = (before.shape[1], before.shape[0])
        made = cv2.resize(made, size, interpolation=cv2.INTER_CUBIC)
    after = canvas.copy()
    for top in range(0, len(before), STRIP_ROWS):  # in floats, a photograph is large
        rows = slice(top, top + STRIP_ROWS)
        weight = weights[rows]
        blended = np.rint(weight * made[rows] + (1 - weight) * before[rows]).astype(np.uint8)
        area.of(after)[rows] = np.where(weight > 0, blended, before[rows])
    return after


def standing_in(
    hole: Hole, area: Area, canvas: np.ndarray, size: tuple[int, int]
) -> Callable[[np.ndarray, int], np.ndarray]:
    """How a preview of the area is shown: in its place in what was given, which stands as it is.

    Args:
        hole: Of the canvas.
        area: What is made of it.
        canvas: (H, W, 3), turned as the hole's is.
        size: Height and width in px of what is made: the area, padded.

    Returns:
        (h, w, 3) of any scale, and the longer side in px that there is room for -> the canvas.
    """

    @functools.cache  # one canvas serves all previews of a run
    def small(side: int) -> tuple[Area, np.ndarray, np.ndarray, float]:
        scale = min(1.0, side / max(canvas.shape[:2]))
        height, width = (max(1, round(scale * length)) for length in canvas.shape[:2])
        less = (
            cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
            for array in (canvas, hole.alpha)
        )
        rows, columns = (_less(part, scale) for part in (area.rows, area.columns))
        return replace(area, rows=rows, columns=columns), *less, scale

    def shown(made: np.ndarray, side: int) -> np.ndarray:
        there, around, alpha, scale = small(side)
        height, width = (
            max(1, round(length * own / padded))
            for length, own, padded in zip(
                made.shape[:2], (area.height, area.width), size, strict=True
            )
        )
        back = tuple(-round(scale * by) for by in hole.turn)
        return turned(put_back(there, around, alpha, made[:height, :width]), back)

    return shown


def _less(part: slice, scale: float) -> slice:
    """A part of a side, of the same side at a smaller scale."""
    start = int(scale * part.start)
    return slice(start, max(start + 1, round(scale * part.stop)))
