"""A small decoder for previews: a rough picture in a fiftieth of a decoder's time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 32  # channels of the hidden layers


class PreviewDecoder(nn.Module):
    """Unscaled latents -> roughly the picture that their decoder makes of them.

    Three convolutions, and the mean of all cells beside each one: the group norms of a decoder make
    every colour depend on the whole picture, which no map of single cells can follow.

    Args:
        channels: Channels of the latents, C.
        factor: Pixels per latent cell, f.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv_in = nn.Conv2d(2 * channels, WIDTH, 3, padding=1)
        self.conv_mid = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.conv_out = nn.Conv2d(WIDTH, 3 * factor**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, C, h, w) to a picture (B, 3, f h, f w), about [-1, 1]."""
        mean = z.mean((2, 3), keepdim=True).expand_as(z)
        x = F.relu(self.conv_in(torch.cat([z, mean], dim=1)))
        x = x + F.relu(self.conv_mid(x))
        return F.pixel_shuffle(self.conv_out(x), self.factor)
