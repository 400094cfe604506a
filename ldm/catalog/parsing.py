"""Strict parsing of YAML to typed dataclasses: unknown, mistyped or missing keys are errors."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ldm.checkpoints.folders import MAX_CONFIG_BYTES
from ldm.checkpoints.folders import read_json as read_json_of_folder
from ldm.errors import CheckpointError, PresetError

MAX_YAML_BYTES = 256 * 1024
MAX_YAML_NODES = 10_000  # with aliases counted at each use: a small file can expand to a huge tree

_T = TypeVar("_T")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises:
        PresetError: If the file cannot be read, is too large or holds no mapping.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise PresetError(f"{path} is larger than a configuration of {MAX_YAML_BYTES} bytes.")
        values = _loaded(path.read_text("utf-8"))
        _count_nodes(values, MAX_YAML_NODES)
    except FileNotFoundError as error:
        raise PresetError(f"there is no file {str(path)!r:.200}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PresetError(f"{path} is no readable YAML file: {reason}.") from error
    if not isinstance(values, dict):
        raise PresetError(f"{path} must hold a mapping, got {type(values).__name__}.")
    return values


def with_change(values: Mapping[str, Any], change: str) -> dict[str, Any]:
    """Return the values of a YAML file with one in another place's stead.

    Args:
        values: Of the file.
        change: "key=value" or "key.of.a.part=value"; the value is YAML.

    Raises:
        PresetError: If it is not written like that.
    """
    key, sign, text = change.partition("=")
    first, *rest = key.strip().split(".", 1)
    if not (first and sign):
        raise PresetError(
            f"a change must be written KEY=VALUE, like steps=2000, got {change!r:.80}."
        )
    if rest:
        inner = values.get(first)
        inner = inner if isinstance(inner, Mapping) else {}
        return {**values, first: with_change(inner, f"{rest[0]}={text}")}
    try:
        return {**values, first: _loaded(text)}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise PresetError(f"{change!r:.80} holds no readable YAML: {reason}.") from error


def read_json(path: Path, most: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Read a JSON object, of at most `most` bytes.

    Raises:
        PresetError: If the file cannot be read, is too large or holds anything else.
    """
    try:
        return read_json_of_folder(path, most)
    except CheckpointError as error:
        raise PresetError(str(error)) from error


def parse(
    schema: type[_T], values: Mapping[str, Any], where: str, derived: Collection[str] = ()
) -> _T:
    """Make a dataclass, such as `ldm.catalog.schema.Preset`, from plain values.

    Results are cached by value, since every request loads its preset several times.

    Args:
        schema: The dataclass.
        values: The values of a YAML file.
        where: The file's path, for error messages.
        derived: Fields that are no keys of the file.

    Raises:
        PresetError: If the values do not fit; it names `where` and the key or value at fault.
    """
    try:
        return _parsed(schema, written_out(json.dumps(values, default=str)))
    except (OmegaConfBaseException, PresetError, ValueError, TypeError) as error:
        _let_interrupts_through(error)
        key = getattr(error, "full_key", None)
        reason = str(error).splitlines()[0].rstrip(".")
        if isinstance(error, ConfigKeyError) and is_dataclass(error.object_type):
            known = [f.name for f in fields(error.object_type) if f.name not in derived]
            reason = f"unknown key; known are {', '.join(known)}"
        raise PresetError(f"{where}: {f'{key}: ' if key else ''}{reason}.") from error


def _let_interrupts_through(error: BaseException) -> None:
    """Raise the Ctrl+C behind an error: OmegaConf trips over its own half-filled list then."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    for behind in (error.__cause__, error.__context__):
        if behind is not None:
            _let_interrupts_through(behind)


def written_out(text: str) -> str:
    """Return the text unchanged, if it holds no OmegaConf interpolation.

    An interpolation `${...}` could also read the environment.

    Raises:
        ValueError: If there is an interpolation; it names it.
    """
    if found := re.search(r"\$\{[^}\"]*\}?", text):
        raise ValueError(f"values must be written out, got {found.group():.60}")
    return text


@lru_cache(maxsize=1024)  # all models are listed again and again
def _parsed(schema: type[_T], text: str) -> _T:
    """Parse values given as JSON text, which can be the key of a cache."""
    values = OmegaConf.merge(OmegaConf.structured(schema), json.loads(text))
    return OmegaConf.to_object(values)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """The safe YAML loader, in its fast version if libyaml is available."""


def _loaded(text: str) -> Any:
    """Load YAML in which no mapping has a key twice.

    Raises:
        ValueError: If one has.
        yaml.YAMLError: If it is none.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check_keys(root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check_keys(root: yaml.Node) -> None:
    """Raise ValueError if a key stands twice in one mapping, as it is written."""
    seen, nodes = set(), [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [(key.tag, str(key.value)) for key, _ in node.value]
            if twice := [name for (_, name), count in Counter(keys).items() if count > 1]:
                raise ValueError(f"the key {twice[0]!r:.80} stands there twice")
            nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


def _count_nodes(value: Any, budget: int) -> int:
    """Return `budget` less the number of nodes below `value`; ValueError if it runs out."""
    if budget <= 0:
        raise ValueError(f"it stands for more than {MAX_YAML_NODES} values")
    children = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    for child in children:
        budget = _count_nodes(child, budget - 1)
    return budget
