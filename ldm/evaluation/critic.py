"""Judge pictures with the critic: attributes, label maps and features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor

from ldm.data import attributes
from ldm.data.scenes import ATTRIBUTES, CLASSES
from ldm.errors import CheckpointError
from ldm.evaluation.metrics import perceptual_distance
from ldm.models.critic import Critic
from ldm.training.snapshots import CRITIC_WEIGHTS

BATCH = 32
SMALLEST = 12  # least area of an object that is there, in the label map's cells of 2 x 2 px


@dataclass(frozen=True)
class Judgement:
    """The critic's output for N pictures."""

    answers: Tensor  # (N, len(attributes.NAMES)) value index per attribute, 0 or 1 per object
    labels: Tensor  # (N, H / 2, W / 2) class ids
    features: Tensor  # (N, D)


def load_critic() -> Critic:
    """Load the shipped critic.

    Raises:
        CheckpointError: If its weights are missing.
    """
    if not CRITIC_WEIGHTS.exists():
        raise CheckpointError(
            f"{CRITIC_WEIGHTS.name} is missing; `python -m ldm train presets/training/critic.yaml` "
            "makes it."
        )
    critic = Critic(classes=len(CLASSES), answers=attributes.ANSWERS)
    critic.load_state_dict(
        {name: value.float() for name, value in load_file(CRITIC_WEIGHTS).items()}
    )
    return critic.eval().requires_grad_(False)


@torch.no_grad()
def judge(critic: Critic, images: Tensor) -> Judgement:
    """Judge (N, 3, H, W) pictures in [-1, 1]."""
    answers, labels, features = [], [], []
    for batch in images.split(BATCH):
        verdict = critic(batch)
        answers.append(_answers(verdict.attributes))
        labels.append(verdict.labels.argmax(1))
        features.append(verdict.features)
    return Judgement(torch.cat(answers), torch.cat(labels), torch.cat(features))


@torch.no_grad()
def distances(critic: Critic, a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Perceptual distance of each pair of pictures, inside a mask if there is one: (N,).

    Args:
        critic: The critic whose features are compared.
        a: Pictures (N, 3, H, W) in [-1, 1].
        b: Pictures of the same shape.
        mask: (N, 1, H, W), 1 where to compare; None: everywhere.
    """
    parts = []
    for start in range(0, len(a), BATCH):
        some = slice(start, start + BATCH)
        levels = (critic(images[some]).levels for images in (a, b))
        parts.append(perceptual_distance(*levels, None if mask is None else mask[some]))
    return torch.cat(parts)


def _answers(logits: Tensor) -> Tensor:
    columns = []
    for name, where in attributes.slices().items():
        chosen = logits[:, where]
        columns.append(chosen.argmax(1) if name in ATTRIBUTES else (chosen[:, 0] > 0).long())
    return torch.stack(columns, dim=1)
