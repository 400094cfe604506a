"""Benchmark of whole runs on a CUDA card: pictures per second, beside the paper's on an A100.

A run is that of the studio: noise, every step, previews and the decode to 8-bit pictures. It has
the steps of the paper's row, and enough pictures to keep the card busy. The weights are random.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ldm.benchmarks.networks import randomised
from ldm.catalog.build import build_model
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.inference.prepare import prepare
from ldm.runtime.device import choose_dtype
from ldm.tasks.sampling import sample
from ldm.tasks.settings import Sampling

COUNT = 16  # default number of pictures of a run
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A row of the paper's tables.

    Args:
        steps: DDIM steps.
        rate: Samples per second on one NVIDIA A100.
        where: Place in the paper, and what differs.
        guidance: Guidance scale; 1: none.
        count: Pictures of our run.
    """

    steps: int
    rate: float
    where: str
    guidance: float = 1.0
    count: int = COUNT


PAPER = {
    "lsun-churches256": Row(100, 6.80, "Table 18, LDM-8"),
    "lsun-beds256": Row(200, 1.07, "Table 18, LDM-4"),
    "celeba256": Row(500, 0.43, "Table 18, LDM-4"),
    "ffhq256": Row(200, 1.07, "Table 18, LDM-4"),
    "cin256-v2": Row(250, 0.4, "Table 18, LDM-4-G", guidance=1.5),
    "inpainting-big": Row(
        50, 0.99, "Table 6, LDM-4 (VQ, w/o attn) at 256: 215 M, and its steps are not stated"
    ),
}


def samples(names: Sequence[str]) -> Iterator[str]:
    """Measure presets of PAPER (empty: all) and yield the lines of a Markdown table."""
    heads = (
        "what",
        "DDIM steps",
        "pictures",
        "seconds",
        "samples/s",
        "the paper's, A100",
        "its row",
    )
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for name in names or PAPER:
        row = PAPER[name]
        try:
            seconds = _seconds(name, row)
        except Exception as error:  # the others are still measured
            log.exception("%s", name)
            yield f"| {name} | failed: {type(error).__name__}: {error!s:.300} |"
            continue
        cells = (name, row.steps, row.count, f"{seconds:.2f}", f"{row.count / seconds:.2f}")
        yield f"| {' | '.join(map(str, cells))} | {row.rate} | {row.where} |"
        torch.cuda.empty_cache()


def _seconds(name: str, row: Row) -> float:
    """Return the seconds of a run, after a short one that sets everything up."""
    preset = load_preset(name)
    dtype = choose_dtype(torch.device("cuda"))
    model = build_model(preset).to_empty(device="cuda")
    if math.isnan(model.scale_factor):  # only the weight file knows it
        model.scale_factor = 1.0
    prepare(randomised(model).to(dtype), dtype).is_prepared = True
    cond, uncond = _conditions(model, preset)
    for steps in (4, row.steps):
        sampling = Sampling(
            "ddim", steps, row.guidance, 0.0, tuple(range(row.count)), preset.height, preset.width
        )
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in sample(model, sampling, (cond, uncond)):
            pass
        seconds = time.perf_counter() - begin
    return seconds


def _conditions(model: Any, preset: Preset) -> tuple[Any, Any]:
    """Return the condition and the empty condition: of a class, half a picture, or none."""
    if model.conditioning == "crossattn":
        return tuple(model.condition(torch.tensor([c])) for c in (0, preset.null_class))
    if model.conditioning == "concat":
        picture = torch.zeros(1, 3, preset.height, preset.width)
        mask = torch.zeros(1, 1, preset.height, preset.width)
        mask[..., : preset.width // 2] = 1
        return (model.condition_hole(picture, mask),) * 2
    return (model.condition(None),) * 2
