"""The part of a canvas that a model works on, and how what it makes is put back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from ldm.canvas.wrapped import Wrap
from ldm.images import to_arrays, to_tensor
from ldm.tasks.joining import joined
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


def scaled(area: Area, array: np.ndarray) -> np.ndarray:
    """The area of a canvas at its working size."""
    return cv2.resize(area.of(array), (area.width, area.height), interpolation=cv2.INTER_AREA)


def without_seam(area: Area, canvas: np.ndarray, alpha: np.ndarray, made: np.ndarray) -> np.ndarray:
    """What was made (h, w, 3), at the working size, moved to meet what is around the hole."""
    made = np.ascontiguousarray(made[: area.height, : area.width])
    parts = (made, scaled(area, canvas), scaled(area, alpha) > 0)
    # edges that meet are continued by half the area, so that each sees all there is around
    above = area.height // 2 if area.wrap.down else 0
    left = area.width // 2 if area.wrap.across else 0
    made, given, hole = (continued(part, above, left) for part in parts)
    known = torch.from_numpy(hole)[None, None].float()
    (image,) = to_arrays(joined(to_tensor([made]), to_tensor([given]), known))
    return image[above : above + area.height, left : left + area.width]


def continued(array: np.ndarray, above: int, left: int) -> np.ndarray:
    """(H, W, ...) with so many rows and columns more at both ends, from the opposite one."""
    if not above and not left:
        return array
    ends = ((above, above), (left, left), *[(0, 0)] * (array.ndim - 2))
    return np.pad(array, ends, mode="wrap")


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

    A preview's colours are not quite the decoded ones; they too are moved to those around the hole.

    Args:
        hole: Of the canvas.
        area: What is made of it.
        canvas: (H, W, 3), turned as the hole's is.
        size: Height and width in px of what is made: the area, padded.

    Returns:
        (h, w, 3), the area at any scale, and the longer side in px that there is room for -> the
        canvas. A small area takes as little time as its latents take.
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
        made = without_seam(replace(there, height=height, width=width), around, alpha, made)
        back = tuple(-round(scale * by) for by in hole.turn)
        return turned(put_back(there, around, alpha, made), back)

    return shown


def _less(part: slice, scale: float) -> slice:
    """A part of a side, of the same side at a smaller scale."""
    start = int(scale * part.start)
    return slice(start, max(start + 1, round(scale * part.stop)))
