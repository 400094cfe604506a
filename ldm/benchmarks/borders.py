"""Whether a picture that was made in parts shows where they meet.

H, W: rows and columns in px; a picture is (3, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

AROUND = (-2, -1, 1, 2)  # neighbours of a row
BLOCK = 64  # px a side: tones are compared block by block


def standing_out(picture: np.ndarray) -> np.ndarray:
    """(H,): how many times the gradient energy of its neighbours each row has.

    The gradient of row y is the step from row y - 1 to it. 1 at the upper and lower edge, which
    have too few neighbours.
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
    """By how much rows stand out from their neighbours more than they should, at the worst.

    Upsampling leaves rows that stand out in every picture, so the same row of the picture that was
    made whole is taken off: 0.01 is one per cent of the neighbours' energy.

    Args:
        picture: Made in parts.
        whole: The same, made whole.
        borders: Rows where parts meet.

    Returns:
        Of the borders and of all other rows: rounding alone makes those stand out, too.
    """
    excess = standing_out(picture) - standing_out(whole)
    is_border = np.zeros(len(excess), bool)
    is_border[list(borders)] = True
    worst = (float(excess[rows].max(initial=0.0)) for rows in (is_border, ~is_border))
    return next(worst), next(worst)


def tone_shift(picture: np.ndarray, whole: np.ndarray) -> float:
    """The largest difference between the mean colours of a block in both."""
    blocks = [
        array[:, : array.shape[1] // BLOCK * BLOCK, : array.shape[2] // BLOCK * BLOCK]
        .reshape(3, array.shape[1] // BLOCK, BLOCK, -1, BLOCK)
        .mean((2, 4))
        for array in (picture.astype(np.float64), whole.astype(np.float64))
    ]
    return float(np.abs(blocks[0] - blocks[1]).max())
