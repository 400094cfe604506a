"""Requests to and from JSON, and field values from files. This module needs no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ldm.errors import LDMError, RequestError
from ldm.images import EncodedImage
from ldm.requests import REQUESTS, controls
from ldm.requests.fields import Box, field_types


def to_dict(request: Any) -> dict[str, Any]:
    """Return the fields as values for JSON, `task` first; pictures as data URLs."""
    return {"task": request.task} | {
        field.name: _plain(getattr(request, field.name)) for field in fields(request)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, EncodedImage):
        return value.data_url()
    if isinstance(value, tuple):
        return [dataclasses.asdict(box) for box in value]
    return value


def from_dict(values: dict[str, Any]) -> Any:
    """Rebuild the request that `to_dict` wrote.

    Raises:
        RequestError: If the task or a field is unknown, missing or out of range.
    """
    values = dict(values)
    task = values.pop("task", None)
    if not isinstance(task, str) or task not in REQUESTS:
        raise RequestError(f"task must be one of {', '.join(REQUESTS)}, got {task!r:.80}.")
    request_type = REQUESTS[task]
    known = {f.name for f in fields(request_type)}
    if unknown := sorted(set(values) - known):
        raise RequestError(
            f"{task} has no field {unknown[0]!r:.80}; it has {', '.join(sorted(known))}."
        )
    required = {f.name for f in fields(request_type) if f.default is MISSING}
    if missing := sorted(required - set(values)):
        raise RequestError(f"{task} needs the field {missing[0]!r}.")
    types = field_types(request_type)
    return request_type(**{name: _typed(types[name].kind, value) for name, value in values.items()})


def from_lines(text: str, values: dict[str, Any], *, reads_files: bool = False) -> dict[int, Any]:
    """Build one request from each line of a text: a JSON object as `to_dict` wrote it, or a part.

    Args:
        text: The lines; empty ones are passed over.
        values: What lines leave out, by field; and the `task`, which must be that of every line.
        reads_files: Whether pictures and boxes may be names of files, which are read: only for
            whoever may read all of them.

    Returns:
        Line number, from 1 -> request.

    Raises:
        RequestError: If a line makes no request; the message begins with its number.
    """
    made = {}
    for number, line in enumerate(text.split("\n"), 1):  # a JSON text may hold other line ends
        if line.strip():
            with in_line(number):
                made[number] = _from_line(line, values, reads_files)
    return made


@contextmanager
def in_line(number: int) -> Iterator[None]:
    """Let an error's message begin with the number of the line that it comes from."""
    try:
        yield
    except LDMError as error:
        raise type(error)(f"line {number}: {error}") from error


def _from_line(line: str, values: dict[str, Any], reads_files: bool) -> Any:
    try:
        own = json.loads(line)
    except (ValueError, RecursionError):
        own = None
    if not isinstance(own, dict):
        raise RequestError(f"a request must be a JSON object, got {line.strip()!r:.60}.")
    if (task := own.get("task", values["task"])) != values["task"]:
        raise RequestError(f"task must be {values['task']} here, got {task!r:.80}.")
    return from_dict(values | own | (_from_files(task, own) if reads_files else {}))


def _from_files(task: str, values: dict[str, Any]) -> dict[str, Any]:
    """Read the fields whose values name files that hold them."""
    types = field_types(REQUESTS[task])
    named = {
        name: value
        for name, value in values.items()
        if name in types
        and (name == "boxes" or types[name].kind is EncodedImage)
        and isinstance(value, str)
        and value
        and not value.startswith("data:")
    }
    return {name: read_file(REQUESTS[task], name, Path(file)) for name, file in named.items()}


def _typed(kind: type, value: Any) -> Any:
    """Convert a JSON value to the field's type; leave a misfit for the request to refuse."""
    if isinstance(value, str) and kind is EncodedImage:
        return EncodedImage.from_data_url(value)
    if isinstance(value, (list, tuple)) and kind is tuple:
        return boxes_of(value)
    return value


def _box(value: Any) -> Box:
    names = {field.name for field in fields(Box)}
    if isinstance(value, Box):
        return value
    if not isinstance(value, dict) or set(value) != names:
        raise RequestError(f"a box must have {', '.join(sorted(names))}, got {value!r:.120}.")
    return Box(**value)


def read_file(request_type: type, name: str, path: Path) -> Any:
    """Read the value of a field from a file: a picture, a label map or a list of boxes.

    Raises:
        RequestError: If the file cannot be read as such.
    """
    if name == "boxes":
        return _read_boxes(path)
    return controls(request_type)[name].converts(path)


def _read_boxes(path: Path) -> tuple[Box, ...]:
    try:
        return boxes_of(json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise RequestError(f"there is no file {str(path)!r:.200}.") from error
    except OSError as error:
        raise RequestError(f"{path.name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"{path.name} must be a JSON list of boxes with label, left, top, right and bottom."
        ) from error


def boxes_of(values: Any) -> tuple[Box, ...]:
    """Build boxes from a JSON list.

    Raises:
        RequestError: If it is no list of boxes.
    """
    if not isinstance(values, (list, tuple)):
        raise RequestError(f"boxes must be a list, got {values!r:.80}.")
    return tuple(_box(value) for value in values)
