"""Previews: a rough picture of latents in a fiftieth of a decoder's time, or less."""

from __future__ import annotations

from collections.abc import Callable

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


@torch.no_grad()
def fitted_colours(decode: Callable[[Tensor], Tensor], channels: int, factor: int) -> Tensor:
    """Return the linear map from latents and a constant to the mean colour of their decoded cells.

    It is a least-squares fit to random latents, for first stages without a preview decoder.

    Args:
        decode: Latents (1, C, h, w) -> picture (1, 3, f h, f w), about [-1, 1].
        channels: Channels of the latents, C.
        factor: Pixels per latent cell, f.

    Returns:
        (3, C + 1) float32, on the device of the decoder.
    """
    generator = torch.Generator().manual_seed(0)
    z = F.interpolate(torch.randn(1, channels, 6, 6, generator=generator), scale_factor=4.0)
    # in half precision a decode can overflow, which LAPACK would refuse
    image = decode(z).float().nan_to_num(0.0, 1.0, -1.0)
    colours = F.avg_pool2d(image, factor).flatten(2)[0].T.cpu()
    cells = z.flatten(2)[0].T
    inputs = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    return torch.linalg.lstsq(inputs, colours).solution.T.contiguous().to(image.device)
