"""Pictures at the edges: files, arrays and tensors. Everything inside is RGB.

Arrays are (H, W, 3) uint8; tensors are (B, 3, H, W) float in [-1, 1].
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from ldm.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 40_000_000  # what a person may hand in; checked before anything is decoded


def open_image(path: Path) -> Image.Image:
    """Open a picture that a person handed in, upright and as RGB.

    Raises:
        RequestError: If it is no picture, is damaged or has more than MAX_PIXELS pixels.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
            check_size(image, path.name)
            return ImageOps.exif_transpose(image).convert("RGB")
    except RequestError:
        raise
    except Image.DecompressionBombError as error:  # Pillow refuses it before we can ask its size
        pixels = int(re.search(r"\d+", str(error)).group())
        raise RequestError(
            f"{path.name} has {pixels / 1e6:.0f} megapixels; up to {MAX_PIXELS // 1_000_000} work."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise RequestError(f"{path.name} is no readable picture; PNG and JPEG work.") from error


def check_size(image: Image.Image, name: str) -> None:
    """Refuse a picture of more than MAX_PIXELS pixels.

    Raises:
        RequestError: With its size.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RequestError(
            f"{name} is {width} x {height} px; up to {MAX_PIXELS // 1_000_000} megapixels work."
        )


def to_tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    """B arrays (H, W, 3) uint8 of one size -> (B, 3, H, W) float32 in [-1, 1]."""
    import torch  # noqa: PLC0415  (the page opens pictures without it)

    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def to_arrays(images: Tensor) -> list[np.ndarray]:
    """(B, 3, H, W) in [-1, 1], clamped -> B arrays (H, W, 3) uint8, rounded."""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round()
    return list(pixels.byte().permute(0, 2, 3, 1).cpu().numpy())


def grid(arrays: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Equally sized pictures side by side, in a block about as wide as high."""
    columns = columns or math.ceil(math.sqrt(len(arrays)))
    height, width, _ = arrays[0].shape
    rows = -(-len(arrays) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, array in enumerate(arrays):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = array
    return sheet
