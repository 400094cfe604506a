"""Encoder and decoder of the first stages (LDM App. G), with the published attribute names.

B, C, H, W: batch, channels, height, width in pixels; h, w: in latent cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6  # of every GroupNorm in the first stage; the UNet's residual blocks use 1e-5


class ResnetBlock(nn.Module):
    """Two convolutions with a residual connection; 1x1 on the shortcut where widths differ."""

    def __init__(self, inputs: int, outputs: int, norm_groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, inputs, EPS)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(norm_groups, outputs, EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(x))


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions, as wide as the layer."""

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, EPS)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        h = self.norm(x)
        # (B, 1, H * W, C) each: one head; contiguous, or the fused kernel is not taken
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k, v = (part.contiguous()[:, None] for part in (q, k, v))
        h = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        return x + self.proj_out(h.unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    """Stride-2 convolution after a zero row below and a zero column on the right."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Nearest doubling and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """One resolution: residual blocks, optionally with attention, then a change of size."""

    def __init__(self, blocks: Sequence[nn.Module], attention: Sequence[nn.Module]) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.attn = nn.ModuleList(attention)
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None

    def parts(self) -> Iterator[nn.Module]:
        """Yield the layers in the order in which they run."""
        for i, block in enumerate(self.block):
            yield block
            if len(self.attn):
                yield self.attn[i]
        yield from (part for part in (self.downsample, self.upsample) if part is not None)


def _through(levels: Iterable[Level], x: Tensor) -> Tensor:
    """Apply all layers of the levels in order, (B, C, H, W) -> (B, C', H', W').

    A single loop frees the input of each layer at once, which nested calls would hold.
    """
    for level in levels:
        for part in level.parts():
            x = part(x)
    return x


class Middle(nn.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, channels: int, attn_type: str, norm_groups: int, dropout: float) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, norm_groups, dropout)
        vanilla = attn_type == "vanilla"
        self.attn_1 = AttnBlock(channels, norm_groups) if vanilla else nn.Identity()
        self.block_2 = ResnetBlock(channels, channels, norm_groups, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return self.block_2(self.attn_1(self.block_1(x)))


def _attention(
    channels: int, resolution: int, resolutions: Sequence[int], attn_type: str, groups: int
) -> list[nn.Module]:
    if attn_type == "none" or resolution not in resolutions:
        return []
    return [AttnBlock(channels, groups)]


class Encoder(nn.Module):
    """Picture -> features of the latent grid: (B, in_channels, H, W) -> (B, z or 2z, h, w)."""

    def __init__(  # noqa: PLR0913  (the published configuration's fields, flat)
        self,
        *,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_resolutions: Sequence[int],
        resolution: int,
        in_channels: int,
        z_channels: int,
        double_z: bool,
        out_ch: int = 3,
        attn_type: str = "vanilla",
        norm_groups: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        self.down = nn.ModuleList()
        width = ch
        for i, multiplier in enumerate(ch_mult):
            blocks, attention = [], []
            for _ in range(num_res_blocks):
                blocks.append(ResnetBlock(width, ch * multiplier, norm_groups, dropout))
                width = ch * multiplier
                attention += _attention(width, resolution, attn_resolutions, attn_type, norm_groups)
            level = Level(blocks, attention)
            if i < len(ch_mult) - 1:
                level.downsample = Downsample(width)
                resolution //= 2
            self.down.append(level)
        self.mid = Middle(width, attn_type, norm_groups, dropout)
        self.norm_out = nn.GroupNorm(norm_groups, width, EPS)
        self.conv_out = nn.Conv2d(width, 2 * z_channels if double_z else z_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) in [-1, 1] -> (B, z or 2z, h, w)."""
        h = self.mid(_through(self.down, self.conv_in(image)))
        return self.conv_out(F.silu(self.norm_out(h)))


class Decoder(nn.Module):
    """Features of the latent grid -> picture: (B, z, h, w) -> (B, out_ch, H, W), not clamped.

    `up[0]` is the finest level and runs last, as in the published files.
    """

    def __init__(  # noqa: PLR0913  (the published configuration's fields, flat)
        self,
        *,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_resolutions: Sequence[int],
        resolution: int,
        out_ch: int,
        z_channels: int,
        in_channels: int = 3,
        attn_type: str = "vanilla",
        norm_groups: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = ch * ch_mult[-1]
        resolution //= 2 ** (len(ch_mult) - 1)
        self.conv_in = nn.Conv2d(z_channels, width, 3, padding=1)
        self.mid = Middle(width, attn_type, norm_groups, dropout)
        levels: list[Level] = []
        for i, multiplier in reversed(list(enumerate(ch_mult))):
            blocks, attention = [], []
            for _ in range(num_res_blocks + 1):
                blocks.append(ResnetBlock(width, ch * multiplier, norm_groups, dropout))
                width = ch * multiplier
                attention += _attention(width, resolution, attn_resolutions, attn_type, norm_groups)
            level = Level(blocks, attention)
            if i > 0:
                level.upsample = Upsample(width)
                resolution *= 2
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out = nn.GroupNorm(norm_groups, width, EPS)
        self.conv_out = nn.Conv2d(width, out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, z, h, w) -> (B, out_ch, H, W)."""
        h = _through(reversed(self.up), self.mid(self.conv_in(z)))
        return self.conv_out(F.silu(self.norm_out(h)))
