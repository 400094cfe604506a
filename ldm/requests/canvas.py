"""How large a canvas may be: as many pixels as a picture that is opened again, and a longest side.

This module needs no torch.
"""

from __future__ import annotations

import math

from ldm.errors import RequestError
from ldm.images import MAX_PIXELS

MAX_SIDE_PX = 16384
# of a canvas that follows a picture, and of what a model sees of one; a person may want more
CHOSEN_SIDE_PX = 4096
STEP_PX = 64  # a canvas of multiples of it suits every preset


def largest(times: int = 1) -> str:
    """Say how large a canvas may be, or a picture that is made `times` as large."""
    megapixels = math.floor(MAX_PIXELS / times**2 / 10_000) / 100
    limit = f"{megapixels:g} megapixels and {MAX_SIDE_PX // times} px a side"
    return limit if times == 1 else f"{limit} for {times} times the size"


def check_canvas(name: str, width: int, height: int, times: int = 1) -> None:
    """Refuse a canvas of more than MAX_PIXELS pixels or MAX_SIDE_PX px a side.

    Args:
        name: What the error is about: the field, or two.
        width: Width in px of the canvas, or of a picture that is made larger.
        height: Its height in px.
        times: How many times as large the picture is made.

    Raises:
        RequestError: If it is larger; the message names a size of about this shape that works.
    """
    side, pixels = MAX_SIDE_PX // times, MAX_PIXELS // times**2
    if max(width, height) <= side and width * height <= pixels:
        return
    scale = min(side / max(width, height), math.sqrt(pixels / (width * height)))
    step = STEP_PX if times == 1 else 1
    works = " x ".join(str(min(s, max(1, int(s * scale / step)) * step)) for s in (width, height))
    raise RequestError(
        f"{name} must be at most {largest(times)}, got {width} x {height} px; {works} would do."
    )


def check_sides(width: int | None, height: int | None) -> None:
    """Refuse a canvas that is too large, once both sides are known.

    Raises:
        RequestError: If it is.
    """
    if width is not None and height is not None:
        check_canvas("width and height", width, height)


def check_growth(size: tuple[int, int], left: int, top: int, right: int, bottom: int) -> None:
    """Refuse a picture that grows beyond MAX_PIXELS; a long one stays as long as it is.

    Args:
        size: Its width and height in px.
        left: Px that are added there, and so on.
        top: See left.
        right: See left.
        bottom: See left.

    Raises:
        RequestError: If it does; the message names the first side that grows.
    """
    width, height = left + size[0] + right, top + size[1] + bottom
    added = {"left": left, "top": top, "right": right, "bottom": bottom}
    if any(added.values()) and width * height > MAX_PIXELS:
        side = next(side for side, px in added.items() if px)
        raise RequestError(
            f"outpaint_{side} must leave the canvas at most {MAX_PIXELS // 10**6} megapixels, "
            f"got {width} x {height} px."
        )
