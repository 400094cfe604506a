"""Fields of a request: label, range, step, unit and help are declared once, in `control(...)`.

The page's widgets, the CLI's flags and the checks here are all made from it.
"""

from __future__ import annotations

import functools
import math
import textwrap
import types
import typing
import unicodedata
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeVar

from ldm.errors import RequestError

_T = TypeVar("_T")
MAX_LABEL_CHARACTERS = 80
BLANKS = "\t\n\v\f\r\x85"  # control characters that part words
TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "tuple": "a list of Box(label, left, top, right, bottom)",
    "EncodedImage": "a picture: the Path of its file, a Pillow image, an array or an EncodedImage",
}
"""Name of each type in error messages."""


@dataclass(frozen=True)
class Control:
    """How one request field is shown and checked. Ranges are inclusive."""

    label: str
    help: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None
    max_length: int | None = None
    advanced: bool = False
    reads: Callable[[str], Any] | None = None  # parses a text to check it; raises RequestError
    # makes the value of what may stand for it in code; raises RequestError
    converts: Callable[[Any], Any] | None = None

    @property
    def summary(self) -> str:
        """What the field means and may hold, as a phrase."""
        text = self.help or self.label
        if self.choices is not None:
            return f"{text}: {', '.join(self.choices)}"
        if self.minimum is None:
            return text
        return f"{text} ({self.minimum:.12g} to {self.maximum:.12g} {self.unit}".rstrip() + ")"


def control(default: Any = MISSING, **about: Any) -> Any:
    """Return a dataclass field with its `Control` in the metadata."""
    return field(default=default, metadata={"control": Control(**about)})


def controls(request_type: type) -> dict[str, Control]:
    """Return the controls of a request type by field name, in the order of declaration."""
    return {f.name: f.metadata["control"] for f in fields(request_type)}


def documented(request_type: type[_T]) -> type[_T]:
    """Decorate a request type: its docstring says of each field what `Control.summary` says."""
    about = {"width": 100, "initial_indent": " " * 8, "subsequent_indent": " " * 12}
    lines = [
        textwrap.fill(f"{name}: {control.summary}.", **about)
        for name, control in controls(request_type).items()
    ]
    if request_type.__doc__:  # python -OO keeps none
        args = "\n".join(["Args:", *lines, "", "    Raises:"])
        request_type.__doc__ = request_type.__doc__.replace("Raises:", args, 1)
    return request_type


@dataclass(frozen=True)
class Box:
    """A labelled bounding box; its edges are fractions of the canvas, from 0 to 1."""

    label: str
    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        for name in ("left", "top", "right", "bottom"):
            object.__setattr__(self, name, _plain(getattr(self, name)))
        if not isinstance(self.label, str) or not 0 < len(self.label) <= MAX_LABEL_CHARACTERS:
            raise RequestError(f"a box needs a class name, got {self.label!r:.80}.")
        sides = (self.left, self.top, self.right, self.bottom)
        if not all(_is_fraction(side) for side in sides):
            raise RequestError(
                f"the box {self.label!r} must lie on the canvas, its edges from 0 to 1, "
                f"got {sides!s:.120}."
            )
        if not (self.left < self.right and self.top < self.bottom):
            raise RequestError(f"the box {self.label!r} has no area: {sides!s:.120}.")


def _is_fraction(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= 1  # False for NaN too


def _plain(value: Any) -> Any:
    """Convert a numpy number to Python's and a list to a tuple, so that it can be serialised."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


@dataclass(frozen=True)
class FieldType:
    """The type of a field's values, and whether None is one of them."""

    kind: type  # int, float, str, tuple (of boxes) or `ldm.images.EncodedImage`
    is_optional: bool


@functools.cache
def field_types(request_type: type) -> dict[str, FieldType]:
    """Return the type of each field of a request by name."""
    hints = typing.get_type_hints(request_type)
    return {name: _field_type(hints[name]) for name in controls(request_type)}


def _field_type(hint: Any) -> FieldType:
    hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (kind,) = (one for one in hints if one is not type(None))
    return FieldType(typing.get_origin(kind) or kind, len(hints) > 1)


def check(request: Any) -> None:
    """Convert the fields of a request to values that it can hold; check their types and controls.

    Raises:
        RequestError: If a value is wrong; states the field, the value and what is allowed.
    """
    allowed = field_types(type(request))
    for name, about in controls(type(request)).items():
        value = _plain(getattr(request, name))
        value = value if about.converts is None else _converted(name, value, about.converts)
        object.__setattr__(request, name, value)
        if value is None and allowed[name].is_optional:
            continue
        _check_type(name, value, allowed[name].kind)
        _check_range(name, value, about)


def _converted(name: str, value: Any, converts: Callable[[Any], Any]) -> Any:
    try:
        return converts(value)
    except RequestError as error:
        if not hasattr(value, "dtype"):
            raise  # a file's name is told
        raise RequestError(f"{name}: {error}") from error  # an array has none


def _check_type(name: str, value: Any, kind: type) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        got = " ".join(repr(value).split())  # the repr of an array has many lines
        raise RequestError(f"{name} must be {TYPES[kind.__name__]}, got {got:.80}.")
    if isinstance(value, tuple) and not all(isinstance(part, Box) for part in value):
        raise RequestError(f"{name} must be {TYPES['tuple']}, got {value!r:.80}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{name} must be a finite number, got {value}.")
    if isinstance(value, str):
        _check_characters(name, value)


def _check_characters(name: str, text: str) -> None:
    """Refuse what no picture can be made of and no tokenizer sees."""
    for letter in text:
        if (kind := unicodedata.category(letter)) == "Cs":
            raise RequestError(f"{name} must be text, got {text!r:.80}, which is half a character.")
        if kind == "Cc" and letter not in BLANKS:
            raise RequestError(
                f"{name} must be text without control characters, got {letter!r} in {text!r:.80}."
            )


def _check_range(name: str, value: Any, about: Control) -> None:
    unit = f" {about.unit}" if about.unit else ""
    if about.minimum is not None and not about.minimum <= value <= about.maximum:
        raise RequestError(
            f"{name} must be {about.minimum:.12g} to {about.maximum:.12g}{unit}, got {value!s:.40}."
        )
    if about.choices is not None and value not in about.choices:
        raise RequestError(f"{name} must be one of {', '.join(about.choices)}, got {value!r:.80}.")
    if about.max_length is not None and len(value) > about.max_length:
        raise RequestError(
            f"{name} must be at most {about.max_length} characters, got {len(value)}."
        )
    if about.reads is not None:
        about.reads(value)
