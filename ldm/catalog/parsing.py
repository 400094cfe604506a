"""YAML text -> plain values -> typed dataclass; nothing unknown, mistyped or missing passes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldm.errors import PresetError

MAX_YAML_BYTES = 256 * 1024
MAX_YAML_NODES = 10_000  # aliases counted each time: a small file can stand for a huge tree

_T = TypeVar("_T")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        PresetError: If the file cannot be read, is too large or holds no mapping.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise PresetError(f"{path} is larger than a configuration of {MAX_YAML_BYTES} bytes.")
        values = yaml.load(path.read_text("utf-8"), Loader=_Loader)
        _count_nodes(values, MAX_YAML_NODES)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PresetError(f"{path} is no readable YAML file: {reason}.") from error
    if not isinstance(values, dict):
        raise PresetError(f"{path} must hold a mapping, got {type(values).__name__}.")
    return values


def parse(schema: type[_T], values: Mapping[str, Any], where: str) -> _T:
    """Make a dataclass, such as `ldm.catalog.schema.Preset`, from plain values.

    The same values give the same object: every request asks for its preset several times.

    Args:
        schema: The dataclass.
        values: What a YAML file says.
        where: The file's path, for the message.

    Raises:
        PresetError: Naming `where` and the key or value at fault.
    """
    try:
        return _parsed(schema, written_out(json.dumps(values, default=str)))
    except (OmegaConfBaseException, PresetError, ValueError, TypeError) as error:
        key = getattr(error, "full_key", None)
        reason = str(error).splitlines()[0].rstrip(".")
        raise PresetError(f"{where}: {f'{key}: ' if key else ''}{reason}.") from error


def written_out(text: str) -> str:
    """The text, unless OmegaConf would look something up for it, in the environment too.

    Raises:
        ValueError: Naming what it would look up.
    """
    if found := re.search(r"\$\{[^}\"]*\}?", text):
        raise ValueError(f"values must be written out, got {found.group():.60}")
    return text


@lru_cache(maxsize=128)
def _parsed(schema: type[_T], text: str) -> _T:
    """The object of values that are written as JSON: text can be looked up."""
    values = OmegaConf.merge(OmegaConf.structured(schema), json.loads(text))
    return OmegaConf.to_object(values)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Safe and, where libyaml is there, fast."""


def _count_nodes(value: Any, budget: int) -> int:
    """What is left of `budget` after every node below `value` has been counted."""
    if budget <= 0:
        raise ValueError(f"it stands for more than {MAX_YAML_NODES} values")
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    for child in children:
        budget = _count_nodes(child, budget - 1)
    return budget
