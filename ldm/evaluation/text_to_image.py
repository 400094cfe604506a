"""Measure whether a text-to-image model draws what the caption says.

The measure is the accuracy of the critic's answers, relative to that on real pictures with the same
captions.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import cv2
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data import attributes
from ldm.data.captions import CROWD
from ldm.data.scenes import IDS
from ldm.evaluation.critic import SMALLEST, judge, load_critic
from ldm.evaluation.drawing import Size, draw, sizes, trained_size
from ldm.evaluation.frechet import frechet_row
from ldm.evaluation.grid import Block
from ldm.evaluation.held_out import HeldOut, held_out
from ldm.evaluation.report import Row
from ldm.images import to_arrays
from ldm.latent_diffusion import LatentDiffusion
from ldm.runtime.manager import ModelManager

BAR = 0.85
PROMPTS = (
    "a calm lake with mountains at sunset",
    "a red house in the snow at night, the moon",
    "two pine trees, a green meadow, white clouds in the afternoon",
    "a sailing boat with a white sail on a quiet lake at dawn",
    "an autumn field with three trees, low hills, clear sky at noon",
    "snow covered ground, distant mountains, falling snow by day",
    "a sandy beach, still water, the sun in the sky at noon",
    "a yellow cottage on the left, fog, early in the morning",
)
SEEDS = 4  # samples of each prompt on the example sheet
GROUPS = {
    "time": ("time",),
    "weather": ("weather",),
    "ground": ("ground", "lake", "mountains"),
    "objects": ("pine", "tree", "house", "boat"),
}


def measure(preset: Preset, scenes: int) -> list[Row]:
    """Attribute accuracy relative to real scenes, object counts and Fréchet distance, per size."""
    critic, rows = load_critic(), []
    with ModelManager().use(preset.name) as model:
        for size in sizes(preset, scenes):
            real = held_out(size.count, size.width, size.height)
            drawn = draw_captions(preset, model, real.captions, size)
            seen, truth = judge(critic, drawn), judge(critic, real.images)
            for name, share in _shares(seen.answers, truth.answers, real).items():
                bar = BAR if size.times == 1 and name == "all" else None
                what = f"attribute accuracy, share of real: {name}"
                rows.append(Row(what, share, "", bar, str(size)))
            for name, share in object_shares(seen.answers, real).items():
                rows.append(Row(f"objects drawn where {name}", share, size=str(size)))
            ours, theirs = (times_counted(x.labels, real) for x in (seen, truth))
            if theirs:  # in a few scenes, no caption may give a number
                rows.append(Row("numbers of objects, share of real", ours / theirs, size=str(size)))
            rows.append(frechet_row(critic, seen.features, truth.features, size))
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


def object_shares(seen: Tensor, held: HeldOut) -> dict[str, float]:
    """Share of object kinds that the critic sees, among those that the caption names and others.

    The two shares are equal for a model that draws objects but ignores captions.
    """
    which = [attributes.NAMES.index(name) for name in GROUPS["objects"]]
    drawn, is_named = seen[:, which] > 0, held.truth[:, which] > 0
    shares = {"named": drawn[is_named], "not named": drawn[~is_named]}
    return {name: float(share.float().mean()) for name, share in shares.items()}


def times_counted(labels: Tensor, held: HeldOut) -> int:
    """Count how often the number of objects of a kind agrees with the number in the caption.

    Kinds with CROWD or more objects have no number in the caption and are left out. Objects that
    touch are counted as one, so the result is only meaningful relative to that of real pictures.

    Args:
        labels: The critic's class ids, (N, H / 2, W / 2).
        held: The scenes, whose captions name every object.
    """
    right = 0
    for seen, boxes in zip(labels.numpy(), held.boxes, strict=True):
        named = Counter(box.label for box in boxes if box.label in GROUPS["objects"])
        for kind, number in named.items():
            if number < CROWD:
                _, _, stats, _ = cv2.connectedComponentsWithStats((seen == IDS[kind]).astype("u1"))
                right += int((stats[1:, cv2.CC_STAT_AREA] >= SMALLEST).sum() == number)
    return right


def draw_captions(
    preset: Preset, model: LatentDiffusion, captions: list[str], size: Size, **how: Any
) -> Tensor:
    """Sample one picture per caption with the preset's guidance: (N, 3, H, W)."""
    return draw(
        model,
        lambda some: model.condition(captions[some]),
        size,
        empty=model.condition([""]),
        guidance_scale=preset.defaults.guidance_scale,
        **how,
    )


def examples(preset: Preset, model: LatentDiffusion) -> list[Block]:
    """Sample every prompt with the seeds 0 to 3."""
    captions = [prompt for prompt in PROMPTS for _ in range(SEEDS)]
    size = trained_size(preset, len(captions))
    seeds = [*range(SEEDS)] * len(PROMPTS)
    images = to_arrays(draw_captions(preset, model, captions, size, seeds=seeds))
    rows = [images[i : i + SEEDS] for i in range(0, len(images), SEEDS)]
    return [Block(prompt, row) for prompt, row in zip(PROMPTS, rows, strict=True)]
