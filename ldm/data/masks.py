"""Random masks for the training of inpainting, after LaMa (arXiv:2109.07161, App. B).

As there, holes are thick and thin strokes and boxes. Whole borders are added, since these are the
holes of a canvas that has grown.

Masks are (H, W) uint8, 1 = generate, 0 = keep. Sizes are px for pictures about 128 px high; a wider
picture has more strokes and boxes, not larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

SHARE = (0.02, 0.7)  # least and greatest share of the picture in a hole, except for kind "all"
MARGIN = (0.0, 0.4)  # of a box's side that a hole around it adds on each side
UNIT = 128  # width in px that the counts refer to


def draw(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a random mask of a random kind.

    Args:
        rng: Source of all randomness.
        width: Width in px.
        height: Height in px.
    """
    return draw_kind(choose(rng), rng, width, height)


def choose(rng: np.random.Generator) -> str:
    """Choose one of KINDS with its probability."""
    names = list(KINDS)
    return names[int(rng.choice(len(names), p=[KINDS[name][0] for name in names]))]


def draw_kind(kind: str, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a random mask of one of KINDS, repeatedly until its share is within SHARE."""
    if kind == "all":
        return np.ones((height, width), np.uint8)
    while True:
        mask = KINDS[kind][1](rng, width, height)
        if SHARE[0] <= mask.mean() <= SHARE[1]:
            return mask


def thick_strokes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw one to four broad strokes per 128 px of width, like those that remove an object."""
    return _strokes(rng, (width, height), count=(1, 4), breadth=(10, 36), length=(10, 56))


def thin_strokes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw 4 to 20 narrow strokes per 128 px of width, like scratches and wires."""
    return _strokes(rng, (width, height), count=(4, 20), breadth=(2, 8), length=(10, 56))


def boxes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw one to four rectangles per 128 px of width."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(_count(rng, (1, 4), width)):
        w, h = rng.integers(12, 72, size=2)
        x, y = rng.integers(-w // 2, width - w // 2), rng.integers(-h // 2, height - h // 2)
        mask[max(y, 0) : y + h, max(x, 0) : x + w] = 1
    return mask


def borders(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Mask the border at one side, or at two adjacent sides."""
    mask = np.zeros((height, width), np.uint8)
    first, second = rng.permutation(2)
    for axis in (first, second)[: int(rng.integers(1, 3))]:
        side = mask.shape[axis]
        depth = int(side * rng.uniform(0.1, 0.55))
        where = slice(0, depth) if rng.random() < 0.5 else slice(side - depth, side)
        mask[(where, slice(None)) if axis == 0 else (slice(None), where)] = 1
    return mask


def around(rng: np.random.Generator, width: int, height: int, box: Sequence[int]) -> np.ndarray:
    """Draw a rectangle or an ellipse around a box of corners x0, y0, x1, y1, as a hand would."""
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    left, right = x0 - rng.uniform(*MARGIN) * w - 2, x1 + rng.uniform(*MARGIN) * w + 2
    top, bottom = y0 - rng.uniform(*MARGIN) * h - 2, y1 + rng.uniform(*MARGIN) * h + 2
    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        cv2.rectangle(mask, _point((left, top)), _point((right, bottom)), 1, -1)
    else:
        middle = _point(((left + right) / 2, (top + bottom) / 2))
        # the box's corners lie in the ellipse
        axes = _point(((right - left) / 2**0.5, (bottom - top) / 2**0.5))
        cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    return mask


Kind = Callable[[np.random.Generator, int, int], np.ndarray]
KINDS: dict[str, tuple[float, Kind | None]] = {
    "thick": (0.4, thick_strokes),
    "thin": (0.15, thin_strokes),
    "boxes": (0.25, boxes),
    "borders": (0.17, borders),
    "all": (0.03, None),
}
"""Kind -> its probability, and the function that draws it."""


def _count(rng: np.random.Generator, bounds: tuple[int, int], width: int) -> int:
    """Choose a number within `bounds`, inclusive, scaled by the width; at least 1."""
    return max(1, round(int(rng.integers(bounds[0], bounds[1] + 1)) * width / UNIT))


def _strokes(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    count: tuple[int, int],
    breadth: tuple[float, float],
    length: tuple[float, float],
) -> np.ndarray:
    """Draw zigzag strokes of one to five legs with round ends."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    for _ in range(_count(rng, count, width)):
        at = rng.uniform((0, 0), (width, height))
        thickness = round(rng.uniform(*breadth))
        heading = rng.uniform(0, 2 * np.pi)
        for leg in range(int(rng.integers(1, 6))):
            turn = rng.uniform(-0.7, 0.7) + (np.pi if leg % 2 else 0)
            reach = rng.uniform(*length)
            angle = heading + turn
            to = np.clip(at + reach * np.array([np.cos(angle), np.sin(angle)]), 0, (width, height))
            cv2.line(mask, _point(at), _point(to), 1, thickness)
            cv2.circle(mask, _point(to), thickness // 2, 1, -1)
            at = to
    return mask


def _point(at: Sequence[float]) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def to_cells(mask: np.ndarray, factor: int) -> np.ndarray:
    """Grow the mask to whole cells of `factor` px: a cell with any masked px is masked.

    Raises:
        ValueError: If a side is no multiple of `factor`.
    """
    height, width = mask.shape
    if height % factor or width % factor:
        raise ValueError(f"sides must be multiples of {factor}, got {(height, width)}")
    cells = mask.reshape(height // factor, factor, width // factor, factor).max(axis=(1, 3))
    return np.kron(cells, np.ones((factor, factor), mask.dtype))
