"""Metadata in a PNG: the request from which the picture was made and can be made again.

The `latent_canvas` text chunk holds JSON with a schema version; `parameters` repeats it in the
one-line form that other programs show.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ldm import __version__
from ldm.errors import RequestError
from ldm.files import put_in_place
from ldm.images import EncodedImage
from ldm.images.files import FORMATS, TITLE, beyond, shortened
from ldm.requests import REQUESTS
from ldm.requests.as_json import from_dict, to_dict
from ldm.requests.comparison import recorded
from ldm.requests.progression import Progression

SCHEMA = 1
KEY = "latent_canvas"
PACKAGES = ("torch", "numpy", "tokenizers", "pillow", "opencv-python-headless")
MAX_RECORD_CHARACTERS = 1_000_000
EARLIER = {"temperature": 1.0, "coarse": 0.0}  # for records older than the field
PICTURE = "sha256:"  # and a hash: what stands for a picture in the record
PICTURE_CHUNK = b"lcIm"  # type of a chunk: 32 bytes of SHA-256, then a picture's PNG
FRAME_MS, LAST_MS = 200, 2000  # duration of a film's frames, and of its last one
PICTURE_FIELDS = ("image", "mask", "label_map")


@dataclass(frozen=True)
class Record:
    """The metadata of a picture."""

    request: Any
    weights_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    compared: dict[str, list[Any]] = field(default_factory=dict)  # of a sheet, see `save`
    frames: int = 0  # of a progression's sheet, see `save`; 0: it is none

    @property
    def made(self) -> Any:
        """What made the picture: a request or, of a sheet, a comparison or a progression."""
        try:
            if self.frames:
                return Progression(self.request, self.frames)
            if self.compared:
                return recorded(self.request, self.compared)
        except RequestError:  # a sheet of another version
            pass
        return self.request


def save(
    path: Path,
    image: np.ndarray,
    request: Any,
    weights_sha256: str = "",
    compared: Mapping[str, Sequence[Any]] | None = None,
    frames: int = 0,
    film: Sequence[np.ndarray] = (),
    title: str = "",
) -> None:
    """Write a picture as a PNG with its request, atomically.

    Args:
        path: File to write.
        image: (H, W, 3) uint8.
        request: Request that makes exactly this picture; of a sheet, its first picture.
        weights_sha256: Hash of the weights of the model that made it.
        compared: Of a comparison's sheet: the fields that differ, and their values.
        frames: Of a progression's sheet: the number of frames that were requested.
        film: Pictures of the same size that play in a loop in programs that show animated PNGs;
            others show `image` alone.
        title: What the picture shows, in a line; other programs show it, too.
    """
    values, pictures = _apart(to_dict(request))
    record = {
        "schema": SCHEMA,
        "application": "Latent Canvas",
        "request": values,
        "weights_sha256": weights_sha256,
        "versions": versions(),
    }
    if compared:
        record["compared"] = dict(compared)
    if frames:
        record["frames"] = frames
    info = PngImagePlugin.PngInfo()
    if title:
        info.add_itxt(TITLE, shortened(title))
    info.add_itxt(KEY, json.dumps(record, ensure_ascii=False))
    info.add_itxt("parameters", parameters_text(values))
    for name, png in pictures.items():
        info.add(PICTURE_CHUNK, bytes.fromhex(name.removeprefix(PICTURE)) + png)
    part = path.with_suffix(".part")
    try:
        Image.fromarray(image).save(part, "PNG", pnginfo=info, **_playing(film))
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def _playing(film: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return Pillow's options for an animated PNG whose default image is not in the film."""
    if not film:
        return {}
    durations = [FRAME_MS] * (len(film) - 1) + [LAST_MS]
    frames = {"append_images": [Image.fromarray(frame) for frame in film], "duration": durations}
    return {"save_all": True, "default_image": True, "loop": 0, "compress_level": 3, **frames}


def _apart(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Replace each picture in a request's values by a name; return the values and PNGs by name.

    As base64 text a photograph would grow by a third, and readers limit the length of text.
    """
    pictures = {}
    for key in PICTURE_FIELDS:
        if isinstance(values.get(key), str):
            png = EncodedImage.from_data_url(values[key]).png
            values[key] = PICTURE + hashlib.sha256(png).hexdigest()
            pictures[values[key]] = png
    return values, pictures


def _as_earlier(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that older records imply for fields that they lack, for their task."""
    kind = REQUESTS.get(str(values.get("task")))
    names = {field.name for field in fields(kind)} if kind else set()
    return {name: value for name, value in EARLIER.items() if name in names}


def _together(values: dict[str, Any], chunks: list[bytes]) -> dict[str, Any]:
    """Put the pictures in place of their names; the inverse of `_apart`."""
    pictures = {PICTURE + hashlib.sha256(chunk[32:]).hexdigest(): chunk[32:] for chunk in chunks}
    named = {key: values[key] for key in PICTURE_FIELDS if isinstance(values.get(key), str)}
    for key, name in named.items():
        if name.startswith(PICTURE) and name not in pictures:
            raise RequestError(f"the {key} that it was made of was taken out of the file.")
    found = {key: EncodedImage(pictures[name]) for key, name in named.items() if name in pictures}
    return values | found


def load(path: Path) -> Record:
    """Read the metadata of a PNG.

    Raises:
        RequestError: If it is no PNG, holds no request, or one that this version cannot read.
    """
    path = Path(path)
    text, chunks = _chunks(path)
    record = _record(path, text)
    schema = record.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise _damaged(path)
    if schema > SCHEMA:
        raise RequestError(
            f"{path.name} was made by a newer version (schema {schema!s:.40}, this one reads up to "
            f"{SCHEMA}); update to restore it."
        )
    request, versions = record.get("request"), record.get("versions", {})
    if not isinstance(request, dict) or not isinstance(versions, dict):
        raise _damaged(path)
    request = from_dict(_as_earlier(request) | _together(request, chunks))
    compared = record.get("compared")
    compared = compared if isinstance(compared, dict) else {}
    frames = record.get("frames")
    frames = frames if isinstance(frames, int) else 0
    return Record(request, str(record.get("weights_sha256", "")), versions, compared, frames)


def _record(path: Path, text: str | None) -> dict[str, Any]:
    """Parse the JSON object in the text chunk KEY."""
    if text is None:
        raise RequestError(f"{path.name} carries no parameters; it was not made here.")
    try:
        record = json.loads(text[:MAX_RECORD_CHARACTERS])
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(record, dict):
        raise _damaged(path)
    return record


def _chunks(path: Path) -> tuple[str | None, list[bytes]]:
    """Read the text chunk KEY and the pictures, which come before the pixels; decode no pixels."""
    try:
        with Image.open(path, formats=FORMATS) as image:  # of users: no other readers
            kind, text = image.format, image.info.get(KEY)
            private = getattr(image, "private_chunks", [])
            pictures = [chunk[1] for chunk in private if chunk[0] == PICTURE_CHUNK]
    except Image.DecompressionBombError as error:
        raise beyond(path) from error
    except FileNotFoundError as error:
        raise RequestError(f"{path.name} is not in its folder any more.") from error
    except Exception as error:  # readers of untrusted files raise many types
        raise RequestError(f"{path.name} is no readable PNG.") from error
    if kind != "PNG":
        raise RequestError(f"{path.name} is {kind}; only a PNG made here has parameters.")
    return text, pictures


def _damaged(path: Path) -> RequestError:
    return RequestError(f"{path.name} carries damaged parameters; they cannot be restored.")


def parameters_text(values: Mapping[str, Any]) -> str:
    """Format a request as other programs show it: prompts, then one line of settings."""
    values = dict(values)
    lines = [values.pop("prompt", "")]
    if negative := values.pop("negative_prompt", ""):
        lines.append(f"Negative prompt: {negative}")
    lines.append(", ".join(f"{name}: {value}" for name, value in values.items()))
    return "\n".join(filter(None, lines))


def program() -> str:
    """Return the program's name and version, and those of what it runs on, in a line."""
    beside = ", ".join(f"{name} {number}" for name, number in versions(("torch", "gradio")).items())
    return f"Latent Canvas {__version__} ({beside})"


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages: by default, what a result depends on."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
