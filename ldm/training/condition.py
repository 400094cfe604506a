"""Base class of the conditions of training batches, and what conditions are made from.

B: batch; H, W: height and width of the pictures in px; h, w: of their latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ldm.catalog.schema import Preset
from ldm.diffusion.conditioning import Conditioning
from ldm.errors import TrainingError
from ldm.latent_diffusion import LatentDiffusion
from ldm.training.config import NO_SENTENCE, TrainConfig
from ldm.training.world import World

Drawn = Tensor | Conditioning  # with words about holes; its `context` then holds token ids
EXAMPLES = 16  # held-out scenes in the sample pictures


@dataclass(frozen=True)
class Material:
    """Everything that the constructor of a condition may use."""

    config: TrainConfig
    preset: Preset
    model: LatentDiffusion
    world: World
    held_out: World
    weights: str  # hash of the encoder's weights, for the names of caches


@dataclass(frozen=True)
class Examples:
    """Conditions of held-out scenes."""

    inputs: Drawn  # inputs of the conditioner, at most EXAMPLES
    empty: Drawn | None = None  # the empty condition, same shape; None: sampled without guidance
    shown: Tensor | None = None  # the conditions as pictures, (EXAMPLES, 3, H, W) in [-1, 1]


def check_sentences(world: World) -> None:
    """Check that the scenes or pictures of a world have sentences.

    Raises:
        TrainingError: If they have none.
    """
    if not world.about[0]["captions"]:
        raise TrainingError(NO_SENTENCE)


class Condition:
    """One kind of condition; subclasses are made from a `Material`."""

    examples: Examples

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Drawn:
        """Draw the conditions (B, ...) of training scenes, with randomness from `rng` alone."""
        raise NotImplementedError

    def prepared(self, drawn: Drawn) -> Drawn:
        """Convert the result of `draw`, on the model's device, to the conditioner's inputs."""
        return drawn

    def weight(self, rows: np.ndarray, drawn: Drawn) -> Tensor:
        """Loss weights of the latent cells of these scenes, (B, 1, h, w) or broadcastable to it."""
        return torch.ones(1, 1, 1, 1)

    def start(self, conditioner: nn.Module) -> None:
        """Initialise an untrained conditioner; by default, leave it as it is."""
