"""A classifier of noisy latents: the UNet's encoder, a pool and class logits (LDM App. C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.models.layers import timestep_embedding, zero
from ldm.models.unet import UNetModel


class AttentionPool2d(nn.Module):
    """Attention of the mean over all positions; the 3C channels of qkv_proj are [q, k, v].

    Args:
        side: Rows and columns of the feature map; fixed by the position embedding.
        channels: Channels of the feature map.
        head_channels: Width of a head.
        outputs: Width of the result.
    """

    def __init__(self, side: int, channels: int, head_channels: int, outputs: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        positions = torch.randn(channels, side * side + 1) / channels**0.5
        self.positional_embedding = nn.Parameter(positions)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, side, side) -> (B, outputs)."""
        x = x.flatten(2)
        x = torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.positional_embedding
        q, k, v = self.qkv_proj(x).chunk(3, dim=1)
        q, k, v = (h.unflatten(1, (self.heads, -1)).transpose(2, 3) for h in (q, k, v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2)
        return self.c_proj(h)[:, :, 0]


class EncoderUNetModel(nn.Module):
    """Class logits of a noisy latent.

    Args:
        image_size: Side of the latents; only the attention pool requires it.
        out_channels: Number of classes.
        pool: "adaptive" (mean over positions) or "attention".
        architecture: The arguments of `UNetModel`, except `out_channels`.
    """

    def __init__(
        self, *, image_size: int, out_channels: int, pool: str = "adaptive", **architecture: object
    ) -> None:
        super().__init__()
        unet = UNetModel(out_channels=out_channels, **architecture)
        self.model_channels = unet.model_channels
        self.image_size = image_size if pool == "attention" else None
        self.time_embed = unet.time_embed
        self.input_blocks = unet.input_blocks
        self.middle_block = unet.middle_block
        multipliers: Sequence[int] = architecture["channel_mult"]
        width = unet.model_channels * multipliers[-1]
        norm = [nn.GroupNorm(32, width), nn.SiLU()]
        if pool == "adaptive":
            head = zero(nn.Conv2d(width, out_channels, 1))
            self.out = nn.Sequential(*norm, nn.AdaptiveAvgPool2d(1), head, nn.Flatten())
        elif pool == "attention":
            side = image_size // unet.factor
            heads = architecture["num_head_channels"]
            self.out = nn.Sequential(*norm, AttentionPool2d(side, width, heads, out_channels))
        else:
            raise ValueError(f"pool must be adaptive or attention, got {pool!r}")

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, h, w), (B,) -> (B, classes) logits.

        Raises:
            ValueError: If there is an attention pool and the latents are not `image_size` a side.
        """
        if self.image_size is not None and tuple(x.shape[2:]) != (self.image_size,) * 2:
            raise ValueError(f"latent sides must be {self.image_size}, got {tuple(x.shape[2:])}")
        emb = self.time_embed(timestep_embedding(t, self.model_channels).to(x.dtype))
        for layer in self.input_blocks:
            x = layer(x, emb, None)
        return self.out(self.middle_block(x, emb, None))
