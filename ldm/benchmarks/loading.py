"""Benchmark of loading a large checkpoint: time and memory, beside torch's own ways."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ldm.benchmarks.alone import alone, machine
from ldm.benchmarks.networks import randomised
from ldm.benchmarks.resident import MIB, STATUS, watched
from ldm.catalog.build import build_model
from ldm.catalog.registry import load_preset
from ldm.checkpoints.apply import load_files
from ldm.checkpoints.keymaps import to_our_names, to_published_names
from ldm.errors import LDMError
from ldm.inference.prepare import prepare

ROUNDS = 5
HEADS = ("way", "seconds", "of reading", "memory of its own, MiB", "pages of the file, MiB")


@dataclass(frozen=True)
class Figures:
    """Time and peak memory of one way of loading."""

    seconds: float
    own: float  # peak MiB of memory that is no mapped file
    mapped: float  # peak MiB of mapped pages of files


def write(preset: str, path: Path) -> None:
    """Write a checkpoint of random weights in the authors' format."""
    model = randomised(build_model(load_preset(preset)).to_empty(device="cpu"))
    torch.save({"state_dict": to_published_names(model.state_dict())}, path)


def _read(preset: str, path: Path) -> Any:
    buffer = bytearray(8 * MIB)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return buffer


def _ours(preset: str, path: Path) -> Any:
    """Load as the model manager does; the check for finite weights reads every page."""
    model = build_model(load_preset(preset))
    load_files(model, [path], dtype=torch.float32, device="cpu")
    return prepare(model, torch.float32)


def _torchs(preset: str, path: Path) -> Any:
    model = build_model(load_preset(preset), "cpu")
    weights = torch.load(path, weights_only=True)["state_dict"]
    model.load_state_dict(to_our_names(weights, str(path)))
    return model


def _theirs_at_best(preset: str, path: Path) -> Any:
    """Load by torch without initialisation and without a second copy; nothing is checked."""
    model = build_model(load_preset(preset))
    weights = torch.load(path, weights_only=True)["state_dict"]
    model.load_state_dict(to_our_names(weights, str(path)), assign=True)
    return model


WAYS: dict[str, Callable[[str, Path], Any]] = {
    "read the file": _read,
    "ours": _ours,
    "torch.load + load_state_dict": _torchs,
    "the same, onto an empty model": _theirs_at_best,
}


def measure(way: str, preset: str, path: Path, cold: bool) -> Figures:
    """Load once in this process; the file is first dropped from the page cache or read into it."""
    _forget(path) if cold else _read(preset, path)
    with watched() as growth:
        begin = time.perf_counter()
        kept = WAYS[way](preset, path)
        seconds = time.perf_counter() - begin
    del kept
    return Figures(seconds, growth.own / MIB, growth.mapped / MIB)


def _forget(path: Path) -> None:
    """Drop a file from the system's page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def table(preset: str) -> Iterator[str]:
    """Yield the figures as lines of Markdown: the median of ROUNDS runs of all ways in turn.

    Raises:
        LDMError: If the system has no way to measure this.
    """
    _check_system()
    yield from (machine(), "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        alone(write, preset, path)
        yield f"{preset}, {path.stat().st_size / 10**9:.2f} GB"
        yield ""
        yield f"| file | {' | '.join(HEADS)} |"
        yield "|---" * (len(HEADS) + 1) + "|"
        for cold in (True, False):
            yield from _lines(preset, path, cold)


def _check_system() -> None:
    if not hasattr(os, "posix_fadvise") or not STATUS.exists():
        raise LDMError(
            "bench loading needs Linux, where a file can be dropped from the page cache and "
            f"{STATUS} tells a process's memory."
        )


def _lines(preset: str, path: Path, cold: bool) -> Iterator[str]:
    runs: dict[str, list[Figures]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            runs[way].append(alone(measure, way, preset, path, cold))
    middle = {
        way: sorted(some, key=lambda figures: figures.seconds)[ROUNDS // 2]
        for way, some in runs.items()
    }
    reading = next(iter(middle.values())).seconds
    for way, got in middle.items():
        cells = [way, f"{got.seconds:.2f}", f"{got.seconds / reading:.1f}x"]
        cells += [f"{got.own:.0f}", f"{got.mapped:.0f}"]
        yield f"| {'from the disk' if cold else 'just read'} | {' | '.join(cells)} |"
