"""The UNet's residual block, upsampling and downsampling, with the published attribute names.

B, C, h, w: batch, channels, latent rows and columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.models.layers import zero


class Upsample(nn.Module):
    """Nearest doubling, with a convolution or without."""

    def __init__(self, channels: int, use_conv: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if use_conv else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, 2h, 2w)."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x if self.conv is None else self.conv(x)


class Downsample(nn.Module):
    """Stride-2 convolution, padded on all sides, or 2x2 average pooling."""

    def __init__(self, channels: int, use_conv: bool) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.op = conv if use_conv else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h/2, w/2)."""
        return self.op(x)


class ResBlock(nn.Module):
    """Residual block; the time embedding is added, or scales and shifts the second norm.

    Args:
        inputs: Input channels.
        time_dim: Width of the time embedding.
        outputs: Output channels.
        dropout: Probability before the second convolution.
        use_scale_shift_norm: Whether the time embedding scales and shifts the second norm.
        resample: Upsample or Downsample without convolution, applied between norm and first
            convolution and on the shortcut; None keeps the size.
    """

    def __init__(
        self,
        inputs: int,
        time_dim: int,
        outputs: int,
        *,
        dropout: float = 0.0,
        use_scale_shift_norm: bool = False,
        resample: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.use_scale_shift_norm = use_scale_shift_norm
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.h_upd = resample(inputs, False) if resample else None
        width = 2 * outputs if use_scale_shift_norm else outputs
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, width))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero(nn.Conv2d(outputs, outputs, 3, padding=1)),
        )
        same = inputs == outputs
        self.skip_connection = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(B, inputs, h, w), (B, time_dim) -> (B, outputs, h', w')."""
        norm, activation, conv = self.in_layers
        h = activation(norm(x))
        if self.h_upd is not None:
            h, x = self.h_upd(h), self.h_upd(x)
        h = conv(h)
        emb = self.emb_layers(emb)[:, :, None, None]
        norm, activation, dropout, conv = self.out_layers
        if self.use_scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = torch.addcmul(shift, norm(h), 1 + scale)
        else:
            h = norm(h + emb)
        return self.skip_connection(x) + conv(dropout(activation(h)))
