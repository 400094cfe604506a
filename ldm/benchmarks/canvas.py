"""Large canvases, whole and in bands: seconds, peak memory and the difference between the two.

Every run has a process of its own, so that its peak is its own; weights are random, which changes
neither time nor memory.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

MIB = 2**20
BUDGET = 256 * MIB
SIDES = (512, 1024, 2048)  # px
WHOLE_UP_TO = 1024  # px; a whole decode of 2048 px takes 6 GiB


@dataclass(frozen=True)
class Case:
    """One decode."""

    preset: str
    side: int  # px
    dtype: str  # "float32" or "bfloat16"
    budget: int | None  # bytes; None: whole


@dataclass(frozen=True)
class Figures:
    """What a decode took."""

    seconds: float
    cpu_seconds: float  # of all threads: another busy program does not change them much
    peak: float  # MiB above the loaded model


def measure(case: Case) -> Figures:
    """Decode random latents once, in this process."""
    # ruff: noqa: PLC0415  (the processes that only start others need no torch)
    import torch

    from ldm.canvas.bounded import BoundedFirstStage
    from ldm.canvas.workspace import Workspace
    from ldm.catalog.build import build_first_stage
    from ldm.catalog.registry import load_preset

    torch.manual_seed(0)
    stage = build_first_stage(load_preset(case.preset), "cpu").eval().requires_grad_(False)
    stage = stage.to(getattr(torch, case.dtype), memory_format=torch.channels_last)
    side = case.side // stage.factor
    channels = stage.post_quant_conv.in_channels
    z = torch.randn(1, channels, side, side, dtype=getattr(torch, case.dtype))
    if case.budget is not None:
        stage = BoundedFirstStage(stage, Workspace(case.budget))
    before = _peak_mib()
    begin, busy = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        stage.decode(z)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    return Figures(seconds, busy, _peak_mib() - before)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(case: Case) -> Figures:
    """Measure in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, case).result()


def cases(preset: str) -> Iterator[Case]:
    """The rows of the table."""
    for dtype in ("float32", "bfloat16"):
        for side in SIDES:
            if side <= WHOLE_UP_TO:
                yield Case(preset, side, dtype, None)
            yield Case(preset, side, dtype, BUDGET)


def table(preset: str) -> Iterator[str]:
    """The figures as Markdown, a line as soon as it is known."""
    yield "| decode | numbers | way | seconds | CPU seconds | peak above the model, MiB |"
    yield "|---|---|---|---|---|---|"
    for case in cases(preset):
        way = "whole" if case.budget is None else f"bands, {case.budget // MIB} MiB"
        got = alone(case)
        yield (
            f"| {preset}, {case.side} x {case.side} px | {case.dtype} | {way} "
            f"| {got.seconds:.1f} | {got.cpu_seconds:.1f} | {got.peak:.0f} |"
        )
