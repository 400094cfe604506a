"""Small conditioners: classes for cross-attention, label maps for concatenation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClassEmbedder(nn.Module):
    """Class ids -> a context of one token: (B,) int64 -> (B, 1, embed_dim)."""

    def __init__(self, *, n_classes: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_classes, embed_dim)

    def forward(self, label: Tensor) -> Tensor:
        """(B,) -> (B, 1, embed_dim)."""
        return self.embedding(label)[:, None]


class SpatialRescaler(nn.Module):
    """One-hot label map -> concatenated channels: halved `n_stages` times, then a 1x1 convolution.

    Args:
        n_stages: How often the map is halved (bilinear, no antialiasing).
        in_channels: Number of label classes.
        out_channels: Channels that the UNet sees.
    """

    def __init__(self, *, n_stages: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.n_stages = n_stages
        self.classes = in_channels  # `channel_mapper` may be swapped for a layer that hides this
        self.channel_mapper = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / 2^n, W / 2^n).

        Raises:
            ValueError: If H or W is no multiple of 2^n.
        """
        multiple = 2**self.n_stages
        if x.shape[2] % multiple or x.shape[3] % multiple:
            raise ValueError(f"sides must be multiples of {multiple}, got {tuple(x.shape[2:])}")
        for _ in range(self.n_stages):
            x = F.interpolate(x, scale_factor=0.5, mode="bilinear")
        return self.channel_mapper(x)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Turn integer class ids (B, H, W) into (B, classes, H, W) float32, 1 for the pixel's class."""
    channels = torch.zeros(len(labels), classes, *labels.shape[1:], device=labels.device)
    return channels.scatter_(1, labels[:, None].long(), 1.0)
