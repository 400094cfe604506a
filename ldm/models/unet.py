"""The denoising UNet (DDPM App. B, LDM Sec. 3.2), with the published attribute names.

B, C, h, w: batch, channels, latent rows and columns; L, D: context tokens and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldm.models.attention import AttentionBlock, SpatialTransformer
from ldm.models.layers import repeated, timestep_embedding, zero
from ldm.models.residual import Downsample, ResBlock, Upsample


def joined(x: Tensor, skip: Tensor) -> Tensor:
    """Concatenate a skip connection to x, (B, C + C', h, w), repeated if it has fewer pictures."""
    return torch.cat([x, repeated(skip, x.shape[0])], dim=1)


class TimestepSequential(nn.Sequential):
    """Layers in sequence; each is given the time embedding or the context if it needs it.

    If there are several contexts per picture, the first layer with cross-attention repeats the
    pictures.
    """

    def forward(self, x: Tensor, emb: Tensor, context: Tensor | None) -> Tensor:
        """Apply the layers, (B, C, h, w) -> (B or number of contexts, C', h', w')."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb[: x.shape[0]])
            elif isinstance(layer, SpatialTransformer):
                x = layer(x if context is None else repeated(x, context.shape[0]), context)
            else:
                x = layer(x)
        return x


@dataclass(frozen=True)
class _Parts:
    """Factory of one UNet's layers; the fields are the settings that all levels share."""

    time_dim: int
    heads: int  # -1: given by head_channels
    head_channels: int
    depth: int  # blocks per spatial transformer; 0: qkv attention instead
    context_dim: int | None
    scale_shift: bool
    resblock_updown: bool
    conv_resample: bool
    dropout: float

    def block(self, inputs: int, outputs: int, resample: type[nn.Module] | None = None) -> ResBlock:
        return ResBlock(
            inputs,
            self.time_dim,
            outputs,
            dropout=self.dropout,
            use_scale_shift_norm=self.scale_shift,
            resample=resample,
        )

    def attention(self, channels: int) -> nn.Module:
        heads = self.heads if self.heads != -1 else channels // self.head_channels
        if not self.depth:
            return AttentionBlock(channels, heads)
        return SpatialTransformer(channels, heads, channels // heads, self.depth, self.context_dim)

    def resample(self, kind: type[nn.Module], channels: int) -> nn.Module:
        if self.resblock_updown:
            return self.block(channels, channels, kind)
        return kind(channels, self.conv_resample)


def _way_down(
    make: _Parts, width: int, widths: list[int], attended: list[bool], blocks: int
) -> tuple[list[TimestepSequential], list[int]]:
    """Make the input blocks after the first convolution; also return all widths of skips."""
    made, skips = [], [width]
    for level, target in enumerate(widths):
        for _ in range(blocks):
            layers: list[nn.Module] = [make.block(width, target)]
            width = target
            if attended[level]:
                layers.append(make.attention(width))
            made.append(TimestepSequential(*layers))
            skips.append(width)
        if level < len(widths) - 1:
            made.append(TimestepSequential(make.resample(Downsample, width)))
            skips.append(width)
    return made, skips


def _way_up(
    make: _Parts, skips: list[int], widths: list[int], attended: list[bool], blocks: int
) -> list[TimestepSequential]:
    """Make the output blocks; each takes one skip connection, the newest first."""
    made, width = [], widths[-1]
    for level, target in reversed(list(enumerate(widths))):
        for i in range(blocks + 1):
            layers: list[nn.Module] = [make.block(width + skips.pop(), target)]
            width = target
            if attended[level]:
                layers.append(make.attention(width))
            if level > 0 and i == blocks:
                layers.append(make.resample(Upsample, width))
            made.append(TimestepSequential(*layers))
    return made


class UNetModel(nn.Module):
    """Predicts eps, x0 or v of a noisy latent.

    Args:
        in_channels: Latent channels plus concatenated conditioning.
        out_channels: Latent channels.
        model_channels: Width of the finest level.
        num_res_blocks: Residual blocks per level on the way down; one more on the way up.
        attention_resolutions: Down-sampling factors of the levels with attention; the middle block
            always has it.
        channel_mult: Width of each level as a multiple of `model_channels`; starts with 1.
        num_heads: Attention heads; -1: given by `num_head_channels`.
        num_head_channels: Width of a head; -1: given by `num_heads`.
        use_spatial_transformer: Whether attention is by spatial transformers, not qkv blocks.
        transformer_depth: Blocks per spatial transformer.
        context_dim: Width of the context; None: no cross-attention.
        use_scale_shift_norm: Whether the time embedding scales and shifts a norm; else it is added.
        resblock_updown: Whether residual blocks change the size, not plain layers.
        conv_resample: Whether plain layers that change the size have a convolution.
        num_classes: Classes of the label embedding; None: no label.
        dropout: Share of features dropped in training.

    Raises:
        ValueError: If there is a context but there are no spatial transformers.
    """

    def __init__(  # noqa: PLR0913  (the published configuration's fields, flat)
        self,
        *,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        channel_mult: Sequence[int],
        num_heads: int = -1,
        num_head_channels: int = -1,
        use_spatial_transformer: bool = False,
        transformer_depth: int = 1,
        context_dim: int | None = None,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        conv_resample: bool = True,
        num_classes: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if context_dim is not None and not use_spatial_transformer:
            raise ValueError(f"a context, here of width {context_dim}, needs spatial transformers")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.model_channels = model_channels
        self.context_dim = context_dim
        self.factor = 2 ** (len(channel_mult) - 1)
        time_dim = 4 * model_channels
        make = _Parts(
            time_dim=time_dim,
            heads=num_heads,
            head_channels=num_head_channels,
            depth=transformer_depth if use_spatial_transformer else 0,
            context_dim=context_dim,
            scale_shift=use_scale_shift_norm,
            resblock_updown=resblock_updown,
            conv_resample=conv_resample,
            dropout=dropout,
        )
        widths = [multiplier * model_channels for multiplier in channel_mult]
        attended = [2**level in attention_resolutions for level in range(len(widths))]
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim)
        )
        self.label_emb = nn.Embedding(num_classes, time_dim) if num_classes else None
        first = nn.Conv2d(in_channels, model_channels, 3, padding=1)
        down, skips = _way_down(make, model_channels, widths, attended, num_res_blocks)
        self.input_blocks = nn.ModuleList([TimestepSequential(first), *down])
        low = widths[-1]
        self.middle_block = TimestepSequential(
            make.block(low, low), make.attention(low), make.block(low, low)
        )
        self.output_blocks = nn.ModuleList(_way_up(make, skips, widths, attended, num_res_blocks))
        self.out = nn.Sequential(
            nn.GroupNorm(32, model_channels),
            nn.SiLU(),
            zero(nn.Conv2d(model_channels, out_channels, 3, padding=1)),
        )

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor | None = None, y: Tensor | None = None
    ) -> Tensor:
        """Predict eps, x0 or v of noisy latents.

        Args:
            x: Noisy latents with concatenated conditioning, (B, in_channels, h, w).
            t: Time steps, (B,) int64.
            context: (B, L, D) for cross-attention, or (n B, L, D): n conditions per picture, each
                for the whole batch in turn. The layers before the first cross-attention are then
                computed once for all n.
            y: Class labels, (B,) int64.

        Returns:
            (B, out_channels, h, w), or (n B, out_channels, h, w) as if x and t were repeated.

        Raises:
            ValueError: If x, context or y does not fit this network, e.g. if h or w is no multiple
                of `factor`.
        """
        self._check(x, context, y)
        pictures = x.shape[0] if context is None else context.shape[0]
        y = None if y is None else repeated(y, pictures)
        emb = self._embedding(repeated(t, pictures), y, x.dtype)
        skips = []
        for layer in self.input_blocks:
            x = layer(x, emb, context)
            skips.append(x)
        x = self.middle_block(x, emb, context)
        for layer in self.output_blocks:
            x = layer(joined(x, skips.pop()), emb, context)
        return self.out(x)

    def _embedding(self, t: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Embed time and label, (B, time_dim)."""
        emb = self.time_embed(timestep_embedding(t, self.model_channels).to(dtype))
        return emb if self.label_emb is None else emb + self.label_emb(y)

    def _check(self, x: Tensor, context: Tensor | None, y: Tensor | None) -> None:
        if x.shape[1] != self.in_channels:
            raise ValueError(f"x must have {self.in_channels} channels, got {x.shape[1]}")
        if x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise ValueError(
                f"latent sides must be multiples of {self.factor}, got {tuple(x.shape[2:])}"
            )
        width = None if context is None else context.shape[-1]
        if width != self.context_dim:
            raise ValueError(f"the context's width must be {self.context_dim}, got {width}")
        contexts = x.shape[0] if context is None else context.shape[0]
        if not contexts or not x.shape[0] or contexts % x.shape[0]:
            raise ValueError(f"{contexts} contexts do not go with {x.shape[0]} pictures")
        if (y is None) != (self.label_emb is None):
            wanted = "no labels" if self.label_emb is None else "labels y"
            raise ValueError(f"this network takes {wanted}")
