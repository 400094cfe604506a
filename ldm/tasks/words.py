"""What requests say in words: what their model does not know of it, or cannot be told at all."""

from __future__ import annotations

from typing import Any, Protocol

from ldm.errors import RequestError
from ldm.requests import Inpaint, TextToImage

NAMED_WORDS = 8  # most unknown words that a note lists
# words that models draw the rest of all the same; told of those that do not know them
NEGATIONS = frozenset(("no", "not", "without", "never", "none"))


class Reads(Protocol):
    """What the words about a hole depend on, of a `LatentDiffusion` or of its `Preset`."""

    fills_by_words: bool  # inpaint: whether it can be told what to make in a hole


def check_words(about: Reads, request: Any) -> None:
    """Refuse words about a hole for a model that reads none.

    Raises:
        RequestError: If there are any.
    """
    if not isinstance(request, Inpaint) or about.fills_by_words:
        return
    for name in ("prompt", "negative_prompt"):
        if text := getattr(request, name).strip():
            raise RequestError(
                f"{name} must be empty for {request.preset}, which reads no words, got "
                f"{text!r:.60}; demo-inpaint-words reads them."
            )


def notes_on(request: Any, tokenizer: Any) -> tuple[str, ...]:
    """Return notes on the parts of a request that have no effect.

    Args:
        request: Any request; only those with words have notes.
        tokenizer: Its model's, with `unknown_words` and `is_cut`; None: there is none.
    """
    if not isinstance(request, (TextToImage, Inpaint)) or tokenizer is None:
        return ()
    notes = []
    for name in ("prompt", "negative_prompt"):
        text = getattr(request, name)
        if words := tokenizer.unknown_words(text):
            notes.append(f"This model has never seen: {', '.join(words[:NAMED_WORDS])}.")
            if name == "prompt" and not NEGATIONS.isdisjoint(words):
                notes.append("What is not to be seen goes into the negative prompt.")
        if tokenizer.is_cut(text):
            notes.append(f"The {name.replace('_', ' ')} is too long; its end was not read.")
    if request.negative_prompt and request.guidance_scale == 1:
        notes.append("The negative prompt has no effect at a guidance of 1.")
    return tuple(notes)
