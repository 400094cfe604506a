"""Reading the picture files of users: untrusted, of many formats, upright and as RGB.

Every error is a RequestError of one sentence.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from ldm.errors import RequestError

PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]  # formats that users may upload
if features.check("avif"):
    FORMATS.append("AVIF")
TITLE = "Title"  # PNG's keyword of the line that says what a picture shows
MAX_TITLE = 300  # characters that are read of it
MAX_PIXELS = 40_000_000  # limit for pictures of users; checked before anything is decoded


def open_image(path: Path, ground: str = "white") -> Image.Image:
    """Open a picture file of the user, rotated upright by its EXIF data, as RGB.

    Args:
        path: The file.
        ground: The colour behind transparent pixels.

    Raises:
        RequestError: If the file is no picture, is damaged or has more than MAX_PIXELS pixels.
    """
    path = Path(path)
    with readable(path, "PNG and JPEG work"):
        return flattened(ImageOps.exif_transpose(_opened(path)), ground)


def opacity(path: Path) -> np.ndarray | None:
    """Return how opaque each pixel of a picture file is, upright: (H, W) uint8, 0 to 255.

    None: all of it is; this is told without decoding it.

    Raises:
        RequestError: As `open_image`.
    """
    path = Path(path)
    with readable(path, "PNG and JPEG work"):
        image = _opened(path)
        if not image.has_transparency_data:
            return None
        image = ImageOps.exif_transpose(image)
        image = _of_8_bits(image) if image.mode.startswith("I;16") else image
        return np.asarray(image.convert("RGBA").getchannel("A"))


def _opened(path: Path) -> Image.Image:
    """Open a picture file without decoding it; its transparent grey is that of its values."""
    image = Image.open(path, formats=FORMATS)
    check_size(image, path.name)
    if isinstance(grey := image.info.get("transparency"), int):  # Pillow scales the rest alone
        image.info["transparency"] = grey * grey_step(path)
    return image


def upright(image: Image.Image, ground: str = "white") -> Image.Image:
    """Convert a picture that code has opened as `open_image` does: upright, as RGB.

    Raises:
        RequestError: If it is damaged, of 32 bits, or has more than MAX_PIXELS pixels.
    """
    check_size(image, "the picture")
    try:
        return flattened(ImageOps.exif_transpose(image), ground)
    except RequestError:
        raise
    except Exception as error:  # Pillow reads late, and raises nearly every kind of error then
        raise RequestError(f"the picture cannot be used: {error}.") from error


def loaded(image: Image.Image) -> np.ndarray:
    """Return the values of a picture, which may be read from its file only now.

    Raises:
        RequestError: If it is damaged.
    """
    try:
        return np.asarray(image)
    except Exception as error:  # as above
        raise RequestError(f"the picture cannot be used: {error}.") from error


@contextmanager
def readable(path: Path, what_works: str) -> Iterator[None]:
    """Turn every error of reading a picture file into a RequestError of one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"there is no file {str(path)!r:.200}.") from error
    except Image.DecompressionBombError as error:
        raise beyond(path) from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # raised by the system, not by Pillow
            raise RequestError(f"{path.name} cannot be read: {error.strerror}.") from error
        # Pillow's readers raise nearly every kind of error over a damaged file
        raise RequestError(f"{path.name} is no readable picture; {what_works}.") from error


def flattened(image: Image.Image, ground: str) -> Image.Image:
    """Convert a picture to 8-bit RGB, with the colour `ground` behind transparent pixels.

    Raises:
        RequestError: If the picture has 32-bit values, whose range is not known.
    """
    if image.mode.startswith("I;16"):
        image = _of_8_bits(image)
    if image.mode in ("I", "F"):
        raise RequestError(
            f"the picture has numbers of 32 bits (mode {image.mode}); save it with 8 or 16."
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")
    return image.convert("RGB")


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Convert grey of 16 bits to "L" or, if one of the 65536 greys is transparent, to "LA"."""
    grey = np.asarray(image)
    small = Image.fromarray((grey / 257).round().astype(np.uint8))
    if "transparency" in image.info:
        opaque = grey != image.info["transparency"]
        small.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return small


def check_size(image: Image.Image, name: str) -> None:
    """Refuse a picture of more than MAX_PIXELS pixels.

    Raises:
        RequestError: If the picture is too large; the message states its size.
    """
    if math.prod(image.size) > MAX_PIXELS:
        raise too_large(name, *image.size)


def too_large(name: str, width: int, height: int) -> RequestError:
    """Return the error for a picture of more than MAX_PIXELS pixels."""
    limit = f"up to {MAX_PIXELS // 1_000_000} megapixels work"
    return RequestError(f"{name} is {width} x {height} px; {limit}.")


def beyond(path: Path) -> RequestError:
    """Return the error for a file that Pillow refuses as a decompression bomb.

    Pillow's own error does not state the size of the picture.
    """
    size = claimed_size(path)
    if math.prod(size) > MAX_PIXELS:
        return too_large(path.name, *size)
    return RequestError(f"{path.name} is no readable picture; it says two sizes.")


def claimed_size(path: Path) -> tuple[int, int]:
    """Read the (width, height) that a file's header claims, without decoding it; (0, 0): none."""
    with suppress(Exception):  # Pillow's readers raise nearly every kind of error
        with path.open("rb") as file:
            start = file.read(16)
        for make, accepts in map(Image.OPEN.get, FORMATS):
            if accepts(start) is True:
                with path.open("rb") as file, make(file, "") as image:
                    return image.size
    return 0, 0


def grey_step(path: Path) -> int:
    """Return the number that stands for 1 where Pillow reads a grey PNG of 2 or 4 bits as "L"."""
    with path.open("rb") as file:
        start = file.read(26)
    depth, kind = start[24:25], start[25:]
    is_grey = start[:16] == PNG_START and kind == b"\x00"
    return {b"\x02": 85, b"\x04": 17}.get(depth, 1) if is_grey else 1


def title_of(file: Path | io.BytesIO) -> str:
    """Read the title of a PNG without decoding the picture; "" if there is none."""
    text = ""
    with suppress(Exception), Image.open(file, formats=["PNG"]) as image:  # untrusted input
        words = str(image.info.get(TITLE, "")).split()
        text = "".join(filter(str.isprintable, " ".join(words))).strip()
    return shortened(text)


def shortened(text: str) -> str:
    """Return a title of at most MAX_TITLE characters."""
    return text if len(text) <= MAX_TITLE else f"{text[: MAX_TITLE - 1]}…"
