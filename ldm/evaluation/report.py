"""Measure a preset on held-out scenes, and format the results as a table.

A bar is the value that a measure should reach at least.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.errors import PresetError

log = logging.getLogger(__name__)

SCENES = 96  # default number for a diffusion model at its trained size
FEWEST = 4  # minimum number of scenes
KEPT = "kept of it at 4 x the trained width"  # relative to the measure at the trained size
IN_PIECES = "kept of what the same pictures reach in pieces of the trained width"


@dataclass(frozen=True)
class Row:
    """One measured number."""

    measure: str
    value: float
    unit: str = ""
    at_least: float | None = None  # the bar; None: not set
    size: str = ""  # of the pictures in px, "128 x 128"
    between_real: float | None = None  # the measure between two sets of real scenes

    @property
    def passed(self) -> bool:
        """Whether the bar is reached; True if there is none."""
        return self.at_least is None or self.value >= self.at_least


def evaluate(preset_name: str, *, scenes: int | None = None) -> list[Row]:
    """Measure a preset.

    Args:
        preset_name: A preset whose task has measures.
        scenes: Number of held-out scenes; None: the default of the preset's task.

    Raises:
        PresetError: If there is no such preset, its task has no measures, it cannot be asked for
            what is in the scenes, or `scenes` is below FEWEST.
    """
    from ldm.evaluation.held_out import require_landscapes  # noqa: PLC0415  (imports torch)

    preset = load_preset(preset_name)
    if scenes is not None and scenes < FEWEST:
        raise PresetError(f"scenes must be at least {FEWEST}, got {scenes}.")
    if preset.task not in EVALUATORS:
        raise PresetError(
            f"{preset.name} does {preset.task}, which has no measures; "
            f"measured are {', '.join(EVALUATORS)}."
        )
    require_landscapes(preset)
    rows = EVALUATORS[preset.task](preset, scenes)
    if not preset.is_own:
        return rows
    # it was trained on something else
    log.warning("%s is measured on the procedural landscapes, without a bar", preset.name)
    return [replace(row, at_least=None) for row in rows]


def table(rows: list[Row]) -> str:
    """Format rows as aligned text, one line each; lines with a bar end in `ok` or `below`."""
    lines = []
    for row in rows:
        value = f"{row.value:8.3f} {row.unit}"
        lines.append(f"{row.measure:<44} {row.size:<10} {value}{_held_against(row)}")
    return "\n".join(lines)


def _held_against(row: Row) -> str:
    """The reference value of a row, as the end of its line; empty if there is none."""
    if row.between_real is not None:
        return f"  between real scenes {row.between_real:.3f}"
    if row.at_least is None:
        return ""
    return f"  at least {row.at_least:g}  {'ok' if row.passed else 'below'}"


def _first_stage(preset: Preset, scenes: int | None) -> list[Row]:
    from ldm.evaluation.first_stage import measure  # noqa: PLC0415  (imports torch)

    return measure(preset, scenes or 200)


def _sampled(module: str) -> Callable[[Preset, int | None], list[Row]]:
    """Return the `measure` of a module in this folder, which is imported when it is called."""

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
    "unconditional": _sampled("unconditional"),
}
