"""Measure whether a class-conditional model draws the ground and time of the given class.

The measure is the accuracy of the critic's answers, relative to that on real pictures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data import attributes
from ldm.data.classes import NAMES, NO_CLASS, PAIRS
from ldm.data.scenes import ATTRIBUTES
from ldm.evaluation.critic import judge, load_critic
from ldm.evaluation.drawing import Size, draw, sizes, trained_size
from ldm.evaluation.frechet import frechet_row
from ldm.evaluation.grid import Block
from ldm.evaluation.held_out import held_out
from ldm.evaluation.report import Row
from ldm.images import to_arrays
from ldm.latent_diffusion import LatentDiffusion
from ldm.runtime.manager import ModelManager

BAR = 0.85
ASKED = ("ground", "time")  # attributes that define a class
SEEDS = 4  # samples of each class on the example sheet


def measure(preset: Preset, scenes: int) -> list[Row]:
    """Accuracy of ground and time relative to real scenes, and Fréchet distance, per size."""
    critic, rows = load_critic(), []
    with ModelManager().use(preset.name) as model:
        for size in sizes(preset, scenes):
            real = held_out(size.count, size.width, size.height)
            drawn = draw_classes(preset, model, class_ids(real.truth), size)
            seen, truth = judge(critic, drawn), judge(critic, real.images)
            for name in ASKED:
                column = attributes.NAMES.index(name)
                ours, theirs = (
                    float((verdict.answers[:, column] == real.truth[:, column]).float().mean())
                    for verdict in (seen, truth)
                )
                what = f"attribute accuracy, share of real: {name}"
                bar = BAR if size.times == 1 else None
                rows.append(Row(what, ours / theirs, "", bar, str(size)))
            rows.append(frechet_row(critic, seen.features, truth.features, size))
    return rows


def class_ids(truth: Tensor) -> Tensor:
    """Convert attributes of scenes (N, attributes) to class ids (N,) int64."""
    columns = [attributes.NAMES.index(name) for name in ASKED]
    ids = [
        PAIRS.index(tuple(ATTRIBUTES[n][v] for n, v in zip(ASKED, row, strict=True)))
        for row in truth[:, columns].tolist()
    ]
    return torch.tensor(ids)


def draw_classes(
    preset: Preset, model: LatentDiffusion, ids: Tensor, size: Size, **how: Any
) -> Tensor:
    """Sample one picture per class id with the preset's guidance: (N, 3, H, W)."""
    return draw(
        model,
        lambda some: model.condition(ids[some]),
        size,
        empty=model.condition(torch.tensor([NO_CLASS])),
        guidance_scale=preset.defaults.guidance_scale,
        **how,
    )


def examples(preset: Preset, model: LatentDiffusion) -> list[Block]:
    """Sample every class with the seeds 0 to 3."""
    size = trained_size(preset, len(NAMES) * SEEDS)
    ids = torch.arange(len(NAMES)).repeat_interleave(SEEDS)
    how = {"seeds": [*range(SEEDS)] * len(NAMES)}
    images = to_arrays(draw_classes(preset, model, ids, size, **how))
    return [Block(name, images[i * SEEDS : (i + 1) * SEEDS]) for i, name in enumerate(NAMES)]
