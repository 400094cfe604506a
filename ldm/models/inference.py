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
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from ldm.models import autoencoder, unet, winograd
from ldm.models.attention import AttentionBlock, BasicTransformerBlock
from ldm.models.autoencoder import AttnBlock, ResnetBlock
from ldm.models.fast_attention import FastAttentionBlock, FastTransformerBlock
from ldm.models.kernels import ConvolutionKernel, can_pack
from ldm.models.packed import PackedConv2d, PackedLinear
from ldm.models.strips import Window, along_rows
from ldm.models.unet import ResBlock


def prepare(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Swap the layers of a network on the CPU for their fast kinds.

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


def prepared_bytes(network: nn.Module, dtype: torch.dtype) -> int:
    """What a plain network will take when it is prepared and everything in it has been used."""
    grown = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and _is_turned(m)]
    doubled = [
        m.conv
        for m in network.modules()
        if isinstance(m, (unet.Upsample, autoencoder.Upsample)) and m.conv is not None
    ]
    grown += [conv.weight for conv in doubled if not _is_turned(conv)]
    count = sum(parameter.numel() for parameter in network.parameters())
    more = sum(weight.numel() for weight in grown) * 7 // 9  # 16 numbers for every 9
    more += sum(3 * conv.bias.numel() for conv in doubled if conv.bias is not None)
    return (count + more) * dtype.itemsize


def _is_turned(conv: nn.Conv2d) -> bool:
    return can_pack() and winograd.pays(conv.weight, conv.stride[0], conv.padding[0])


def silu(x: Tensor) -> Tensor:
    """SiLU, written over `x`, which nobody else may hold; bands are computed as ever."""
    return F.silu(x, inplace=not has_torch_function_unary(x))


class FastGroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`, around a slow spot of its channels-last kernel."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        nn.Module.__init__(self)
        self.num_groups, self.num_channels = norm.num_groups, norm.num_channels
        self.eps, self.affine = norm.eps, norm.affine
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if has_torch_function_unary(x) or not self._is_slow(x):
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)

    def _is_slow(self, x: Tensor) -> bool:
        """Maps below 1024 positions go through a kernel that walks along a group's channels."""
        few = 16 if x.dtype == torch.bfloat16 else 4  # measured
        is_small = x.ndim == 4 and x.shape[2] * x.shape[3] < 1024
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

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(B, inputs, h, w), (B, time_dim) -> (B, outputs, h', w')."""
        norm, _, conv = self.in_layers
        h = silu(norm(x))
        if self.h_upd is not None:
            h, x = self.h_upd(h), self.h_upd(x)
        h = conv(h)
        emb = self.emb_layers(emb)[:, :, None, None]
        norm, _, _, conv = self.out_layers
        if self.use_scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = torch.addcmul(shift, norm(h), 1 + scale)
        else:
            h = norm(h + emb if has_torch_function_unary(h) else h.add_(emb))
        return conv(silu(h), plus=self.skip_connection(x))


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

    def _embedding(self, t: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        """(B, outputs of all blocks)."""
        return self.for_blocks(silu(super()._embedding(t, y, dtype)))


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

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        h = self.conv1(silu(self.norm1(x)))
        shortcut = x if self.nin_shortcut is None else self.nin_shortcut(x)
        return self.conv2(silu(self.norm2(h)), plus=shortcut)


class UpsampleConv(nn.Module):
    """Nearest doubling and a 3x3 convolution, without the map in between.

    Each of the four output pixels of an input pixel sees 2x2 input pixels; kernel rows that fall
    on the same one are added up. Four 2x2 convolutions do 16 products where one 3x3 at the
    doubled size does 36.
    """

    window = Window(3, 1, 1, up=2)

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.products = 4 * conv.in_channels
        self.dtype = dtype or conv.weight.dtype
        bias = None if conv.bias is None else conv.bias.detach().to(self.dtype).repeat(4)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.outputs = conv.out_channels
        self._kernel: Tensor | ConvolutionKernel = conv.weight.detach()

    @classmethod
    def of(
        cls, layer: unet.Upsample | autoencoder.Upsample, dtype: torch.dtype | None
    ) -> nn.Module:
        """From a plain layer; one without a convolution stays."""
        return layer if layer.conv is None else cls(layer.conv, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', 2H, 2W)."""
        return along_rows(x, self) if has_torch_function_unary(x) else self.strip(x, 1, 1)

    def strip(self, part: Tensor, above: int, below: int) -> Tensor:
        """As of a `RowLayer`."""
        kernel = self._kernel
        if isinstance(kernel, Tensor):
            sums = torch.einsum("pyi,qxj,ocij->pqocyx", _SPREAD, _SPREAD, kernel.float())
            kernel = ConvolutionKernel(sums.flatten(0, 2).to(self.dtype), 1, 1)
            self._kernel = kernel
        return self._interleave(kernel.strip(part, self.bias, above, below))

    def shape_of(self, shape: Sequence[int]) -> list[int]:
        """As of a `RowLayer`."""
        return self.window.shape_of(shape, self.outputs)

    def _interleave(self, four: Tensor) -> Tensor:
        """(B, 4C', H + 1, W + 1) -> (B, C', 2H, 2W): each pixel's four kinds to their places."""
        B, _, H, W = four.shape
        four = four.unflatten(1, (2, 2, -1))
        made = torch.empty(
            (B, self.outputs, 2 * H - 2, 2 * W - 2),
            dtype=four.dtype,
            memory_format=torch.channels_last,
        )
        for p, q in itertools.product((0, 1), repeat=2):
            part = four[:, p, q, :, p : p + H - 1, q : q + W - 1]
            made[:, :, p::2, q::2] = part
        return made


# [output pixel, low-resolution row, kernel row]: which kernel rows fall on which row
_SPREAD = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])


Dtype = torch.dtype | None
_OF_PLAIN: dict[type[nn.Module], Callable[[Any, Dtype], nn.Module]] = {
    nn.Conv2d: PackedConv2d.of,
    nn.Linear: lambda layer, dtype: PackedLinear.of(layer, dtype=dtype),
    unet.Upsample: UpsampleConv.of,
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
}
