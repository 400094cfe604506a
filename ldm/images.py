"""Conversion of pictures between files, arrays and tensors. Everything inside is RGB.

Arrays are (H, W, 3) uint8; tensors are (B, 3, H, W) float in [-1, 1].
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, features

from ldm.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
PNG_MODES = {b"\x08\x00": "L", b"\x08\x02": "RGB"}  # bit depth and colour type in the header
DATA_URL = "data:image/png;base64,"
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]  # formats that users may upload
if features.check("avif"):
    FORMATS.append("AVIF")
MARKED = 128  # mask pixels of at least this grey level are generated anew
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
    with _readable(path, "PNG and JPEG work"):
        image = Image.open(path, formats=FORMATS)
        check_size(image, path.name)
        if isinstance(grey := image.info.get("transparency"), int):  # Pillow scales the rest alone
            image.info["transparency"] = grey * _grey_step(path)
        return flattened(ImageOps.exif_transpose(image), ground)


@contextmanager
def _readable(path: Path, what_works: str) -> Iterator[None]:
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
        ValueError: If the picture has 32-bit values, whose range is not known.
    """
    if image.mode.startswith("I;16"):
        image = _of_8_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"numbers of 32 bits (mode {image.mode})")
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


@dataclass(frozen=True)
class EncodedImage:
    """An immutable picture: the bytes of an 8-bit PNG in grey ("L") or RGB.

    Raises:
        RequestError: If the bytes are no such PNG or claim more than MAX_PIXELS pixels.
    """

    png: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.png[:16] != PNG_START or self.png[24:26] not in PNG_MODES:
            raise RequestError("the picture must be an 8-bit PNG in RGB or grey, without alpha.")
        if not 0 < self.width * self.height <= MAX_PIXELS:
            raise too_large("the picture", self.width, self.height)

    @classmethod
    def from_array(cls, array: np.ndarray, title: str = "") -> EncodedImage:
        """Encode an (H, W) or (H, W, 3) uint8 array, with a line that says what it shows."""
        out, info = io.BytesIO(), PngImagePlugin.PngInfo()
        if title:
            info.add_itxt(TITLE, title)
        image = Image.fromarray(np.ascontiguousarray(array))
        image.save(out, "PNG", compress_level=3, pnginfo=info)
        return cls(out.getvalue())

    @classmethod
    def from_file(cls, path: Path) -> EncodedImage:
        """Read a user's picture file, upright, as RGB on white; of an animation the first frame.

        A PNG's title is kept.

        Raises:
            RequestError: If the file is no usable picture.
        """
        return cls.from_array(np.asarray(open_image(path)), title_of(path))

    @classmethod
    def mask_from_file(cls, path: Path) -> EncodedImage:
        """Read a mask like `from_file`, but on black: transparent pixels are not marked.

        Raises:
            RequestError: If the file is no usable picture.
        """
        return cls.from_array(np.asarray(open_image(path, "black")))

    @classmethod
    def labels_from_file(cls, path: Path) -> EncodedImage:
        """Read a map of class ids: the values of a grey picture or the indices of a palette one.

        It is turned upright, and values of fewer than 8 bits are as in the file.

        Raises:
            RequestError: If the file is no such picture.
        """
        path = Path(path)
        with _readable(path, "PNG works"):
            image = Image.open(path, formats=FORMATS)
            check_size(image, path.name)
            image, step = ImageOps.exif_transpose(image), _grey_step(path)
        if image.mode not in ("1", "L", "P"):
            raise RequestError(
                f"{path.name} must have one channel of class numbers, got {image.mode}."
            )
        return cls.from_array(np.asarray(image).astype(np.uint8) // step)

    @classmethod
    def from_data_url(cls, text: str) -> EncodedImage:
        """Decode what `data_url` wrote.

        Raises:
            RequestError: If the text is no data URL of a PNG.
        """
        try:
            return cls(base64.b64decode(text.removeprefix(DATA_URL), validate=True))
        except ValueError as error:
            raise RequestError(
                f"a picture must be a data URL of a PNG, got {text[:40]!r}."
            ) from error

    def data_url(self) -> str:
        """Return the PNG as text: `data:image/png;base64,...`."""
        return DATA_URL + base64.b64encode(self.png).decode()

    @property
    def width(self) -> int:
        """Width in px."""
        return int.from_bytes(self.png[16:20], "big")

    @property
    def height(self) -> int:
        """Height in px."""
        return int.from_bytes(self.png[20:24], "big")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.width, self.height

    @property
    def mode(self) -> str:
        """Pillow's mode of the picture: "L" or "RGB"."""
        return PNG_MODES[self.png[24:26]]

    @property
    def title(self) -> str:
        """What the picture shows, in a line, if its PNG says so; "" if it does not."""
        return title_of(io.BytesIO(self.png))

    def array(self) -> np.ndarray:
        """Decode to (H, W) or (H, W, 3) uint8.

        Raises:
            RequestError: If the PNG is damaged.
        """
        try:
            image = Image.open(io.BytesIO(self.png), formats=["PNG"])
            if (image.size, image.mode) != (self.size, self.mode):  # the file has a second header
                raise ValueError(f"it holds {image.mode} of {image.width} x {image.height} px")
            return np.asarray(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RequestError(f"the picture is damaged: {error}.") from error

    def marked(self) -> np.ndarray:
        """Read the picture as a mask, (height, width) bool: True where new pixels are generated.

        Raises:
            RequestError: If the PNG is damaged.
        """
        array = self.array()
        return (array if array.ndim == 2 else array.mean(axis=2)) >= MARKED


def _grey_step(path: Path) -> int:
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
    return text if len(text) <= MAX_TITLE else f"{text[: MAX_TITLE - 1]}…"


def fitted(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale a picture to fill a canvas; what is left over at another aspect ratio is cropped.

    Args:
        array: (H, W) or (H, W, 3) uint8.
        height: Height of the canvas in px.
        width: Width of the canvas in px.

    Returns:
        (height, width, 3) uint8; the same pixels if the size is the same.
    """
    image = Image.fromarray(array).convert("RGB")
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))


def to_tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    """Convert B arrays (H, W, 3) uint8 of one size to (B, 3, H, W) float32 in [-1, 1]."""
    import torch  # noqa: PLC0415  (the page opens pictures without it)

    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def to_arrays(images: Tensor) -> list[np.ndarray]:
    """Clamp (B, 3, H, W) to [-1, 1] and convert it to B arrays (H, W, 3) uint8, rounded."""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round()
    return list(pixels.byte().permute(0, 2, 3, 1).cpu().numpy())
