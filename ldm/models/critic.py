"""The critic: a small network that segments a picture and names its attributes.

Trained on pictures of the procedural world, it judges samples of our own models: its labels and
attributes measure adherence, its features give the Fréchet and the perceptual distance.

B, C, H, W: batch, channels, height, width of the picture in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Verdict:
    """The critic's output for a batch of pictures."""

    labels: Tensor  # (B, classes, H/2, W/2) logits
    attributes: Tensor  # (B, answers) logits, concatenated over all attributes
    levels: tuple[Tensor, ...]  # (B, C_i, H/2^i, W/2^i) features, finest first
    features: Tensor  # (B, 2 * C_last) pooled features of the coarsest level


class Critic(nn.Module):
    """A convolutional encoder with a label decoder and attribute heads.

    Args:
        classes: Number of semantic classes.
        answers: Number of logits of all attributes together.
        widths: Channels per level; each level after the first halves the sides.
    """

    def __init__(
        self, *, classes: int, answers: int, widths: tuple[int, ...] = (16, 32, 64, 96, 128)
    ) -> None:
        super().__init__()
        self.stem = _convolution(3, widths[0])
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(a, b, stride=2), _convolution(b, b)) for a, b in pairs
        )
        self.up = nn.ModuleList(_convolution(a + b, a) for a, b in reversed(pairs[1:]))
        self.labels = nn.Conv2d(widths[1], classes, 1)
        self.attributes = nn.Sequential(
            nn.Linear(2 * widths[-1], 128), nn.SiLU(), nn.Linear(128, answers)
        )

    def forward(self, image: Tensor) -> Verdict:
        """Judge pictures of any size that is a multiple of 16 px: (B, 3, H, W) in [-1, 1]."""
        levels = [self.stem(image)]
        for block in self.down:
            levels.append(block(levels[-1]))
        last = levels[-1]
        features = torch.cat([last.mean((2, 3)), last.amax((2, 3))], dim=1)
        h = last
        for block, skip in zip(self.up, reversed(levels[1:-1]), strict=True):
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0), skip], dim=1))
        return Verdict(self.labels(h), self.attributes(features), tuple(levels), features)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
    )
