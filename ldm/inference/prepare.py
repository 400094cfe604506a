"""Preparation of networks for inference: layers are swapped for faster ones of equal results.

`prepare` takes a built and loaded network and swaps its layers one by one, so that no second copy
of the weights is held. The prepared network has the same interface and the same results up to
rounding, but no published names and no gradients, which it refuses: files, checks and training use
the plain one (`ModelManager(prepared=False)`).

- Weights are packed (`ldm.inference.packed`) and maps are channels-last.
- Activations and sums are computed in place or by the convolution itself.
- Nearest doubling and a 3x3 convolution become one 2x2 convolution at the low resolution.
- One matrix product computes the time embeddings of all residual blocks.
- Attention (`ldm.inference.fast_attention`) computes the keys and values of a context once, not at
  every step.

B, C, H, W: batch, channels, height, width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from ldm.inference import fused, winograd
from ldm.inference.doubling import UpsampleConv
from ldm.inference.fast_attention import (
    FastAttentionBlock,
    FastCrossAttention,
    FastTransformerBlock,
)
from ldm.inference.graphs import Graphs, Refresh
from ldm.inference.kernels import can_pack
from ldm.inference.packed import PackedConv2d, PackedLinear
from ldm.models import autoencoder, residual, unet
from ldm.models.attention import AttentionBlock, BasicTransformerBlock
from ldm.models.autoencoder import AttnBlock, Decoder, ResnetBlock
from ldm.models.residual import ResBlock

UPSAMPLES = residual.Upsample, autoencoder.Upsample
GRAPHED_CELLS = 2**16  # most cells of a UNet's batch for CUDA graphs; more keep a card busy
GRAPHED_PIXELS = 2**18  # most px of a decoder's batch for CUDA graphs


def prepare(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Swap the layers of a network on the CPU or on CUDA for their fast versions.

    Args:
        network: A built and loaded network; it is changed, so use only what is returned.
        dtype: Dtype that its weights are converted to; None keeps theirs.

    Returns:
        The network itself or its replacement.
    """
    network.requires_grad_(False)
    own = _OF_PLAIN.get(type(network))
    if own is not None:
        return own(network, dtype).eval()
    for name, child in network.named_children():
        setattr(network, name, prepare(child, dtype))
    for parameter in network.parameters(recurse=False):
        parameter.data = parameter.detach().to(dtype=dtype)
    fast = _OF_PREPARED.get(type(network))
    return network if fast is None else fast(network).eval()


def prepared_bytes(network: nn.Module, dtype: torch.dtype, device: str = "cpu") -> int:
    """Return the bytes of a plain network's weights once it is prepared and fully used.

    Args:
        network: A plain network on any device, also the meta device.
        dtype: Dtype of the prepared weights.
        device: "cpu" or "cuda".
    """
    upsamples = [m for m in network.modules() if isinstance(m, UPSAMPLES) and m.conv is not None]
    count = sum(parameter.numel() for parameter in network.parameters())
    doubled = {layer.conv for layer in upsamples}
    for conv in doubled:  # a 3x3 kernel becomes four 2x2 kernels, each with its bias
        count += conv.weight.numel() * 7 // 9 + 3 * (0 if conv.bias is None else len(conv.bias))
    for conv in network.modules():
        if device == "cpu" and isinstance(conv, nn.Conv2d) and conv not in doubled:
            count += _winograd_growth(conv, dtype)
    return count * dtype.itemsize


def _winograd_growth(conv: nn.Conv2d, dtype: torch.dtype) -> int:
    """Return how many more values a convolution holds if it becomes a `Winograd` one."""
    if not can_pack(dtype):
        return 0
    m = winograd.output_tile(conv.weight, dtype, conv.stride[0], conv.padding[0])
    return winograd.numbers_of(conv.weight, m) - conv.weight.numel() if m else 0


def silu(x: Tensor) -> Tensor:
    """Apply SiLU in place; `x` must not be used elsewhere. Banded maps are not changed."""
    return F.silu(x, inplace=not has_torch_function_unary(x))


def move_bias(source: nn.Module | None, target: nn.Module) -> None:
    """On CUDA, move the bias of `source` to `target`, whose output is added to that of `source`.

    A convolution's bias takes a pass of its own over the map there.
    """
    bias = getattr(source, "bias", None)
    if bias is not None and bias.is_cuda:
        target.bias.data = target.bias + bias
        source.bias = None


class FastGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` that uses fused kernels on CUDA and avoids a slow kernel on the CPU."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        nn.Module.__init__(self)
        self.num_groups, self.num_channels = norm.num_groups, norm.num_channels
        self.eps, self.affine = norm.eps, norm.affine
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if fused.takes(x):
            return fused.group_norm(self, x, None, silu=False)
        if has_torch_function_unary(x) or not self._is_slow(x):
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)

    def then_silu(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Apply SiLU to the norm of x + plus.

        Args:
            x: (B, C, H, W); it may be overwritten if `plus` is given.
            plus: (B, C, 1, 1).
        """
        if fused.takes(x):
            return fused.group_norm(self, x, plus, silu=True)
        if plus is not None:
            x = x + plus if has_torch_function_unary(x) else x.add_(plus)
        return silu(self(x))

    def _is_slow(self, x: Tensor) -> bool:
        """Whether torch's channels-last kernel is slow: few channels per group, small maps."""
        few = 16 if x.dtype == torch.bfloat16 else 4  # measured
        is_small = x.ndim == 4 and x.device.type == "cpu" and x.shape[2] * x.shape[3] < 1024
        return is_small and self.num_channels // self.num_groups < few


class FastResBlock(ResBlock):
    """`ResBlock` with activations in place and the residual sum fused into the convolution."""

    def __init__(self, block: ResBlock) -> None:
        nn.Module.__init__(self)
        self.use_scale_shift_norm = block.use_scale_shift_norm
        self.in_layers = block.in_layers
        self.h_upd = block.h_upd
        self.emb_layers = block.emb_layers
        self.out_layers = block.out_layers
        self.skip_connection = block.skip_connection
        conv, linear = block.in_layers[2], block.emb_layers[1]
        if not self.use_scale_shift_norm:
            move_bias(conv, linear)
        move_bias(self.skip_connection, block.out_layers[3])

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(B, inputs, h, w), (B, time_dim) -> (B, outputs, h', w')."""
        norm, _, conv = self.in_layers
        h = norm.then_silu(x)
        if self.h_upd is not None:
            h, x = self.h_upd(h), self.h_upd(x)
        h = conv(h)
        emb = self.emb_layers(emb)[:, :, None, None]
        norm, _, _, conv = self.out_layers
        if self.use_scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = silu(torch.addcmul(shift, norm(h), 1 + scale))
        else:
            h = norm.then_silu(h, emb)
        return conv(h, plus=self.skip_connection(x))


class FastUNet(unet.UNetModel):
    """`UNetModel` that computes the time embeddings of all residual blocks in one matrix product.

    `_embedding` returns those of all blocks side by side, and each block takes its own `Part`.
    """

    def __init__(self, network: unet.UNetModel) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(network.__dict__)  # its layers are prepared already
        blocks = [m for m in network.modules() if isinstance(m, FastResBlock)]
        layers = [block.emb_layers[1] for block in blocks]
        self.for_blocks = PackedLinear.of_all(layers)
        ends = itertools.accumulate(layer.outputs for layer in layers)
        for block, layer, end in zip(blocks, layers, ends, strict=True):
            block.emb_layers = Part(end - layer.outputs, end)
        self.cross_attentions = [m for m in network.modules() if isinstance(m, FastCrossAttention)]
        self.graphs = Graphs(GRAPHED_CELLS)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor | None = None, y: Tensor | None = None
    ) -> Tensor:
        """See `UNetModel.forward`; on CUDA, calls with small maps are replayed."""
        return self.graphs(super().forward, (x, t, context, y), 2, self._hold)

    def _hold(self, context: Tensor) -> Refresh:
        """Compute keys and values of a recording's own context; return how to refresh them."""
        held = [(layer, layer.keep(context)) for layer in self.cross_attentions]

        def refresh() -> None:
            for layer, parts in held:
                for old, new in zip(parts, layer.of_context(context), strict=True):
                    old.copy_(new)

        return refresh

    def _embedding(self, t: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Embed time and label for all blocks, (B, outputs of all blocks)."""
        return self.for_blocks(silu(super()._embedding(t, y, dtype)))


class FastDecoder(Decoder):
    """`Decoder` that uses CUDA graphs for small latents."""

    def __init__(self, decoder: Decoder) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(decoder.__dict__)
        self.graphs = Graphs(GRAPHED_PIXELS // 4 ** (len(self.up) - 1))

    def forward(self, z: Tensor) -> Tensor:
        """(B, z, h, w) -> (B, out_ch, H, W), not clamped."""
        return self.graphs(super().forward, (z,))


class Part(nn.Module):
    """A slice of each row."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        """(B, n) -> (B, stop - start)."""
        return x[:, self.start : self.stop]


class FastResnetBlock(ResnetBlock):
    """`ResnetBlock` with activations in place and the residual sum fused into the convolution."""

    def __init__(self, block: ResnetBlock) -> None:
        nn.Module.__init__(self)
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.nin_shortcut = block.nin_shortcut
        move_bias(self.nin_shortcut, self.conv2)
        self.plus: Tensor | None = None  # the first convolution's bias, if the norm adds it
        if self.conv1.bias.is_cuda:
            self.plus, self.conv1.bias = self.conv1.bias[None, :, None, None], None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        h = self.conv1(self.norm1.then_silu(x))
        plus = None if self.plus is None else self.plus.expand(h.shape[0], -1, 1, 1)
        shortcut = x if self.nin_shortcut is None else self.nin_shortcut(x)
        return self.conv2(self.norm2.then_silu(h, plus), plus=shortcut)


Dtype = torch.dtype | None
_OF_PLAIN: dict[type[nn.Module], Callable[[Any, Dtype], nn.Module]] = {
    nn.Conv2d: PackedConv2d.of,
    nn.Linear: lambda layer, dtype: PackedLinear.of(layer, dtype=dtype),
    residual.Upsample: UpsampleConv.of,
    autoencoder.Upsample: UpsampleConv.of,
    AttentionBlock: partial(FastAttentionBlock.of_unet, prepare=prepare),
    AttnBlock: partial(FastAttentionBlock.of_first_stage, prepare=prepare),
    BasicTransformerBlock: partial(FastTransformerBlock, prepare=prepare),
}
_OF_PREPARED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.GroupNorm: FastGroupNorm,
    ResBlock: FastResBlock,
    ResnetBlock: FastResnetBlock,
    unet.UNetModel: FastUNet,
    Decoder: FastDecoder,
}
