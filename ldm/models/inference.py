"""The same networks for inference: layers swapped for ones that compute the same, faster.

`prepare` takes a network as built and loaded and swaps its layers one by one, so that no second
copy of the weights is held. What comes out has the same calls and the same results up to
rounding, but no published names and no gradients: files, checks and training use the plain one.

- Weights are packed (`ldm.models.packed`) and maps are channels-last.
- Activations and sums are written in place or by the convolution itself.
- Nearest doubling and a 3x3 convolution are one 2x2 convolution at the low resolution.
- What residual blocks add for the time is one product for all of them.
- Attention (`ldm.models.fast_attention`) computes the keys and values of a context once, not at
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

from ldm.models import autoencoder, fused, residual, unet, winograd
from ldm.models.attention import AttentionBlock, BasicTransformerBlock
from ldm.models.autoencoder import AttnBlock, Decoder, ResnetBlock
from ldm.models.doubling import UpsampleConv
from ldm.models.fast_attention import (
    FastAttentionBlock,
    FastCrossAttention,
    FastTransformerBlock,
)
from ldm.models.graphs import Graphs, Refresh
from ldm.models.kernels import can_pack
from ldm.models.packed import PackedConv2d, PackedLinear
from ldm.models.residual import ResBlock

UPSAMPLES = residual.Upsample, autoencoder.Upsample
GRAPHED_CELLS = 2**16  # of all pictures of a batch in the UNet; larger maps keep a card busy
GRAPHED_PIXELS = 2**18  # likewise in a decoder, in px


def prepare(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Swap the layers of a network on the CPU or on CUDA for their fast kinds.

    Args:
        network: Built and loaded; it is changed and must not be used otherwise any more.
        dtype: What its weights become; None keeps them.

    Returns:
        The network, or what stands for it.
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
    """What a plain network will take when it is prepared and everything in it has been used.

    Args:
        network: Anywhere, as on the meta device.
        dtype: Of its weights.
        device: "cpu" or "cuda".
    """
    upsamples = [m for m in network.modules() if isinstance(m, UPSAMPLES) and m.conv is not None]
    count = sum(parameter.numel() for parameter in network.parameters())
    doubled = {layer.conv for layer in upsamples}
    for conv in doubled:  # four 2x2 kernels, and as many biases
        count += conv.weight.numel() * 7 // 9 + 3 * (0 if conv.bias is None else len(conv.bias))
    for conv in network.modules():
        if device == "cpu" and isinstance(conv, nn.Conv2d) and conv not in doubled:
            count += _winograd_growth(conv, dtype)
    return count * dtype.itemsize


def _winograd_growth(conv: nn.Conv2d, dtype: torch.dtype) -> int:
    """How many numbers more a convolution keeps as Winograd's."""
    if not can_pack(dtype):
        return 0
    m = winograd.output_tile(conv.weight, dtype, conv.stride[0], conv.padding[0])
    return winograd.numbers_of(conv.weight, m) - conv.weight.numel() if m else 0


def silu(x: Tensor) -> Tensor:
    """SiLU, written over `x`, which nobody else may hold; bands are computed as ever."""
    return F.silu(x, inplace=not has_torch_function_unary(x))


def move_bias(source: nn.Module | None, target: nn.Module) -> None:
    """On CUDA: let a layer whose output is added to another's leave its bias to that one.

    There a convolution's bias is a pass of its own over the map.
    """
    bias = getattr(source, "bias", None)
    if bias is not None and bias.is_cuda:
        target.bias.data = target.bias + bias
        source.bias = None


class FastGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`, around a slow spot of its channels-last kernel."""

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
        """SiLU of the norm of x + plus, of which x may be written over if there is a plus.

        Args:
            x: (B, C, H, W).
            plus: (B, C, 1, 1).
        """
        if fused.takes(x):
            return fused.group_norm(self, x, plus, silu=True)
        if plus is not None:
            x = x + plus if has_torch_function_unary(x) else x.add_(plus)
        return silu(self(x))

    def _is_slow(self, x: Tensor) -> bool:
        """Maps below 1024 positions go through a kernel that walks along a group's channels."""
        few = 16 if x.dtype == torch.bfloat16 else 4  # measured
        is_small = x.ndim == 4 and x.device.type == "cpu" and x.shape[2] * x.shape[3] < 1024
        return is_small and self.num_channels // self.num_groups < few


class FastResBlock(ResBlock):
    """`ResBlock` with activations in place and the last sum inside the convolution."""

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
    """`UNetModel` that computes what its residual blocks add for the time in one product.

    Its embedding is what all of them add, side by side; each takes its own part.
    """

    def __init__(self, network: unet.UNetModel) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(network.__dict__)  # all its layers, which are prepared already
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
        """As of a `UNetModel`; on CUDA small maps are replayed."""
        return self.graphs(super().forward, (x, t, context, y), 2, self._hold)

    def _hold(self, context: Tensor) -> Refresh:
        """Keys and values of a recording's own context, and how to bring them up to date."""
        held = [(layer, layer.keep(context)) for layer in self.cross_attentions]

        def refresh() -> None:
            for layer, parts in held:
                for old, new in zip(parts, layer.of_context(context), strict=True):
                    old.copy_(new)

        return refresh

    def _embedding(self, t: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        """(B, outputs of all blocks)."""
        return self.for_blocks(silu(super()._embedding(t, y, dtype)))


class FastDecoder(Decoder):
    """`Decoder` that is replayed on CUDA while it is small."""

    def __init__(self, decoder: Decoder) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(decoder.__dict__)
        self.graphs = Graphs(GRAPHED_PIXELS // 4 ** (len(self.up) - 1))

    def forward(self, z: Tensor) -> Tensor:
        """(B, z, h, w) -> (B, out_ch, H, W), not clamped."""
        return self.graphs(super().forward, (z,))


class Part(nn.Module):
    """Some of the numbers of each row."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        """(B, n) -> (B, stop - start)."""
        return x[:, self.start : self.stop]


class FastResnetBlock(ResnetBlock):
    """`ResnetBlock` with activations in place and the last sum inside the convolution."""

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
