"""Measures of visible borders in a picture that was computed in parts.

H, W: rows and columns in px; a picture is (3, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

AROUND = (-2, -1, 1, 2)  # offsets of a row's neighbours
BLOCK = 64  # side in px of the blocks whose mean colours are compared


def standing_out(picture: np.ndarray) -> np.ndarray:
    """Return the gradient energy of each row relative to that of its neighbours, (H,).

    The gradient of row y is the step from row y - 1 to it. At the upper and lower edge, where there
    are too few neighbours, the result is 1.
    """
    energy = np.zeros(picture.shape[1])
    energy[1:] = np.square(np.diff(picture.astype(np.float64), axis=1)).mean((0, 2))
    around = np.mean([np.roll(energy, -step) for step in AROUND], axis=0)
    share = energy / np.maximum(around, np.finfo(np.float64).tiny)
    share[: 1 + max(AROUND)] = share[min(AROUND) :] = 1.0
    return share


def border_excess(
    picture: np.ndarray, whole: np.ndarray, borders: Iterable[int]
) -> tuple[float, float]:
    """Return the largest excess of gradient energy of rows over that in the whole picture.

    Upsampling makes some rows stand out in every picture, so the value of the same row in the
    picture that was computed whole is subtracted. 0.01 is one per cent of the neighbours' energy.

    Args:
        picture: Picture computed in parts.
        whole: The same picture computed whole.
        borders: Rows where parts meet.

    Returns:
        The largest excess among the borders, and among all other rows, where rounding is the cause.
    """
    excess = standing_out(picture) - standing_out(whole)
    is_border = np.zeros(len(excess), bool)
    is_border[list(borders)] = True
    worst = (float(excess[rows].max(initial=0.0)) for rows in (is_border, ~is_border))
    return next(worst), next(worst)


def tone_shift(picture: np.ndarray, whole: np.ndarray) -> float:
    """Return the largest difference between the mean colours of a block in both pictures."""
    blocks = [
        array[:, : array.shape[1] // BLOCK * BLOCK, : array.shape[2] // BLOCK * BLOCK]
        .reshape(3, array.shape[1] // BLOCK, BLOCK, -1, BLOCK)
        .mean((2, 4))
        for array in (picture.astype(np.float64), whole.astype(np.float64))
    ]
    return float(np.abs(blocks[0] - blocks[1]).max())
