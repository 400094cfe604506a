"""The request inside the picture: a PNG that says how it was made, and can be made again from it.

The `latent_canvas` text chunk holds JSON with a schema version; `parameters` repeats it in the
one-line form that other programs show.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ldm.errors import RequestError
from ldm.requests import from_dict, to_dict

SCHEMA = 1
KEY = "latent_canvas"
PACKAGES = ("torch", "numpy", "gradio", "transformers")
MAX_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Record:
    """What a picture says of itself."""

    request: Any
    weights_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def save(path: Path, image: np.ndarray, request: Any, weights_sha256: str = "") -> None:
    """Write (H, W, 3) uint8 as a PNG with its request; never leaves half a file behind."""
    record = {
        "schema": SCHEMA,
        "application": "Latent Canvas",
        "request": to_dict(request),
        "weights_sha256": weights_sha256,
        "versions": versions(),
    }
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, json.dumps(record, ensure_ascii=False))
    info.add_itxt("parameters", parameters_text(request))
    part = path.with_suffix(".part")
    Image.fromarray(image).save(part, "PNG", pnginfo=info)
    os.replace(part, path)


def load(path: Path) -> Record:
    """Read what a PNG says of itself.

    Raises:
        RequestError: If it is no PNG, carries no request, or one that this version cannot read.
    """
    path = Path(path)
    record = _record(path)
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise RequestError(f"{path.name} carries damaged parameters; they cannot be restored.")
    if record["schema"] > SCHEMA:
        raise RequestError(
            f"{path.name} was made by a newer version (schema {record['schema']}, this one reads "
            f"up to {SCHEMA}); update to restore it."
        )
    request = record.get("request")
    if not isinstance(request, dict):
        raise RequestError(f"{path.name} carries damaged parameters; they cannot be restored.")
    return Record(
        from_dict(request), str(record.get("weights_sha256", "")), dict(record.get("versions", {}))
    )


def _record(path: Path) -> Any:
    try:
        with Image.open(path) as image:
            if image.format != "PNG":
                raise RequestError(f"{path.name} is no PNG; only a PNG made here has parameters.")
            image.load()  # text behind the pixels is read too
            text = image.text.get(KEY)
    except RequestError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RequestError(f"{path.name} is no readable PNG.") from error
    if text is None:
        raise RequestError(f"{path.name} carries no parameters; it was not made here.")
    try:
        return json.loads(text[:MAX_CHUNK_BYTES])
    except (json.JSONDecodeError, RecursionError):
        return None


def parameters_text(request: Any) -> str:
    """The request in the form that other programs show: prompts, then one line of settings."""
    values = to_dict(request)
    lines = [values.pop("prompt", "")]
    if negative := values.pop("negative_prompt", ""):
        lines.append(f"Negative prompt: {negative}")
    lines.append(", ".join(f"{name}: {value}" for name, value in values.items()))
    return "\n".join(filter(None, lines))


def versions() -> dict[str, str]:
    """Python and the libraries that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
