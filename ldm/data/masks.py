"""Holes to train inpainting on, after LaMa's protocol (arXiv:2109.07161, App. B): thick and thin
strokes and boxes; besides whole borders, which are what growing a canvas leaves to be drawn.

Masks are (H, W) uint8, 1 = generate, 0 = keep. Sizes are px for pictures about 128 px high; a wider
picture has more strokes and boxes, not larger ones.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

SHARE = (0.02, 0.7)  # of the picture that a hole may take, but for whole pictures
UNIT = 128  # px of width that the counts are meant for


def draw(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A random hole.

    Args:
        rng: All of its randomness.
        width: px.
        height: px.
    """
    return draw_kind(choose(rng), rng, width, height)


def choose(rng: np.random.Generator) -> str:
    """One of KINDS, as often as it is drawn."""
    names = list(KINDS)
    return names[int(rng.choice(len(names), p=[KINDS[name][0] for name in names]))]


def draw_kind(kind: str, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A random hole of one of KINDS."""
    if kind == "all":
        return np.ones((height, width), np.uint8)
    while True:
        mask = KINDS[kind][1](rng, width, height)
        if SHARE[0] <= mask.mean() <= SHARE[1]:
            return mask


def thick_strokes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """One to four broad strokes, as of a hand that wipes something away."""
    return _strokes(rng, (width, height), count=(1, 4), breadth=(10, 36), length=(10, 56))


def thin_strokes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Many narrow strokes, like scratches and wires."""
    return _strokes(rng, (width, height), count=(4, 20), breadth=(2, 8), length=(10, 56))


def boxes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """One to four rectangles."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(_count(rng, (1, 4), width)):
        w, h = rng.integers(12, 72, size=2)
        x, y = rng.integers(-w // 2, width - w // 2), rng.integers(-h // 2, height - h // 2)
        mask[max(y, 0) : y + h, max(x, 0) : x + w] = 1
    return mask


def borders(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """One side, or two that meet."""
    mask = np.zeros((height, width), np.uint8)
    first, second = rng.permutation(2)
    for axis in (first, second)[: int(rng.integers(1, 3))]:
        side = mask.shape[axis]
        depth = int(side * rng.uniform(0.1, 0.55))
        where = slice(0, depth) if rng.random() < 0.5 else slice(side - depth, side)
        mask[(where, slice(None)) if axis == 0 else (slice(None), where)] = 1
    return mask


Kind = Callable[[np.random.Generator, int, int], np.ndarray]
KINDS: dict[str, tuple[float, Kind | None]] = {
    "thick": (0.4, thick_strokes),
    "thin": (0.15, thin_strokes),
    "boxes": (0.25, boxes),
    "borders": (0.17, borders),
    "all": (0.03, None),
}
"""Kind -> how often it is drawn, and what draws it."""


def _count(rng: np.random.Generator, bounds: tuple[int, int], width: int) -> int:
    """How many, for a picture of this width; bounds are inclusive."""
    return max(1, round(int(rng.integers(bounds[0], bounds[1] + 1)) * width / UNIT))


def _strokes(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    count: tuple[int, int],
    breadth: tuple[float, float],
    length: tuple[float, float],
) -> np.ndarray:
    """Zigzag strokes of one to five legs with round ends."""
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


def _point(at: np.ndarray) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def to_cells(mask: np.ndarray, factor: int) -> np.ndarray:
    """The mask grown to whole cells of `factor` px: a cell with any masked px is masked.

    Raises:
        ValueError: If a side is no multiple of `factor`.
    """
    height, width = mask.shape
    if height % factor or width % factor:
        raise ValueError(f"sides must be multiples of {factor}, got {(height, width)}")
    cells = mask.reshape(height // factor, factor, width // factor, factor).max(axis=(1, 3))
    return np.kron(cells, np.ones((factor, factor), mask.dtype))
