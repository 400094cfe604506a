"""Conversion of pictures between files, arrays and tensors. Everything inside is RGB.

Arrays are (H, W, 3) uint8; tensors are (B, 3, H, W) float in [-1, 1].
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from ldm.errors import RequestError
from ldm.images.files import (
    FORMATS,
    MAX_PIXELS,
    PNG_START,
    TITLE,
    check_size,
    grey_step,
    loaded,
    opacity,
    open_image,
    readable,
    title_of,
    too_large,
    upright,
)

if TYPE_CHECKING:
    from torch import Tensor

PNG_MODES = {b"\x08\x00": "L", b"\x08\x02": "RGB"}  # bit depth and colour type in the header
DATA_URL = "data:image/png;base64,"
MARKED = 128  # mask pixels of at least this grey level are generated anew


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
        """Encode an array, with a line that says what it shows.

        Args:
            array: (H, W), (H, W, 1) or (H, W, 3) of whole numbers of 0 to 255; or bool, whose True
                is white: 255.
            title: The line; "": none.

        Raises:
            RequestError: If it is no such array, is empty or has more than MAX_PIXELS pixels.
        """
        array = _as_pixels(array)
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

    @staticmethod
    def transparent_in(path: Path) -> np.ndarray | None:
        """Return what is more transparent than not in a picture file: (H, W) uint8 of 0 and 1.

        None: nothing is.

        Raises:
            RequestError: If the file is no usable picture.
        """
        opaque = opacity(path)
        if opaque is None or opaque.min() >= MARKED:
            return None
        return (opaque < MARKED).astype(np.uint8)

    @classmethod
    def labels_from_file(cls, path: Path) -> EncodedImage:
        """Read a map of class ids: the values of a grey picture or the indices of a palette one.

        It is turned upright, and values of fewer than 8 bits are as in the file.

        Raises:
            RequestError: If the file is no such picture.
        """
        path = Path(path)
        with readable(path, "PNG works"):
            image = Image.open(path, formats=FORMATS)
            check_size(image, path.name)
            image, step = ImageOps.exif_transpose(image), grey_step(path)
        return cls.from_array(_class_ids(image, path.name) // step)

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


def as_picture(given: Any) -> Any:
    """Convert what may stand for a picture in code to the picture.

    Args:
        given: The Path of a file, a Pillow image or an array, see `EncodedImage.from_array`.
            Anything else is returned as it is, text above all: it may come from outside, and must
            not name a file of this machine.

    Raises:
        RequestError: If it cannot be used as a picture.
    """
    return _converted(given, EncodedImage.from_file, upright)


def as_mask(given: Any) -> Any:
    """Convert like `as_picture`, but on black: transparent pixels are not marked."""
    return _converted(given, EncodedImage.mask_from_file, partial(upright, ground="black"))


def as_labels(given: Any) -> Any:
    """Convert like `as_picture`, but to a map of class ids, see `EncodedImage.labels_from_file`.

    A Pillow image keeps the values that it has; an array of bool has the classes 0 and 1.
    """
    if isinstance(given, np.ndarray) and given.dtype == bool:
        given = given.astype(np.uint8)
    return _converted(given, EncodedImage.labels_from_file, _class_ids)


def _converted(
    given: Any,
    from_file: Callable[[Path], EncodedImage],
    pixels_of: Callable[[Image.Image], Any],
) -> Any:
    if isinstance(given, Path):
        return from_file(given)
    if isinstance(given, Image.Image):
        return EncodedImage.from_array(np.asarray(pixels_of(given)))
    return EncodedImage.from_array(given) if isinstance(given, np.ndarray) else given


def _class_ids(image: Image.Image, name: str = "the picture") -> np.ndarray:
    """Return the values of a picture of one channel, (H, W) uint8."""
    if image.mode not in ("1", "L", "P"):
        raise RequestError(f"{name} must have one channel of class numbers, got {image.mode}.")
    check_size(image, name)
    return loaded(image).astype(np.uint8)


def _as_pixels(array: Any) -> np.ndarray:
    """Convert an array that a picture can be made of to (H, W) or (H, W, 3) uint8."""
    is_array = isinstance(array, np.ndarray)
    is_right = is_array and array.dtype.kind in "biu" and array.size > 0
    if not is_right or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))):
        got = f"{array.dtype} of shape {array.shape}" if is_array else f"a {type(array).__name__}"
        raise RequestError(
            "an array of a picture must hold whole numbers or bool, be of shape (H, W), (H, W, 1) "
            f"or (H, W, 3) and not empty, got {got:.120}."
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise too_large("the picture", array.shape[1], array.shape[0])
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype != np.uint8:  # such as the class ids that argmax gives
        low, high = array.min(), array.max()
        if low < 0 or high > 255:
            raise RequestError(f"an array of a picture must hold 0 to 255, got {low} to {high}.")
        array = array.astype(np.uint8)
    return array[:, :, 0] if array.shape[2:] == (1,) else array


def cropped_to(array: np.ndarray, height: int, width: int) -> np.ndarray:
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
    """Convert B arrays (H, W, 3) uint8 of one size to (B, 3, H, W) float32 in [-1, 1].

    Raises:
        TypeError: If they are of another type or shape; 0 to 1 would be a black picture.
        ValueError: If there are none, or of several sizes.
    """
    import torch  # noqa: PLC0415  (the page opens pictures without it)

    stacked = np.stack(arrays)
    if stacked.dtype != np.uint8 or stacked.ndim != 4 or stacked.shape[3] != 3:
        raise TypeError(
            f"pictures must be (H, W, 3) uint8, got {stacked.dtype} of shape {stacked.shape[1:]}"
        )
    pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def to_arrays(images: Tensor) -> list[np.ndarray]:
    """Clamp (B, 3, H, W) to [-1, 1] and convert it to B arrays (H, W, 3) uint8, rounded."""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round()
    return list(pixels.byte().permute(0, 2, 3, 1).cpu().numpy())
