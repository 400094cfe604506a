"""Does a text-to-image model draw what the sentence says? The critic's answers, as a share of
those it gives for real pictures of the same sentences."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data import attributes
from ldm.evaluation.critic import judge, load_critic
from ldm.evaluation.held_out import HeldOut, held_out
from ldm.evaluation.metrics import frechet_distance
from ldm.evaluation.report import Row
from ldm.requests import Progress
from ldm.runtime.manager import ModelManager
from ldm.tasks.sampling import CELLS_PER_BATCH, Sampling, sample

BAR = 0.85
GROUPS = {
    "time": ("time",),
    "weather": ("weather",),
    "ground": ("ground", "lake", "mountains"),
    "objects": ("pine", "tree", "house", "boat"),
}
WIDTHS = (1, 2, 4)
STEPS = 25  # twice as many change the shares by less than their spread


def measure(preset: Preset, scenes: int) -> list[Row]:
    """Attribute accuracy as a share of real, and FID by the critic, per width."""
    critic = load_critic()
    rows = []
    for times in WIDTHS:
        width, count = times * preset.width, scenes // times
        real = held_out(count, width, preset.height)
        drawn = draw(preset, real.captions, width, preset.height)
        seen, truth = judge(critic, drawn), judge(critic, real.images)
        size = f"{width} x {preset.height}"
        shares = _shares(seen.answers, truth.answers, real)
        for name, share in shares.items():
            bar = BAR if times == 1 and name == "all" else None
            rows.append(Row(f"attribute accuracy, share of real: {name}", share, "", bar, size))
        distance = frechet_distance(seen.features, truth.features)
        rows.append(Row("Frechet distance of the critic's features", distance, size=size))
    return rows


def _shares(seen: Tensor, real: Tensor, held: HeldOut) -> dict[str, float]:
    """Accuracy on samples divided by accuracy on real pictures, per group and over all groups."""
    columns = {name: i for i, name in enumerate(attributes.NAMES)}

    def accuracy(answers: Tensor, names: tuple[str, ...]) -> float:
        which = [columns[name] for name in names]
        return float((answers[:, which] == held.truth[:, which]).float().mean())

    ours = {group: accuracy(seen, names) for group, names in GROUPS.items()}
    theirs = {group: accuracy(real, names) for group, names in GROUPS.items()}
    shares = {group: ours[group] / theirs[group] for group in GROUPS}
    return shares | {"all": sum(ours.values()) / sum(theirs.values())}


def draw(preset: Preset, prompts: list[str], width: int, height: int) -> Tensor:
    """One picture per prompt, seed i for prompt i, several prompts at a time: (N, 3, H, W)."""
    images: list[np.ndarray] = []
    about = preset.defaults
    with ModelManager().use(preset.name) as model, torch.no_grad():
        batch = max(1, CELLS_PER_BATCH * model.factor**2 // (width * height))
        for start in range(0, len(prompts), batch):
            some = prompts[start : start + batch]
            seeds = tuple(range(start, start + len(some)))
            how = Sampling(about.sampler, STEPS, about.guidance_scale, 0.0, seeds, height, width)
            images += _finished(sample(model, how, model.condition(some), model.condition([""])))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return pixels / 127.5 - 1


def _finished(run: Generator[Progress, None, list[np.ndarray]]) -> list[np.ndarray]:
    """What a run returns when its progress is over."""
    try:
        while True:
            next(run)
    except StopIteration as end:
        return end.value
