"""The part of a canvas that a model works on, and how its output is blended back."""

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

STRIP_ROWS = 64  # rows of a canvas that are blended at a time


@dataclass(frozen=True)
class Area:
    """The part of the canvas that the model works on, scaled to `height` x `width` px.

    `wrap`: which of its edges meet; only a side that spans the whole canvas can wrap.
    """

    rows: slice
    columns: slice
    height: int
    width: int
    wrap: Wrap = WRAPS["no"]

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return this part of a canvas, as a view."""
        return array[self.rows, self.columns]

    def fitted(self, multiple: int) -> Area:
        """Round up the working size where edges meet, since these sides cannot be padded."""
        down, across = (multiple if meets else 1 for meets in (self.wrap.down, self.wrap.across))
        return replace(
            self, height=rounded_up(self.height, down), width=rounded_up(self.width, across)
        )


@dataclass(frozen=True)
class Hole:
    """A hole to fill, in a canvas that is rolled until the hole does not cross edges that meet.

    Args:
        turn: Rows and columns by which the canvas is rolled; 0 where edges do not meet.
        alpha: (H, W) float32 of the rolled canvas, 1 in the mask, falling to 0 around it.
        area: The part of the rolled canvas that the model sees.
    """

    turn: tuple[int, int]
    alpha: np.ndarray
    area: Area


def rolled(array: np.ndarray, turn: tuple[int, ...]) -> np.ndarray:
    """Roll (H, W, ...) by `turn` rows and columns."""
    return np.roll(array, turn, axis=(0, 1)) if any(turn) else array


def scaled(area: Area, array: np.ndarray) -> np.ndarray:
    """Return the area of a canvas (H, W, ...), scaled to its working size."""
    return cv2.resize(area.of(array), (area.width, area.height), interpolation=cv2.INTER_AREA)


def without_seam(area: Area, canvas: np.ndarray, alpha: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Shift the colours of a filling (h, w, 3), at the working size, to meet those around it."""
    made = np.ascontiguousarray(made[: area.height, : area.width])
    parts = (made, scaled(area, canvas), scaled(area, alpha) > 0)
    # edges that meet are continued by half the area, so that each sees its surroundings
    above = area.height // 2 if area.wrap.down else 0
    left = area.width // 2 if area.wrap.across else 0
    made, given, hole = (continued(part, above, left) for part in parts)
    marked = torch.from_numpy(hole)[None, None].float()
    (image,) = to_arrays(joined(to_tensor([made]), to_tensor([given]), marked))
    return image[above : above + area.height, left : left + area.width]


def continued(array: np.ndarray, above: int, left: int) -> np.ndarray:
    """Pad (H, W, ...) periodically: `above` rows at both ends, `left` columns at both sides."""
    if not above and not left:
        return array
    ends = ((above, above), (left, left), *[(0, 0)] * (array.ndim - 2))
    return np.pad(array, ends, mode="wrap")


def put_back(area: Area, canvas: np.ndarray, alpha: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Blend a filling of the area into a canvas; where `alpha` is 0, nothing changes.

    Args:
        area: The area that is filled.
        canvas: (H, W, 3) uint8.
        alpha: (H, W) float32, the weight of the filling.
        made: The filling (h, w, 3); it is scaled to the size of the area in the canvas.
    """
    before, weights = area.of(canvas), area.of(alpha)[:, :, None]
    if made.shape != before.shape:
        size = (before.shape[1], before.shape[0])
        made = cv2.resize(made, size, interpolation=cv2.INTER_CUBIC)
    after = canvas.copy()
    for top in range(0, len(before), STRIP_ROWS):  # all of a photograph in floats is large
        rows = slice(top, top + STRIP_ROWS)
        weight = weights[rows]
        blended = np.rint(weight * made[rows] + (1 - weight) * before[rows]).astype(np.uint8)
        area.of(after)[rows] = np.where(weight > 0, blended, before[rows])
    return after


def standing_in(
    hole: Hole, area: Area, canvas: np.ndarray, size: tuple[int, int]
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Return a function that shows a preview of the area in its place in the given picture.

    The colours of a preview are only close to the decoded ones; like these, they are shifted to
    meet those around the hole.

    Args:
        hole: The hole of the canvas.
        area: The area that is filled.
        canvas: (H, W, 3), rolled by the hole's `turn`.
        size: Height and width in px of what the model makes: the area at its working size, padded.

    Returns:
        (preview (h, w, 3) of the padded area at any scale, longest side in px) -> the canvas, not
        rolled, at most as large. Its time depends on the size of the preview.
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
        return rolled(put_back(there, around, alpha, made), back)

    return shown


def _less(part: slice, scale: float) -> slice:
    """Scale a slice of a side by `scale` <= 1; it keeps at least one pixel."""
    start = int(scale * part.start)
    return slice(start, max(start + 1, round(scale * part.stop)))
