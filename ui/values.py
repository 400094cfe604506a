"""Requests from the values of widgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ldm.errors import RequestError
from ldm.requests.fields import field_types
from ldm.requests.seeds import MAX_SEED

NEW_SEED = -1  # also means a new seed each time, as in other programs
MAX_DIGITS = 20  # maximum digits of a typed integer


def make_request(request_type: type, values: Mapping[str, Any]) -> Any:
    """Build a request from widget values.

    Raises:
        RequestError: If a value is of the wrong type or out of range.
    """
    types = field_types(request_type)
    plain = {name: _plain(value, types[name].kind is int) for name, value in values.items()}
    if isinstance(values.get("seed"), str):  # from the page's text box
        plain["seed"] = _typed_seed(plain["seed"])
    return request_type(**plain)


def _plain(value: Any, is_whole: bool) -> Any:
    """Convert a widget's value: widgets give 3.0 for 3, and text boxes give text for integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_whole and isinstance(value, str):
        text = value.strip()
        return None if not text else int(text) if _is_number(text) else text
    return value


def _is_number(text: str) -> bool:
    """Whether the text is an integer of at most MAX_DIGITS; Python refuses thousands of digits."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS


def _typed_seed(seed: int | str | None) -> int | None:
    """Check a seed from its text box; an empty box and NEW_SEED give None.

    Raises:
        RequestError: If it is not an integer in the range of seeds.
    """
    if seed in (None, NEW_SEED):
        return None
    if isinstance(seed, str) or not 0 <= seed <= MAX_SEED:
        raise RequestError(
            f"seed must be 0 to {MAX_SEED}, or empty for a new one, got {seed!r:.80}."
        )
    return seed
