"""Command line flags for the fields of a request, and the request that is built from them.

This module needs no torch.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ldm.requests import Control, controls
from ldm.requests.as_json import read_file
from ldm.requests.fields import field_types


def add_flags(
    parser: argparse.ArgumentParser, request_type: type, without: Collection[str] = ()
) -> list[argparse.Action]:
    """Add a flag for each field not in `without`, with the field's type and help.

    A flag that is not given leaves no value, so that the request of a picture keeps its own.

    Returns:
        The flags; one whose field has no default is required.
    """
    return [
        _add_flag(parser, request_type, name, about)
        for name, about in controls(request_type).items()
        if name not in without
    ]


def from_flags(request_type: type, arguments: argparse.Namespace) -> Any:
    """Build the request from parsed flags; pictures and boxes are read from their files.

    Raises:
        RequestError: If a file cannot be used, or a field is out of range.
    """
    return request_type(**values_of(request_type, arguments))


def values_of(request_type: type, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the flags that were given; pictures and boxes are read from their files.

    Raises:
        RequestError: If a file cannot be used.
    """
    given = {n: getattr(arguments, n) for n in controls(request_type) if hasattr(arguments, n)}
    return {
        n: read_file(request_type, n, v) if isinstance(v, Path) else v for n, v in given.items()
    }


def _add_flag(
    parser: argparse.ArgumentParser, request_type: type, name: str, about: Control
) -> argparse.Action:
    kind = field_types(request_type)[name].kind
    default = next(f.default for f in dataclasses.fields(request_type) if f.name == name)
    return parser.add_argument(
        "--" + name.replace("_", "-"),
        type=kind if kind in (str, int, float) else Path,  # pictures and boxes come as files
        default=argparse.SUPPRESS,
        required=default is dataclasses.MISSING,
        metavar=name.upper(),
        help=about.summary,
    )
