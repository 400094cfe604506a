"""Comparisons: one request with several values of one field, or of two, side by side.

This module needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ldm.errors import RequestError
from ldm.requests import REQUESTS, Control, controls, takes_start_image
from ldm.requests.fields import field_types
from ldm.requests.seeds import new_seed, with_seeds_drawn
from ldm.requests.shared_fields import called, value_called

MOST = 64  # most pictures of one comparison
NOT_COMPARED = ("count",)
NONE = "none"  # label of an empty text
SIMPLE = {int, float, str}  # types that the values of an axis may have


@dataclass(frozen=True)
class Axis:
    """A field of a request, and its value in each column or row."""

    name: str
    values: tuple[Any, ...]

    def said(self) -> list[str]:
        """Return the values as people call them."""
        return [f"{v:.12g}" if isinstance(v, float) else called(self.name, v) for v in self.values]

    def typed(self) -> str:
        """Return the values as text for `read_axis`, provided that none contains a "|"."""
        words = [repr(v) if isinstance(v, float) else str(v) for v in self.values]
        if all(word and "," not in word for word in words):
            return ", ".join(words)
        ends = len(words) == 1 or not words[-1]  # a last "|" is needed
        return " | ".join(words) + (" |" if ends else "")


Said = Callable[[Axis], list[str]]  # the values of an axis in words


class StandsForRequest:
    """Base of what can be used like a request: it has the task and preset of its `request`."""

    request: Any

    @property
    def task(self) -> str:
        """Task of the request."""
        return self.request.task

    @property
    def preset(self) -> str:
        """Name of the request's preset."""
        return self.request.preset

    def settle(self) -> None:
        """Draw the open seeds of the request and set its count to one picture."""
        seed = new_seed() if self.request.seed is None else self.request.seed
        about = {"seed": seed, "variations": with_seeds_drawn(self.request.variations), "count": 1}
        object.__setattr__(self, "request", replace(self.request, **about))


@dataclass(frozen=True)
class Comparison(StandsForRequest):
    """Pictures of one request that differ only in the values of the axes; the seed is drawn once.

    It can be used like a request, and has its task and preset.

    Raises:
        RequestError: If an axis has no values or its field cannot be compared, both axes are of the
            same field, there are more than MOST pictures, or a field does not take a value.
    """

    request: Any
    across: Axis
    down: Axis | None = None

    def __post_init__(self) -> None:
        if type(self.request) not in REQUESTS.values():
            raise RequestError(f"what is compared must be a request, got {self.request!r:.40}.")
        for axis in self.axes:
            _check_axis(axis, type(self.request))
            is_open = takes_start_image(type(self.request)) and self.request.image is None
            if axis.name in ("strength", "inversion") and is_open:
                raise RequestError(
                    f"{axis.name} is for a picture to start from, and there is none; got "
                    f"{', '.join(axis.said())}."
                )
        if self.down and self.down.name == self.across.name:
            raise RequestError(
                f"what differs across and down must be two fields, got {self.across.name} twice."
            )
        if self.number > MOST:
            raise RequestError(
                f"at most {MOST} pictures can be compared at once, got {self.number}."
            )
        self.settle()
        rows = self.rows()  # now, so that a wrong value is refused before any picture is made
        for way, requests in (("across", rows[0]), ("down", [row[0] for row in rows])):
            if axis := getattr(self, way):  # as the requests converted them
                values = tuple(getattr(request, axis.name) for request in requests)
                if axis.name == "variations":  # draw new seeds now, for the sheet's labels
                    values = tuple(map(with_seeds_drawn, values))
                object.__setattr__(self, way, Axis(axis.name, values))

    @property
    def axes(self) -> list[Axis]:
        """The one or two axes, `across` first."""
        return [self.across, *([] if self.down is None else [self.down])]

    @property
    def number(self) -> int:
        """Number of pictures."""
        return math.prod(len(axis.values) for axis in self.axes)

    def labels(self, axis: Axis, said: Said = Axis.said) -> list[str]:
        """Return the labels of columns or rows: field and value; of a prompt, the value alone."""
        name = "" if axis.name == "prompt" else self._called(axis)
        return [f"{name} {value or NONE}".strip() for value in said(axis)]

    def fields(self) -> str:
        """Return the labels of the fields that differ, joined by "and"."""
        return " and ".join(map(self._called, self.axes))

    def differences(self, said: Said = Axis.said) -> str:
        """Return the fields that differ and their values in one line."""
        return " · ".join(self.difference(axis, said) for axis in self.axes)

    def difference(self, axis: Axis, said: Said = Axis.said) -> str:
        """Return one of the fields that differ and its values in one line."""
        return f"{self._called(axis)} {', '.join(value or NONE for value in said(axis))}"

    def _called(self, axis: Axis) -> str:
        return controls(type(self.request))[axis.name].label

    def record(self) -> dict[str, list[Any]]:
        """Return the fields that differ and their values, `across` first, to be stored as JSON."""
        return {axis.name: list(axis.values) for axis in self.axes}

    def rows(self) -> list[list[Any]]:
        """Return the requests of the pictures, one list for each row."""
        beside = [{self.down.name: value} for value in self.down.values] if self.down else [{}]
        above = [{self.across.name: value} for value in self.across.values]
        return [[replace(self.request, **row, **column) for column in above] for row in beside]


def comparable(request_type: type) -> dict[str, Control]:
    """Return the controls of the fields that can be compared, by name: numbers and texts."""
    types = field_types(request_type)
    return {
        name: about
        for name, about in controls(request_type).items()
        if name not in NOT_COMPARED and types[name].kind in SIMPLE
    }


def read_axis(request_type: type, name: str, text: str) -> Axis:
    """Parse an axis from typed values, separated by "|" if there is one, else by commas.

    Nothing before a separator is the empty text. Values that are repeated count once.

    Raises:
        RequestError: If a value is not of the field's type, as the empty text is in one of numbers.
    """
    name = name.strip().lower().replace("-", "_").replace(" ", "_")
    parts = [part.strip() for part in text.split("|" if "|" in text else ",")]
    types = field_types(request_type)
    kind = types[name].kind if name in types else str
    if not parts[-1]:
        del parts[-1]  # a last separator ends a value and begins none
    return Axis(
        name, tuple(dict.fromkeys(_value(name, value_called(name, part), kind) for part in parts))
    )


def said(request: Any, across: str, down: str) -> Comparison:
    """Parse a comparison from texts like "steps=5,10,20"; an empty `down` means one row.

    Raises:
        RequestError: If a text is no field with values, or the comparison is impossible.
    """
    axes = []
    if across == "" and down != "":
        raise RequestError(f"down needs across, which is empty, got {down!r:.60}.")
    for name, text in (("across", across), ("down", down)):
        text = text.strip() if isinstance(text, str) else text
        field, parted, values = text.partition("=") if isinstance(text, str) else ("", "", "")
        if not parted and (text != "" or name == "across"):
            allowed = "must be a field and its values, like steps=5,10,20"
            raise RequestError(f"{name} {allowed}, got {text!r:.60}.")
        axes.append(read_axis(type(request), field, values) if text else None)
    return Comparison(request, *axes)


def recorded(request: Any, compared: Mapping[str, Any]) -> Any:
    """Return the comparison of an `ldm.outputs.metadata.Record`, or its request if it has none."""
    try:
        return Comparison(request, *(Axis(name, tuple(v)) for name, v in compared.items()))
    except (RequestError, TypeError):  # not a sheet, or a sheet of another version
        return request


def _value(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        wanted = "whole numbers" if kind is int else "numbers"
        wanted += " parted by commas" if len(text.split()) > 1 else ""
        raise RequestError(f"{name} takes {wanted}, got {text!r:.40}.") from error


def _check_axis(axis: Axis, request_type: type) -> None:
    names = comparable(request_type)
    if not isinstance(axis, Axis):
        raise RequestError(f"what is compared must be an Axis, got {axis!r:.40}.")
    if not isinstance(axis.name, str) or axis.name not in names:
        raise RequestError(
            f"what is compared must be one of {', '.join(names)}, got {axis.name!r:.40}."
        )
    if not isinstance(axis.values, (tuple, list)):
        raise RequestError(f"values of {axis.name} must be a tuple, got {axis.values!r:.40}.")
    if not axis.values:
        raise RequestError(f"{axis.name} needs at least one value to compare.")
