"""Attention and transformer blocks for inference, made from plain ones.

They are what `ldm.models.inference.prepare` swaps in; it comes as an argument to those that hold
other layers.

- Queries, keys and values of the same tokens are one matrix.
- Keys and values of a context are computed once per context, not at every step.

B, C, H, W: batch, channels, height, width; L, D: tokens and their width.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from ldm.models.attention import GEGLU, AttentionBlock, BasicTransformerBlock, CrossAttention
from ldm.models.autoencoder import AttnBlock
from ldm.models.packed import PackedLinear

Prepare = Callable[[nn.Module, torch.dtype | None], nn.Module]


class FastAttentionBlock(nn.Module):
    """`AttentionBlock` and `AttnBlock` on tokens, with one matrix for queries, keys and values."""

    def __init__(self, norm: nn.Module, qkv: nn.Module, proj_out: nn.Module, heads: int) -> None:
        super().__init__()
        self.norm = norm
        self.qkv = qkv
        self.proj_out = proj_out
        self.heads = heads

    @classmethod
    def of_unet(
        cls, block: AttentionBlock, dtype: torch.dtype | None, prepare: Prepare
    ) -> FastAttentionBlock:
        """From a UNet's block; its channels are grouped [q, k, v] per head."""
        weight, bias = (
            v.detach().unflatten(0, (block.heads, 3, -1)).transpose(0, 1).flatten(0, 2)
            for v in (block.qkv.weight[..., 0], block.qkv.bias)
        )
        qkv = PackedLinear((weight,), bias, dtype)
        proj_out = PackedLinear.of(block.proj_out, dtype=dtype)
        return cls(prepare(block.norm, dtype), qkv, proj_out, block.heads)

    @classmethod
    def of_first_stage(
        cls, block: AttnBlock, dtype: torch.dtype | None, prepare: Prepare
    ) -> FastAttentionBlock:
        """From a first stage's block of a single head."""
        qkv = PackedLinear.of(block.q, block.k, block.v, dtype=dtype)
        proj_out = PackedLinear.of(block.proj_out, dtype=dtype)
        return cls(prepare(block.norm, dtype), qkv, proj_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        h = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (B, L, C)
        q, k, v = _heads(self.qkv(h), 3, self.heads)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.proj_out(h).transpose(1, 2).unflatten(2, x.shape[2:])


class FastSelfAttention(nn.Module):
    """`CrossAttention` of x to itself, with one matrix for queries, keys and values."""

    def __init__(self, attention: CrossAttention, dtype: torch.dtype | None) -> None:
        super().__init__()
        parts = (attention.to_q, attention.to_k, attention.to_v)
        self.qkv = PackedLinear.of(*parts, dtype=dtype)
        self.out = PackedLinear.of(attention.to_out[0], dtype=dtype)
        self.heads = attention.heads

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        q, k, v = _heads(self.qkv(x), 3, self.heads)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FastCrossAttention(nn.Module):
    """`CrossAttention` to a context, whose keys and values are kept while the context lives."""

    def __init__(self, attention: CrossAttention, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.to_q = PackedLinear.of(attention.to_q, dtype=dtype)
        self.kv = PackedLinear.of(attention.to_k, attention.to_v, dtype=dtype)
        self.out = PackedLinear.of(attention.to_out[0], dtype=dtype)
        self.heads = attention.heads
        self._kept: tuple[weakref.ref[Tensor], int, tuple[Tensor, ...]] | None = None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, L, D), (B, L', D') -> (B, L, D)."""
        (q,) = _heads(self.to_q(x), 1, self.heads)
        k, v = self._keys_and_values(x if context is None else context, context is not None)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _keys_and_values(self, context: Tensor, keep: bool) -> tuple[Tensor, ...]:
        if not keep:
            return _heads(self.kv(context), 2, self.heads)
        version = 0 if context.is_inference() else context._version
        kept = self._kept  # read once: another thread may put another there
        if kept is None or kept[0]() is not context or kept[1] != version:
            made = tuple(part.contiguous() for part in _heads(self.kv(context), 2, self.heads))
            self._kept = kept = (weakref.ref(context), version, made)
        return kept[2]


class FastTransformerBlock(BasicTransformerBlock):
    """`BasicTransformerBlock` with the fast kinds of attention."""

    def __init__(
        self, block: BasicTransformerBlock, dtype: torch.dtype | None, prepare: Prepare
    ) -> None:
        nn.Module.__init__(self)
        self.attn1 = FastSelfAttention(block.attn1, dtype)
        self.attn2 = FastCrossAttention(block.attn2, dtype)
        self.ff = prepare(block.ff, dtype)
        norms = (prepare(norm, dtype) for norm in (block.norm1, block.norm2, block.norm3))
        self.norm1, self.norm2, self.norm3 = norms


class FastGEGLU(nn.Module):
    """`GEGLU` with the product in place."""

    def __init__(self, layer: GEGLU) -> None:
        super().__init__()
        self.proj = layer.proj

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, dim) -> (B, L, inner)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return F.gelu(gate) * value if has_torch_function_unary(gate) else F.gelu(gate).mul_(value)


def _heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(B, L, parts * heads * d) -> `parts` times (B, heads, L, d)."""
    return tuple(p.unflatten(2, (heads, -1)).transpose(1, 2) for p in x.chunk(parts, dim=2))
