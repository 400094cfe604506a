"""Label maps, (H, W) uint8 with one class per pixel: run-length coding, scaling, reading of files.

Nothing here depends on the page. A mask is a label map of two classes: 0 keep, 1 generate.
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

RUN = np.dtype([("label", "u1"), ("length", "<u4")])  # `length` px of one class, in row-major order


def encode_runs(labels: np.ndarray) -> str:
    """(H, W) uint8 -> base64 of its runs in row-major order; runs may span rows."""
    flat = np.ascontiguousarray(labels, np.uint8).ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    runs = np.empty(len(starts), RUN)
    runs["label"] = flat[starts]
    runs["length"] = np.diff(np.append(starts, flat.size))
    return base64.b64encode(runs.tobytes()).decode()


def decode_runs(text: str, width: int, height: int, classes: int = 256) -> np.ndarray:
    """The inverse of `encode_runs`, for untrusted input.

    Args:
        text: Base64 of runs.
        width: In px.
        height: In px.
        classes: Number of classes; all labels must be below it.

    Returns:
        (height, width) uint8.

    Raises:
        RequestError: If the text is not base64 of runs, the runs do not add up to width x height
            px, or a label is not below `classes`.
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
    """Resize labels by nearest neighbour: every pixel takes the class at its centre."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[rows[:, None], columns[None, :]]


def read_mask(path: Path, width: int, height: int) -> tuple[np.ndarray, str]:
    """Read a mask from a picture file: what is lighter than middle grey is generated.

    Args:
        path: The file.
        width: Width of the masked picture in px. A mask of another size is scaled to it.
        height: Height of the masked picture in px.

    Returns:
        (height, width) uint8 of 0 and 1, and a note for the user ("": none).

    Raises:
        RequestError: If the file is not a picture, or its aspect ratio is not the masked picture's.
    """
    mask = EncodedImage.mask_from_file(path).marked().astype(np.uint8)
    rows, columns = mask.shape
    if (columns, rows) == (width, height):
        return mask, "" if mask.any() else f"{path.name} is dark everywhere: nothing is marked."
    off = abs(width - columns * height / rows)  # px; the mask's own sides may be rounded
    if off > 1 + height / rows / 2:
        raise RequestError(
            f"the mask must be as large as the picture, {width} x {height} px, "
            f"or of its proportions, got {columns} x {rows} px."
        )
    note = f"Scaled from {columns} × {rows} px to the picture's {width} × {height} px."
    return scaled(mask, width, height), note


def read_map(path: Path, colours: Sequence[str]) -> tuple[np.ndarray, str]:
    """Read a label map from a picture file of class indices or of class colours.

    Args:
        path: The file. A grey picture whose values are all below the number of classes is read as
            class indices.
        colours: `#rrggbb` of every class.

    Returns:
        (H, W) uint8, and a note for the user ("": every pixel had the colour of a class).

    Raises:
        RequestError: If the file is not a picture.
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
    """The values of a grey picture; None for any other.

    A palette picture's indices are not class indices: programs order palettes as they like.
    """
    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L")
    except Exception:  # Pillow's readers raise nearly every kind of error
        return None  # the next reader reports it
    return EncodedImage.labels_from_file(path).array() if grey else None


def snapped(rgb: np.ndarray, colours: Sequence[str]) -> tuple[np.ndarray, int, int]:
    """Map every pixel to the class of the nearest colour.

    Args:
        rgb: (H, W, 3) uint8.
        colours: `#rrggbb` of every class.

    Returns:
        (H, W) uint8 labels, the number of distinct colours that belong to no class, and the number
        of pixels with such a colour.
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
