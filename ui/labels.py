"""Painted labels as numbers: one class per pixel, (H, W) uint8, and how they travel and arrive.

Nothing here knows the page. A mask is a label map of two classes: 0 keep, 1 generate.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ldm.errors import RequestError
from ldm.requests import EncodedImage

RUN = np.dtype([("label", "u1"), ("length", "<u4")])  # so many px of one class, row by row


def encode_runs(labels: np.ndarray) -> str:
    """(H, W) uint8 -> base64 of its runs, row by row without a break at the end of a row."""
    flat = np.ascontiguousarray(labels, np.uint8).ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    runs = np.empty(len(starts), RUN)
    runs["label"] = flat[starts]
    runs["length"] = np.diff(np.append(starts, flat.size))
    return base64.b64encode(runs.tobytes()).decode()


def decode_runs(text: str, width: int, height: int, classes: int = 256) -> np.ndarray:
    """What `encode_runs` wrote; whoever sends it may send anything.

    Args:
        text: Base64 of runs.
        width: In px.
        height: In px.
        classes: Labels are below it.

    Returns:
        (height, width) uint8.

    Raises:
        RequestError: If the runs are none, of another length or of an unknown class.
    """
    try:
        runs = np.frombuffer(base64.b64decode(text, validate=True), RUN)
    except (ValueError, TypeError, binascii.Error) as error:
        raise RequestError(
            "the painting arrived damaged; paint once more and try again."
        ) from error
    total = int(runs["length"].sum(dtype=np.uint64))
    if total != width * height:
        raise RequestError(f"the painting must have {width} x {height} px, got {total} px.")
    if runs["label"].max() >= classes:
        raise RequestError(f"a painted class must be below {classes}, got {runs['label'].max()}.")
    return np.repeat(runs["label"], runs["length"]).reshape(height, width)


def scaled(labels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Labels at another size; every pixel takes the class at its centre, none is mixed."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[rows[:, None], columns[None, :]]


def read_mask(path: Path, width: int, height: int) -> tuple[np.ndarray, str]:
    """A mask from a picture file: what is lighter than middle grey is made anew.

    Args:
        path: The file.
        width: Of the picture that it masks, in px.
        height: Likewise.

    Returns:
        (height, width) uint8 of 0 and 1, and what a person should know ("": nothing).

    Raises:
        RequestError: If it is no picture, or of other proportions than the picture's.
    """
    mask = EncodedImage.mask_from_file(path).marked().astype(np.uint8)
    rows, columns = mask.shape
    if (columns, rows) == (width, height):
        return mask, "" if mask.any() else f"{path.name} is dark everywhere: nothing is marked."
    off = abs(width - columns * height / rows)  # px; its own sides were rounded too
    if off > 1 + height / rows / 2:
        raise RequestError(
            f"the mask must be as large as the picture, {width} x {height} px, "
            f"or of its proportions, got {columns} x {rows} px."
        )
    note = f"Scaled from {columns} × {rows} px to the picture's {width} × {height} px."
    return scaled(mask, width, height), note


def read_map(path: Path, colours: Sequence[str]) -> tuple[np.ndarray, str]:
    """A label map from a picture file: of class numbers, or painted in the classes' colours.

    Args:
        path: The file. One channel below the number of classes is taken as class numbers.
        colours: `#rrggbb` of every class.

    Returns:
        (H, W) uint8, and what a person should know ("": every colour was a class's).

    Raises:
        RequestError: If it is no picture.
    """
    numbers = _numbers(path)
    if numbers is not None and numbers.max() < len(colours):
        return numbers, "Taken as class numbers, since it has one channel."
    rgb = EncodedImage.from_file(path).array()
    labels, unknown, pixels = snapped(rgb, colours)
    if not unknown:
        return labels, ""
    plural, are = ("s", "were") if unknown > 1 else ("", "was")
    share = 100 * pixels / labels.size
    return labels, (
        f"{unknown} unknown colour{plural} in {pixels} of {labels.size} px ({share:.1f} %) "
        f"{are} taken for the nearest class."
    )


def _numbers(path: Path) -> np.ndarray | None:
    """The values of a grey picture, None of any other; a palette's indices are no class numbers,
    since programs put colours into a palette in an order of their own."""
    try:
        with Image.open(path) as image:
            grey = image.mode == "L"
    except (OSError, Image.DecompressionBombError):
        return None  # whoever reads it next says what is wrong
    return EncodedImage.labels_from_file(path).array() if grey else None


def snapped(rgb: np.ndarray, colours: Sequence[str]) -> tuple[np.ndarray, int, int]:
    """The class of the nearest colour for every pixel.

    Args:
        rgb: (H, W, 3) uint8.
        colours: `#rrggbb` of every class.

    Returns:
        (H, W) uint8, how many colours were no class's, and how many pixels had one.
    """
    known = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=2, dtype=np.uint32)
    found, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    split = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(int)
    nearest = np.empty(len(found), np.uint8)
    distance = np.empty(len(found), int)
    for part in np.array_split(np.arange(len(found)), len(found) // 4096 + 1):
        squares = ((split[part, None] - known[None]) ** 2).sum(axis=2)
        nearest[part], distance[part] = squares.argmin(axis=1), squares.min(axis=1)
    strange = distance > 0
    labels = nearest[inverse.reshape(packed.shape)]
    return labels, int(strange.sum()), int(counts[strange].sum())
