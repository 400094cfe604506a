"""Measure the reconstructions of a first stage, at its trained width and larger ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldm.catalog.build import build_first_stage
from ldm.catalog.schema import Preset
from ldm.checkpoints.apply import load_first_stage
from ldm.evaluation.held_out import held_out
from ldm.evaluation.metrics import psnr, ssim
from ldm.evaluation.report import Row
from ldm.models.first_stage import DiagonalGaussian

BARS = {"kl": (30.0, 0.90), "vq": (29.0, 0.90)}  # PSNR in dB, SSIM
WIDTHS = (1, 2, 4)  # multiples of the trained width
BATCH = 8


def measure(preset: Preset, scenes: int) -> list[Row]:
    """PSNR and SSIM of reconstructions; a KL posterior is decoded at its mode."""
    first_stage = build_first_stage(preset)
    load_first_stage(first_stage, preset.weight_path, dtype=torch.float32)
    bars = BARS[preset.architecture.first_stage.kind]
    rows = []
    for times in WIDTHS:
        width = times * preset.width
        images = held_out(scenes // times, width, preset.height).images
        values = _values(first_stage.eval(), images)
        size = f"{width} x {preset.height}"
        for name, unit, value, bar in zip(("PSNR", "SSIM"), ("dB", ""), values, bars, strict=True):
            rows.append(Row(name, value, unit, bar if times == 1 else None, size))
    return rows


@torch.no_grad()
def _values(first_stage: nn.Module, images: Tensor) -> tuple[float, float]:
    """Mean PSNR and SSIM of the reconstructions."""
    decibels, similarity = [], []
    for batch in images.split(BATCH):
        code = first_stage.encode(batch)
        z = code.mode() if isinstance(code, DiagonalGaussian) else code
        again = first_stage.decode(z).clamp(-1, 1)
        decibels.append(psnr(again, batch))
        similarity.append(ssim(again, batch))
    return float(torch.cat(decibels).mean()), float(torch.cat(similarity).mean())
