"""What every kind of condition of a training batch is: made of a `Material`, drawn, prepared.

B: batch; H, W: sides of the pictures in px; h, w: of their latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ldm.catalog.schema import Preset
from ldm.latent_diffusion import LatentDiffusion
from ldm.training.config import TrainConfig
from ldm.training.world import World

EXAMPLES = 16  # held-out scenes of the pictures along the way


@dataclass(frozen=True)
class Material:
    """What conditions are made of."""

    config: TrainConfig
    preset: Preset
    model: LatentDiffusion
    world: World
    held_out: World
    weights: str  # names the first stage's weights, for what is encoded and cached


@dataclass(frozen=True)
class Examples:
    """Conditions of held-out scenes."""

    inputs: Tensor  # for EXAMPLES pictures, as the conditioner takes them
    empty: Tensor | None = None  # the same without a condition; None: sampled without guidance
    shown: Tensor | None = None  # the conditions as pictures, (EXAMPLES, 3, H, W) in [-1, 1]


class Condition:
    """One kind of condition; made of a `Material`."""

    examples: Examples

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """The conditions of these training scenes, (B, ...), by the randomness of `rng` alone."""
        raise NotImplementedError

    def prepared(self, drawn: Tensor) -> Tensor:
        """What `draw` gave, on the model's device -> what the conditioner takes; here the same."""
        return drawn

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """How much each latent cell of these scenes counts, (B, 1, h, w); here: all the same."""
        return torch.ones(1, 1, 1, 1)

    def start(self, conditioner: nn.Module) -> None:
        """Prepare a conditioner that has learned nothing yet."""
