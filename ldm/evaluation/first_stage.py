"""Measure the reconstructions of a first stage, at its trained width and larger ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ldm.catalog.build import build_first_stage, build_preview
from ldm.catalog.schema import Preset
from ldm.checkpoints.apply import load_first_stage, load_preview
from ldm.evaluation.held_out import held_out
from ldm.evaluation.metrics import psnr, ssim
from ldm.evaluation.report import Row
from ldm.models.first_stage import mode_of

PREVIEW_BAR = 28.0  # dB; a linear map of the latents has 21
BARS = {"kl": (30.0, 0.90), "vq": (29.0, 0.90)}  # PSNR in dB, SSIM
WIDTHS = (1, 2, 4)  # multiples of the trained width
BATCH = 8


def measure(preset: Preset, scenes: int) -> list[Row]:
    """PSNR and SSIM of reconstructions, and the PSNR of previews to these if it draws any.

    A KL posterior is decoded at its mode.
    """
    first_stage = build_first_stage(preset)
    load_first_stage(first_stage, preset.weight_path, dtype=torch.float32)
    preview = None
    if preset.preview_path is not None and preset.preview_path.exists():
        preview = build_preview(preset)
        load_preview(preview, preset.preview_path)
    bars = BARS[preset.architecture.first_stage.kind]
    rows = []
    for times in WIDTHS:
        width = times * preset.width
        images = held_out(scenes // times, width, preset.height).images
        decibels, similarity, roughly = _values(first_stage.eval(), preview, images)
        size = f"{width} x {preset.height}"
        for name, unit, value, bar in zip(
            ("PSNR", "SSIM"), ("dB", ""), (decibels, similarity), bars, strict=True
        ):
            rows.append(Row(name, value, unit, bar if times == 1 else None, size))
        if preview is not None:
            bar = PREVIEW_BAR if times == 1 else None
            rows.append(Row("PSNR of previews to the decoded", roughly, "dB", bar, size))
    return rows


@torch.no_grad()
def _values(
    first_stage: nn.Module, preview: nn.Module | None, images: Tensor
) -> tuple[float, float, float]:
    """Mean PSNR and SSIM of the reconstructions, and PSNR of previews to them (NaN: none)."""
    decibels, similarity, roughly = [], [], [torch.full((1,), torch.nan)] * (preview is None)
    for batch in images.split(BATCH):
        z = mode_of(first_stage.encode(batch))
        again = first_stage.decode(z).clamp(-1, 1)
        decibels.append(psnr(again, batch))
        similarity.append(ssim(again, batch))
        if preview is not None:
            roughly.append(psnr(preview(z).clamp(-1, 1), again))
    return tuple(float(torch.cat(values).mean()) for values in (decibels, similarity, roughly))
