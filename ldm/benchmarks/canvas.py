"""Benchmark of large canvases, whole, in bands and in diffusers: time, memory, errors.

Every run has a process of its own, so that its peak of memory is its own. If a canvas is also run
whole, the results are compared with the paper's code in float32 and with the whole run in the same
dtype.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ldm.benchmarks.alone import alone, machine
from ldm.benchmarks.borders import border_excess, tone_shift
from ldm.benchmarks.decoding import MIB, Case, Figures, measure, write_inputs
from ldm.benchmarks.figure import memory_figure
from ldm.benchmarks.peers import check_installed
from ldm.catalog.registry import load_preset
from ldm.errors import RequestError

BUDGET = 256 * MIB
LARGE_BUDGET = 512 * MIB  # budget from LARGE px on, where a row of the canvas takes more memory
LARGE = 4096
SIDES = (512, 1024, 2048)  # px
WHOLE_UP_TO = 1024  # px; a whole decode of 2048 px takes 6 GiB
CELLS = (64, 256)  # sides of a UNet step in latent cells
DTYPES = ("float32", "bfloat16")
WAYS = ("whole", "bands", "diffusers", "diffusers, tiled")
HEADS = (
    "what",
    "numbers",
    "way",
    "seconds",
    "CPU seconds",
    "peak above the model, MiB",
    "largest error, of float32",
    "of whole",
    "worst border row",
    "worst other row",
    "tone",
)


@dataclass(frozen=True)
class Compared:
    """Deviations of a result from the reference; None: there is no reference."""

    error: float | None = None  # largest, from the paper's code in float32; 1 is half the range
    of_whole: float | None = None  # largest, from the whole run in the same dtype
    border: float | None = None  # see `border_excess`: at rows where parts meet
    elsewhere: float | None = None  # see `border_excess`: at any other row
    tone: float | None = None  # largest shift of a block's mean colour


@dataclass(frozen=True)
class Choice:
    """Which rows to measure; an empty field means the default ones.

    Args:
        preset: Preset whose UNet step or, if it has no UNet, whose decode is measured.
        sides: Sides of the canvas, in px for a decode and in latent cells for a step.
        dtypes: "float32", "bfloat16".
        ways: Values of WAYS.
        against: Whether to run diffusers as well.
        record: JSON file to which the rows are added; a figure of memory is written beside it.
    """

    preset: str
    sides: Sequence[int] = ()
    dtypes: Sequence[str] = ()
    ways: Sequence[str] = ()
    against: bool = False
    record: Path | None = None


def cases(choice: Choice) -> Iterator[Case]:
    """Yield the runs of the table, those of one canvas together."""
    preset = load_preset(choice.preset)
    what = "decode" if preset.architecture.unet is None else "step"
    has_tiles = what == "decode" and preset.architecture.first_stage.kind == "kl"
    for side in choice.sides or (SIDES if what == "decode" else CELLS):
        is_large = what == "decode" and side > WHOLE_UP_TO
        if not is_large:
            yield Case(choice.preset, what, side, "float32", "plain")
        for dtype in choice.dtypes or (DTYPES[1:] if is_large else DTYPES):
            for way in choice.ways or WAYS:
                theirs = way.startswith("diffusers")
                too_large = is_large and way in ("whole", "diffusers") and not choice.ways
                if (theirs and not choice.against) or too_large:
                    continue
                if way == "diffusers, tiled" and not has_tiles:
                    continue
                budget = (LARGE_BUDGET if side >= LARGE else BUDGET) if way == "bands" else 0
                yield Case(choice.preset, what, side, dtype, way, budget)


def table(choice: Choice) -> Iterator[str]:
    """Yield the figures as lines of Markdown, each as soon as it is measured.

    Raises:
        RequestError: If diffusers is asked for and not installed.
    """
    if choice.against:
        check_installed()
    yield from (machine(), "", f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|")
    with tempfile.TemporaryDirectory(dir=choice.record and choice.record.parent) as folder:
        for case in cases(choice):
            got = _measured(case, Path(folder))
            compared = _compared(case, got, Path(folder))
            if choice.record is not None:
                _keep(choice.record, case, got, compared)
            yield _line(case, got, compared)


def _measured(case: Case, folder: Path) -> Figures:
    inputs = folder / f"{case.what}-{case.side}.npy"
    if not inputs.exists():
        for old in folder.iterdir():  # files of the previous canvas
            old.unlink()
        alone(write_inputs, case.preset, case.what, case.side, inputs)
    keeps = case.what == "step" or case.side <= WHOLE_UP_TO
    return alone(measure, case, inputs, _made(case, folder) if keeps else None)


def _made(case: Case, folder: Path, way: str | None = None, dtype: str | None = None) -> Path:
    return folder / f"{way or case.way}-{dtype or case.dtype}.npy"


def _compared(case: Case, got: Figures, folder: Path) -> Compared:
    exact, made = _made(case, folder, "plain", "float32"), _made(case, folder)
    if case.way == "plain" or not (exact.exists() and made.exists()):
        return Compared()
    want, picture = np.load(exact), np.load(made)
    scale = max(1.0, float(np.abs(want).max()))
    error = float(np.abs(picture - want).max()) / scale
    whole = _made(case, folder, "diffusers" if "diffusers" in case.way else "whole")
    if whole == made or not whole.exists():
        return Compared(error)
    want = np.load(whole)
    of_whole = float(np.abs(picture - want).max()) / scale
    if case.what == "step":
        return Compared(error, of_whole)
    rows = border_excess(picture, want, got.borders)
    return Compared(error, of_whole, *rows, tone_shift(picture, want) / scale)


def _line(case: Case, got: Figures, compared: Compared) -> str:
    size = f"{case.side} x {case.side} {'px' if case.what == 'decode' else 'cells'}"
    way = f"bands, {case.budget // MIB} MiB" if case.way == "bands" else case.way
    cells = [f"{case.preset}, {case.what}, {size}", case.dtype, way]
    cells += [f"{got.seconds:.1f}", f"{got.cpu_seconds:.1f}", f"{got.peak:.0f}"]
    cells += [_error(compared.error), _error(compared.of_whole)]
    rows = (compared.border, compared.elsewhere)
    cells += ["" if share is None else f"{share:+.1%}" for share in rows]
    cells.append(_error(compared.tone))
    return f"| {' | '.join(cells)} |"


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def earlier_rows(record: Path) -> list[dict[str, Any]]:
    """Read the rows of earlier runs from a record file, which may not exist yet.

    Raises:
        RequestError: If the file is no such record or cannot be written.
    """
    if not os.access(record if os.path.exists(record) else record.parent, os.W_OK):
        raise RequestError(f"{record} cannot be written; give a file in a folder that is there.")
    try:
        rows = json.loads(record.read_text("utf-8")) if record.exists() else []
        if not all(row.keys() >= {f.name for f in fields(Case)} | {"peak"} for row in rows):
            raise ValueError("rows of something else")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise RequestError(f"{record} holds no rows of earlier runs; give another name.") from error
    return rows


def _keep(record: Path, case: Case, got: Figures, compared: Compared) -> None:
    """Add a row to the record, in place of one of the same case, and redraw the figure."""
    rows = earlier_rows(record)
    row = asdict(case) | asdict(got) | asdict(compared)
    del row["borders"]
    same = [all(old[key] == row[key] for key in asdict(case)) for old in rows]
    rows = [old for old, is_same in zip(rows, same, strict=True) if not is_same] + [row]
    rows.sort(key=lambda r: (r["what"], r["preset"], r["dtype"], r["way"], r["side"]))
    record.write_text(json.dumps(rows, indent=1) + "\n")
    record.with_suffix(".svg").write_text(memory_figure(rows))
