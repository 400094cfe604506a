"""The user's own training pictures: a folder of them, with classes and captions.

The class of a picture is the name of its first sub-folder. Its captions are the lines of a text
file of the same name beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ldm.errors import RequestError, TrainingError
from ldm.images.files import flattened

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MAX_CAPTIONS = 8  # captions of a picture
MAX_CAPTION_BYTES = 64 * 1024
ONE_IN = 20  # about one in so many pictures is held out

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A picture file of the folder."""

    path: Path
    name: str  # path within the folder

    @property
    def class_name(self) -> str:
        """Name of the picture's first sub-folder; "" if it is in none."""
        first, *rest = Path(self.name).parts
        return first if rest else ""

    @property
    def is_held_out(self) -> bool:
        """Whether the picture is held out of training, by its name only.

        About one in ONE_IN is. Adding pictures later does not change this for others.
        """
        return (
            hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).digest()[0] < 256 // ONE_IN
        )

    def captions(self) -> list[str]:
        """Read the picture's captions, at most MAX_CAPTIONS; none without a text file.

        Raises:
            TrainingError: If the text file is too large or no UTF-8 text.
        """
        path = self.path.with_suffix(".txt")
        try:
            if path.stat().st_size > MAX_CAPTION_BYTES:
                raise TrainingError(f"{path} is larger than captions of {MAX_CAPTION_BYTES} bytes.")
            lines = path.read_text("utf-8-sig").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise TrainingError(f"{path} cannot be read as text ({reason}).") from error
        return [line.strip() for line in lines if line.strip()][:MAX_CAPTIONS]


def pictures_in(folder: Path) -> list[Picture]:
    """List all pictures of a folder and its sub-folders, linked ones included, sorted by path.

    Raises:
        TrainingError: If there is no such folder, or no picture in it.
    """
    if not os.path.isdir(folder):
        raise TrainingError(f"{folder} is no folder; give the path of one with pictures.")
    found = [
        Picture(path, path.relative_to(folder).as_posix())
        for path in sorted(_files(Path(folder)))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not found:
        raise TrainingError(f"{folder} holds no picture; {', '.join(SUFFIXES)} are read.")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, without hidden ones and without links to parent folders."""
    for at, folders, files in os.walk(folder, followlinks=True):
        place = Path(at)
        above = {os.path.realpath(place)}
        above |= {os.path.realpath(one) for one in place.parents if one.is_relative_to(folder)}
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(place / name) not in above
        ]
        yield from (place / name for name in files if not name.startswith("."))


def key_of(pictures: Sequence[Picture], size: int) -> str:
    """Return a cache key for these files in their present state, read at `size` px."""
    digest = hashlib.sha256(str(size).encode())
    for picture in pictures:
        about = picture.path.stat()
        line = f"{picture.name}\n{about.st_size} {about.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:12]


def read(picture: Picture, size: int) -> np.ndarray | None:
    """Read the central square of a picture, (size, size, 3) uint8; None if it cannot be read."""
    try:
        with Image.open(picture.path) as image:
            image.draft("RGB", (size, size))
            # transparent pixels may have any colour: use white
            upright = flattened(ImageOps.exif_transpose(image), "white")
            square = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
    except RequestError as error:  # its values mean no known colours
        log.warning("left out: %s: %s", picture.path, error)
        return None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        log.warning("left out: %s is no picture that can be read (%s)", picture.path, error)
        return None
    return np.asarray(square)


def read_all(pictures: Sequence[Picture], size: int, images: np.ndarray) -> list[int]:
    """Read pictures into `images`, (N, size, size, 3) uint8, in order and without gaps.

    Returns:
        The indices of the pictures that could be read, in the order in which `images` holds them.
    """
    read_ones: list[int] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for index, image in enumerate(threads.map(lambda one: read(one, size), pictures)):
            if image is not None:
                images[len(read_ones)] = image
                read_ones.append(index)
    return read_ones
