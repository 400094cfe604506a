"""Thumbnails of large pictures; without them a history page would take hundreds of megabytes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LIGHT = 400_000  # bytes; smaller pictures need no thumbnail
SIDE = 320  # px, the longer side


@dataclass(frozen=True)
class Thumbnails:
    """Thumbnails of pictures, cached in a folder."""

    folder: Path

    def of(self, picture: Path) -> Path:
        """Path of a picture's thumbnail, made if missing; of the picture if small or unreadable."""
        try:
            about = picture.stat()
            if about.st_size <= LIGHT:
                return picture
            key = f"{picture} {about.st_mtime_ns}".encode("utf-8", "surrogateescape")
            path = self.folder / f"{hashlib.sha256(key).hexdigest()[:32]}.jpg"
            return path if path.exists() else _made(picture, path)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return picture


def _made(picture: Path, path: Path) -> Path:
    """Write a thumbnail atomically."""
    with Image.open(picture) as image:
        small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    small.save(part, "JPEG", quality=85)
    os.replace(part, path)
    return path
