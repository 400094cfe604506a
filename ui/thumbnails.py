"""Thumbnails of large pictures; without them a history page would take hundreds of megabytes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ldm.files import put_in_place

LIGHT = 400_000  # bytes; smaller pictures need no thumbnail
SIDE = 320  # px, the longer side
WIDEST = 2.0  # longer side / shorter side of what is seen of a picture, see row.js
WIDEST_SHEET = 1.5  # and of a sheet


@dataclass(frozen=True)
class Thumbnails:
    """Thumbnails of pictures, cached in a folder."""

    folder: Path

    def of(self, picture: Path, kind: str = "") -> Path:
        """Path of a picture's thumbnail, made if missing; of the picture if small or unreadable.

        `kind`: "sheet" if it is one, whose thumbnail is of its beginning: all would be too small.
        Of a long picture it is of the middle.
        """
        try:
            about = picture.stat()
            if about.st_size <= LIGHT:
                return picture
            # what is seen belongs to the name, since thumbnails outlive the version that made them
            key = f"{picture} {about.st_mtime_ns} {kind} {WIDEST} {WIDEST_SHEET}".encode(
                "utf-8", "surrogateescape"
            )
            path = self.folder / f"{hashlib.sha256(key).hexdigest()[:32]}.jpg"
            return path if path.exists() else _made(picture, path, kind)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return picture


def _made(picture: Path, path: Path, kind: str) -> Path:
    """Write a thumbnail atomically."""
    with Image.open(picture) as image:
        small = image.convert("RGB")
    most = round((WIDEST_SHEET if kind else WIDEST) * min(small.size))
    seen = [min(side, most) for side in small.size]
    start = [0 if kind else (side - of) // 2 for side, of in zip(small.size, seen, strict=True)]
    small = small.crop((*start, start[0] + seen[0], start[1] + seen[1]))
    small.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    small.save(part, "JPEG", quality=85)
    put_in_place(part, path)
    return path
