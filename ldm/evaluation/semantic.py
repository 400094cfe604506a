"""Measure whether a semantic model draws what its label map shows.

The measure is the mIoU of the critic's labels with the label map, relative to that on real
pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data.scenes import CLASSES
from ldm.evaluation.critic import Judgement, judge, load_critic
from ldm.evaluation.drawing import Size, draw, sizes, trained_size
from ldm.evaluation.frechet import frechet_row
from ldm.evaluation.grid import Block
from ldm.evaluation.held_out import held_out
from ldm.evaluation.metrics import mean_iou
from ldm.evaluation.report import KEPT, Row
from ldm.images import to_arrays
from ldm.latent_diffusion import LatentDiffusion
from ldm.runtime.manager import ModelManager

BAR = 0.85
BLOCKS, SEEDS = 8, 3  # label maps on the example sheet, samples of each


def measure(preset: Preset, scenes: int) -> list[Row]:
    """mIoU relative to real scenes, and Fréchet distance, per size."""
    critic, rows, shares = load_critic(), [], []
    with ModelManager().use(preset.name) as model:
        for size in sizes(preset, scenes):
            real = held_out(size.count, size.width, size.height)
            drawn = draw_maps(model, real.labels, size)
            seen, truth = judge(critic, drawn), judge(critic, real.images)
            shares.append(_iou(seen, real.labels) / _iou(truth, real.labels))
            bar = BAR if size.times == 1 else None
            rows.append(Row("mIoU by the critic, share of real", shares[-1], "", bar, str(size)))
            if size.times == 4:
                rows.append(Row(KEPT, shares[-1] / shares[0], "", 0.9, str(size)))
            rows.append(frechet_row(critic, seen.features, truth.features, size))
    return rows


def draw_maps(model: LatentDiffusion, labels: Tensor, size: Size, **how: Any) -> Tensor:
    """Sample one picture per label map (N, H, W): (N, 3, H, W)."""
    return draw(model, lambda some: model.condition_map(labels[some]), size, **how)


def examples(preset: Preset, model: LatentDiffusion) -> list[Block]:
    """Sample held-out label maps, each with the seeds 0 to 2."""
    labels = held_out(BLOCKS, preset.width, preset.height).labels
    size = trained_size(preset, BLOCKS * SEEDS)
    seeds = [*range(SEEDS)] * BLOCKS
    repeated = labels.repeat_interleave(SEEDS, dim=0)
    images = to_arrays(draw_maps(model, repeated, size, seeds=seeds))
    colours = np.array(list(CLASSES.values()), np.uint8)
    return [
        Block("painted, and three pictures of it", [colours[painted], *images[i : i + SEEDS]])
        for i, painted in zip(range(0, len(images), SEEDS), labels.numpy(), strict=True)
    ]


def _iou(judgement: Judgement, labels: Tensor) -> float:
    return mean_iou(judgement.labels, labels[:, ::2, ::2], len(CLASSES))
