"""What the tokenizer of a diffusers folder has beyond CLIP's: words that its model has learned.

Textual inversion and DreamBooth add a word such as <my-cat>, with an embedding of its own behind
those of CLIP's vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ldm.catalog.architecture import CLIP_TOKENS
from ldm.catalog.parsing import read_json
from ldm.errors import PresetError

MAX_BYTES = 16 * 2**20  # of each file; CLIP's own tokenizer.json has 2 MB
MAX_LENGTH = 200  # characters of a learned word


def learned_tokens(folder: Path, merges: Path) -> tuple[str, ...]:
    """Return the words that a tokenizer's folder adds to CLIP's, in the order of their ids.

    Args:
        folder: As `transformers` writes it; one that is missing adds none.
        merges: CLIP's file of merges.

    Raises:
        PresetError: If a file is damaged, or the tokenizer is not CLIP's with words added.
    """
    own = folder / "merges.txt"
    if own.exists() and _pairs(_text(own)) != _pairs(_text(merges)):
        raise PresetError(f"{own} joins other pieces than CLIP's tokenizer, the only one known.")
    found = {number: word for number, word in _added(folder).items() if number >= CLIP_TOKENS}
    if sorted(found) != list(range(CLIP_TOKENS, CLIP_TOKENS + len(found))):
        raise PresetError(f"{folder} adds words whose ids do not follow CLIP's {CLIP_TOKENS}.")
    words = tuple(found[number] for number in sorted(found))
    for word in words:
        if not isinstance(word, str) or not 0 < len(word) <= MAX_LENGTH:
            raise PresetError(f"{folder} adds {word!r:.80}, which is no word.")
    return words


def _added(folder: Path) -> dict[int, Any]:
    """Return id -> word of all words that the files name; each version has its own place."""
    found: dict[int, Any] = {}
    try:
        about = _json(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
        found |= {int(number): entry["content"] for number, entry in about.items()}
        entries = _json(folder / "tokenizer.json").get("added_tokens", [])
        found |= {int(entry["id"]): entry["content"] for entry in entries}
        about = _json(folder / "added_tokens.json")
        found |= {int(number): word for word, number in about.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PresetError(f"{folder} is no readable tokenizer: {error!r:.120}.") from error
    return found


def _json(path: Path) -> dict[str, Any]:
    return read_json(path, MAX_BYTES) if path.exists() else {}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PresetError(f"{path} is larger than {MAX_BYTES >> 20} MiB; it is no tokenizer's.")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PresetError(f"{path} cannot be read: {error}.") from error


def _pairs(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#version")]
