"""Benchmark of how soon a decode in bands ends when it is cancelled."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ldm.benchmarks.alone import machine
from ldm.benchmarks.networks import plain_first_stage
from ldm.canvas.bounded import BoundedFirstStage
from ldm.canvas.stepwise import stepwise
from ldm.canvas.workspace import Workspace
from ldm.catalog.registry import load_preset
from ldm.inference.prepare import prepare

BUDGET = 256 * 2**20


def table(preset_name: str, side: int, dtype: str, share: float = 0.5) -> Iterator[str]:
    """Decode strip by strip, time each strip, and close the run in the middle.

    A cancel has to wait for the strip that is being computed and for the close.

    Args:
        preset_name: Preset of the first stage.
        side: Side of the picture in px.
        dtype: "float32" or "bfloat16".
        share: Share of all strips that is computed before the run is closed.

    Yields:
        The lines of a Markdown table.
    """
    preset, numbers = load_preset(preset_name), getattr(torch, dtype)
    stage = prepare(plain_first_stage(preset), numbers)
    cells = side // preset.factor
    channels = preset.architecture.first_stage.embed_dim
    z = torch.randn(1, channels, cells, cells, generator=torch.Generator().manual_seed(0))
    yield from (machine(), "", "| decode | strips | computed | longest | mean | close |")
    yield "|---|---|---|---|---|---|"
    with torch.inference_mode():
        strips, took, close = _closed(
            BoundedFirstStage(stage, Workspace(BUDGET)), z.to(numbers), share
        )
    what = f"{preset_name}, {side} x {side} px, {dtype}"
    seconds = f"{max(took):.2f} s | {sum(took) / len(took):.3f} s | {close:.3f} s"
    yield f"| {what} | {strips} | {len(took)} | {seconds} |"


def _closed(stage: BoundedFirstStage, z: Tensor, share: float) -> tuple[int, list[float], float]:
    """Return (strips of a whole decode, seconds of each computed one, seconds of the close)."""
    strips = stage.strips(z)
    run = stepwise(lambda: stage.decode(z), stage.space)
    took: list[float] = []
    begin = time.perf_counter()
    for _ in run:
        took.append(time.perf_counter() - begin)
        if len(took) >= share * strips:
            break
        begin = time.perf_counter()
    begin = time.perf_counter()
    run.close()
    return strips, took, time.perf_counter() - begin
