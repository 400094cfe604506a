"""How long a large checkpoint takes to become a model, and what memory, against torch's own way."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MIB = 2**20
WAYS = ("read the file", "ours", "torch.load + load_state_dict")
PRESET = "celeba256"  # 274 M in the UNet, 55 M in the first stage: 1.3 GB


@dataclass(frozen=True)
class Figures:
    """What a way took."""

    seconds: float
    private: float  # MiB of memory that is no mapped file, above what was there before


def write(preset: str, path: Path) -> None:
    """A checkpoint of random weights, as the authors' programs write theirs."""
    # ruff: noqa: PLC0415  (the process that only starts others needs no torch)
    import torch

    from ldm.catalog.build import build_model
    from ldm.catalog.registry import load_preset
    from ldm.checkpoints.keymaps import to_published_names

    model = build_model(load_preset(preset), "cpu")
    torch.save({"state_dict": to_published_names(model.state_dict())}, path)


def measure(way: str, preset: str, path: Path) -> Figures:
    """Go one way once, in this process; the file has been read before."""
    import torch

    from ldm.catalog.build import build_model
    from ldm.catalog.registry import load_preset
    from ldm.checkpoints.apply import load_files
    from ldm.checkpoints.keymaps import to_our_names
    from ldm.models.inference import prepare

    about = load_preset(preset)
    before = _private()
    begin = time.perf_counter()
    if way == WAYS[0]:
        buffer = bytearray(8 * MIB)
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        kept = buffer
    elif way == WAYS[1]:
        kept = build_model(about)
        load_files(kept, [path], dtype=torch.float32, device="cpu")
        prepare(kept, torch.float32)
    else:
        kept = build_model(about, "cpu")
        weights = torch.load(path, weights_only=True)["state_dict"]
        kept.load_state_dict(to_our_names(weights, str(path)))
    seconds = time.perf_counter() - begin
    return Figures(seconds, (_private() - before) / MIB if kept is not None else 0.0)


def _private() -> int:
    about = psutil.Process(os.getpid()).memory_info()
    return about.rss - getattr(about, "shared", 0)


def table(preset: str = PRESET) -> Iterator[str]:
    """The figures as Markdown."""
    yield "| way | seconds | of reading | memory of its own, MiB |"
    yield "|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        _alone(write, preset, path)
        first = None
        for way in WAYS:
            got = min((_alone(measure, way, preset, path) for _ in range(3)), key=_seconds)
            first = first or got.seconds
            share = got.seconds / first
            yield f"| {way} | {got.seconds:.2f} | {share:.1f}x | {got.private:.0f} |"


def _seconds(figures: Figures) -> float:
    return figures.seconds


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()
