"""The numbers of one preset on held-out scenes, as a table of measure, value and bar."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.errors import PresetError

SCENES = 96  # that a diffusion model is measured on, at its trained size
FEWEST = 4  # scenes: one of the largest size
KEPT = "kept of it at 4 x the trained width"  # a share of the measure at the trained size
IN_PIECES = "kept of what the same pictures reach in pieces of the trained width"


@dataclass(frozen=True)
class Row:
    """One measured number."""

    measure: str
    value: float
    unit: str = ""
    at_least: float | None = None  # the bar, where the project has set one
    size: str = ""  # of the pictures, "128 x 128"
    between_real: float | None = None  # the same of real scenes and as many other real ones

    @property
    def passed(self) -> bool:
        """Whether the bar is reached; True where there is none."""
        return self.at_least is None or self.value >= self.at_least


def evaluate(preset_name: str, *, scenes: int | None = None) -> list[Row]:
    """Measure a preset.

    Args:
        preset_name: A preset whose task has measures.
        scenes: Held-out scenes to use; None takes each measure's own number.

    Raises:
        PresetError: If there is no such preset, its task has no measures or the scenes are too few.
    """
    preset = load_preset(preset_name)
    if scenes is not None and scenes < FEWEST:
        raise PresetError(f"scenes must be at least {FEWEST}, got {scenes}.")
    if preset.task not in EVALUATORS:
        raise PresetError(
            f"{preset.name} does {preset.task}, which has no measures; "
            f"measured are {', '.join(EVALUATORS)}."
        )
    return EVALUATORS[preset.task](preset, scenes)


def table(rows: list[Row]) -> str:
    """The rows as aligned text, one line each, `ok` or `below` at the end of those with a bar."""
    lines = []
    for row in rows:
        value = f"{row.value:8.3f} {row.unit}"
        lines.append(f"{row.measure:<44} {row.size:<10} {value}{_held_against(row)}")
    return "\n".join(lines)


def _held_against(row: Row) -> str:
    """What a number is compared with, if there is anything."""
    if row.between_real is not None:
        return f"  between real scenes {row.between_real:.3f}"
    if row.at_least is None:
        return ""
    return f"  at least {row.at_least:g}  {'ok' if row.passed else 'below'}"


def _first_stage(preset: Preset, scenes: int | None) -> list[Row]:
    from ldm.evaluation.first_stage import measure  # noqa: PLC0415  (torch, only when asked)

    return measure(preset, scenes or 200)


def _sampled(module: str) -> Callable[[Preset, int | None], list[Row]]:
    """The measures of a diffusion model, in a module of this folder that is imported when asked."""

    def run(preset: Preset, scenes: int | None) -> list[Row]:
        return importlib.import_module(f"ldm.evaluation.{module}").measure(preset, scenes or SCENES)

    return run


EVALUATORS: dict[str, Callable[[Preset, int | None], list[Row]]] = {
    "first-stage": _first_stage,
    "text-to-image": _sampled("text_to_image"),
    "semantic": _sampled("semantic"),
    "upscale": _sampled("upscale"),
    "inpaint": _sampled("inpaint"),
    "layout": _sampled("layout"),
    "class-conditional": _sampled("class_conditional"),
}
