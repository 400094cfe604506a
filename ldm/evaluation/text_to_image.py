"""Does a text-to-image model draw what the sentence says? The critic's answers, as a share of
those it gives for real pictures of the same sentences."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data import attributes
from ldm.evaluation.critic import judge, load_critic
from ldm.evaluation.held_out import HeldOut, held_out
from ldm.evaluation.metrics import frechet_distance
from ldm.evaluation.report import Row
from ldm.requests import Result, TextToImage
from ldm.runtime.manager import ModelManager
from ldm.studio import resolve
from ldm.tasks import RUNNERS

BAR = 0.85
GROUPS = {
    "time": ("time",),
    "weather": ("weather",),
    "ground": ("ground", "lake", "mountains"),
    "objects": ("pine", "tree", "house", "boat"),
}
WIDTHS = (1, 2, 4)


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
    """One picture per prompt with the preset's defaults, seed i for prompt i: (N, 3, H, W)."""
    manager = ModelManager()
    images = []
    with manager.use(preset.name) as model:
        for seed, prompt in enumerate(prompts):
            request = TextToImage(
                prompt=prompt, preset=preset.name, width=width, height=height, seed=seed
            )
            for event in RUNNERS[request.task](model, resolve(request, preset)):
                if isinstance(event, Result):
                    images += event.images
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return pixels / 127.5 - 1
