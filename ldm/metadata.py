"""The request inside the picture: a PNG that says how it was made, and can be made again from it.

The `latent_canvas` text chunk holds JSON with a schema version; `parameters` repeats it in the
one-line form that other programs show.
"""

from __future__ import annotations

import json
import os
import platform
import re
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
MAX_RECORD_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Record:
    """What a picture says of itself."""

    request: Any
    weights_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def save(path: Path, image: np.ndarray, request: Any, weights_sha256: str = "") -> None:
    """Write a picture as a PNG with its request, whole or not at all.

    Args:
        path: Where to.
        image: (H, W, 3) uint8.
        request: What makes exactly this picture.
        weights_sha256: Of the model that made it.
    """
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
    try:
        Image.fromarray(image).save(part, "PNG", pnginfo=info)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load(path: Path) -> Record:
    """Read what a PNG says of itself.

    Raises:
        RequestError: If it is no PNG, carries no request, or one that this version cannot read.
    """
    path = Path(path)
    record = _record(path)
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
    return Record(from_dict(request), str(record.get("weights_sha256", "")), versions)


def _record(path: Path) -> dict[str, Any]:
    """The JSON object in our text chunk."""
    text = _text(path)
    if text is None:
        raise RequestError(f"{path.name} carries no parameters; it was not made here.")
    try:
        record = json.loads(text[:MAX_RECORD_CHARACTERS])
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(record, dict):
        raise _damaged(path)
    return record


def _text(path: Path) -> str | None:
    """Our text chunk; it stands before the pixels, so none of them is decoded."""
    try:
        with Image.open(path) as image:
            kind, text = image.format, image.info.get(KEY)
    except Image.DecompressionBombError as error:
        megapixels = int(re.search(r"\d+", str(error)).group()) / 1e6
        raise RequestError(
            f"{path.name} has {megapixels:.0f} megapixels, more than any picture made here."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise RequestError(f"{path.name} is no readable PNG.") from error
    if kind != "PNG":
        raise RequestError(f"{path.name} is {kind}; only a PNG made here has parameters.")
    return text


def _damaged(path: Path) -> RequestError:
    return RequestError(f"{path.name} carries damaged parameters; they cannot be restored.")


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
