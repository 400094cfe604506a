"""The verb `presets`: which models there are, and what one of them knows."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ldm.catalog.registry import list_presets, load_preset
from ldm.catalog.schema import Preset


def add_presets(verbs: Any) -> None:
    """Add `presets [NAME]`."""
    text = "list the models that can be used, or tell of one"
    parser = verbs.add_parser("presets", help=text, description=text)
    parser.set_defaults(run=_presets)
    parser.add_argument("name", nargs="?", help="a model: what it knows, and its usual settings")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _presets(arguments: Any) -> int:
    if arguments.name is None:
        told = [_row(preset) for preset in list_presets()]
        lines = map(_line, told)
    else:
        preset = load_preset(arguments.name)
        told = _row(preset) | _more(preset)
        lines = _lines(told)
    print(json.dumps(told, indent=2) if arguments.json else "\n".join(lines))
    return 0


def _row(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "task": preset.task,
        "width": preset.width,
        "height": preset.height,
        "parameters": preset.parameters,
        "on_disk": preset.is_on_disk,
        "source": preset.source,
        "licence": preset.licence,
    }


def _more(preset: Preset) -> dict[str, Any]:
    return {
        "title": preset.title,
        "description": preset.description,
        "links": preset.links,
        "defaults": dataclasses.asdict(preset.defaults),
        "classes": preset.classes,
        "words": preset.words,
    }


def _line(row: dict[str, Any]) -> str:
    size = f"{row['width']} x {row['height']}"
    count = f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "-"
    where = "on disk" if row["on_disk"] else "not on disk"
    return f"{row['name']:<28} {row['task']:<18} {size:<10} {count:>9}  {where:<12} {row['source']}"


def _lines(told: dict[str, Any]) -> list[str]:
    numbers = ", ".join(f"{number} {name}" for number, name in enumerate(told["classes"]))
    about = {
        told["title"]: told["description"],
        "licence": told["licence"],
        "links": ", ".join(told["links"]),
        "usual settings": ", ".join(f"{name} {value}" for name, value in told["defaults"].items()),
        "classes": numbers,
    }
    return [_line(told), *(f"{k}: {v}" for k, v in about.items() if v), *told["words"]]
