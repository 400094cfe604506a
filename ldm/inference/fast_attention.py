"""Faster attention and transformer blocks for inference, made from plain ones.

`ldm.inference.prepare.prepare` swaps them in. Blocks that contain other layers get that function as
an argument.

- Queries, keys and values of the same tokens are computed by one matrix.
- Activations, products and sums that follow a matrix product are fused into it.
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

from ldm.inference.graphs import version_of
from ldm.inference.kernels import has_tiles
from ldm.inference.packed import PackedLinear
from ldm.models.attention import (
    AttentionBlock,
    BasicTransformerBlock,
    CrossAttention,
    FeedForward,
)
from ldm.models.autoencoder import AttnBlock

QUERIES = 256  # queries at a time, and fewest queries, of attention by plain products
KEYS = 1024  # most keys of plain products, for heads narrower than WIDE
WIDE = 256  # channels of a head
PIECE = 4e10  # most operations between two pauses on the CPU, where they take under a second
LEAST = 1024  # fewest queries of a piece; the fused kernel takes fewer in smaller blocks
SCORES = 2**26  # most scores (pairs of query and key) held at once on CUDA, 128 MiB
Prepare = Callable[[nn.Module, torch.dtype | None], nn.Module]


class Piece(nn.Module):
    """`attend` as a layer, before which a canvas that is computed whole can be paused."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `attend`."""
        return attend(q, k, v)


class Attention(nn.Module):
    """`attend`, on the CPU in pieces if all queries at once take long."""

    def __init__(self) -> None:
        super().__init__()
        self.piece = Piece()

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `attend`."""
        if has_torch_function_unary(q) or q.device.type != "cpu":
            return self.piece(q, k, v)
        for_one = 4 * q.shape[:2].numel() * k.shape[2:].numel()
        queries = max(LEAST, int(PIECE / for_one) // QUERIES * QUERIES)
        if q.shape[2] <= queries:
            return self.piece(q, k, v)
        return torch.cat([self.piece(some, k, v) for some in q.split(queries, dim=2)], dim=1)


class FastAttentionBlock(nn.Module):
    """`AttentionBlock` and `AttnBlock` on tokens, with one matrix for queries, keys and values."""

    def __init__(self, norm: nn.Module, qkv: nn.Module, proj_out: nn.Module, heads: int) -> None:
        super().__init__()
        self.norm = norm
        self.qkv = qkv
        self.proj_out = proj_out
        self.heads = heads
        self.attend = Attention()

    @classmethod
    def of_unet(
        cls, block: AttentionBlock, dtype: torch.dtype | None, prepare: Prepare
    ) -> FastAttentionBlock:
        """Convert a UNet's block, whose channels are grouped [q, k, v] per head."""
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
        """Convert a first stage's block, which has a single head."""
        qkv = PackedLinear.of(block.q, block.k, block.v, dtype=dtype)
        proj_out = PackedLinear.of(block.proj_out, dtype=dtype)
        return cls(prepare(block.norm, dtype), qkv, proj_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        q, k, v = _heads(self.qkv(_tokens(self.norm(x))), 3, self.heads)
        h = self.proj_out.plus(self.attend(q, k, v), _tokens(x))
        return h.transpose(1, 2).unflatten(2, x.shape[2:])


class FastSelfAttention(nn.Module):
    """`CrossAttention` of x to itself, with one matrix for queries, keys and values."""

    def __init__(self, attention: CrossAttention, dtype: torch.dtype | None) -> None:
        super().__init__()
        parts = (attention.to_q, attention.to_k, attention.to_v)
        self.qkv = PackedLinear.of(*parts, dtype=dtype)
        self.out = PackedLinear.of(attention.to_out[0], dtype=dtype)
        self.heads = attention.heads
        self.attend = Attention()

    def forward(self, x: Tensor, plus: Tensor) -> Tensor:
        """Attend, (B, L, D) -> the same shape, and add the result to `plus`."""
        q, k, v = _heads(self.qkv(x), 3, self.heads)
        return self.out.plus(self.attend(q, k, v), plus)


class FastCrossAttention(nn.Module):
    """`CrossAttention` that keeps the keys and values of the last context as long as it exists."""

    def __init__(self, attention: CrossAttention, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.to_q = PackedLinear.of(attention.to_q, dtype=dtype)
        self.kv = PackedLinear.of(attention.to_k, attention.to_v, dtype=dtype)
        self.out = PackedLinear.of(attention.to_out[0], dtype=dtype)
        self.heads = attention.heads
        self.attend = Attention()
        self._kept: tuple[weakref.ref[Tensor], int, tuple[Tensor, ...]] | None = None

    def forward(self, x: Tensor, context: Tensor | None, plus: Tensor) -> Tensor:
        """Attend, (B, L, D), (B, L', D') -> (B, L, D), and add the result to `plus`."""
        (q,) = _heads(self.to_q(x), 1, self.heads)
        k, v = self._keys_and_values(x if context is None else context, context is not None)
        return self.out.plus(self.attend(q, k, v), plus)

    def _keys_and_values(self, context: Tensor, keep: bool) -> tuple[Tensor, ...]:
        if not keep:
            return _heads(self.kv(context), 2, self.heads)
        kept = self._kept  # read once, since another thread may replace it
        if kept is None or kept[0]() is not context or kept[1] != version_of(context):
            return self.keep(context)
        return kept[2]

    def keep(self, context: Tensor) -> tuple[Tensor, ...]:
        """Compute keys and values of a context, (B, heads, L', d) each, and keep them for it.

        They are used as long as the same tensor is passed and was not written to.
        """
        made = self.of_context(context)
        self._kept = (weakref.ref(context), version_of(context), made)
        return made

    def of_context(self, context: Tensor) -> tuple[Tensor, ...]:
        """Compute keys and values of a context without keeping them."""
        return tuple(part.contiguous() for part in _heads(self.kv(context), 2, self.heads))


class FastFeedForward(nn.Module):
    """`FeedForward` with activation, gating and sum fused into the matrix products."""

    def __init__(self, layer: FeedForward, dtype: torch.dtype | None) -> None:
        super().__init__()
        geglu, _, back = layer.net
        value, gate = geglu.proj.weight.chunk(2)
        of_value, of_gate = geglu.proj.bias.chunk(2)
        self.value = PackedLinear((value,), of_value, dtype)
        self.gate = PackedLinear((gate,), of_gate, dtype, "gelu")
        self.back = PackedLinear.of(back, dtype=dtype)

    def forward(self, x: Tensor, plus: Tensor) -> Tensor:
        """Apply the layers, (B, L, D) -> the same shape, and add the result to `plus`."""
        return self.back.plus(self.value.times(x, self.gate(x)), plus)


class FastTransformerBlock(nn.Module):
    """`BasicTransformerBlock` of fast layers, with the residual sums fused into them."""

    def __init__(
        self, block: BasicTransformerBlock, dtype: torch.dtype | None, prepare: Prepare
    ) -> None:
        super().__init__()
        self.attn1 = FastSelfAttention(block.attn1, dtype)
        self.attn2 = FastCrossAttention(block.attn2, dtype)
        self.ff = FastFeedForward(block.ff, dtype)
        norms = (prepare(norm, dtype) for norm in (block.norm1, block.norm2, block.norm3))
        self.norm1, self.norm2, self.norm3 = norms

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """(B, L, dim), (B, L', context_dim) -> (B, L, dim)."""
        x = self.attn1(self.norm1(x), x)
        x = self.attn2(self.norm2(x), context, x)
        return self.ff(self.norm3(x), x)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute softmax(q k^T / sqrt(d)) v, (B, heads, L, d) -> (B, L, heads * d), the fastest way.

    On a CPU without tile instructions, plain bfloat16 products and a softmax over chunks of queries
    take 0.5 to 0.9 of the time of torch's fused kernel, except for few queries and for narrow heads
    over many keys; their rounding error is twice as large. On a CPU with tiles they take 1.4 to 2.5
    times as long. On CUDA they are faster only for heads too wide for its fast kernels.
    """
    if not has_torch_function_unary(q) and q.is_cuda:
        return _attend_cuda(q, k, v)
    is_fused = q.shape[2] < QUERIES or (k.shape[2] > KEYS and q.shape[3] < WIDE)  # measured
    is_fused = is_fused or q.dtype != torch.bfloat16 or has_tiles(q.dtype)
    if is_fused or has_torch_function_unary(q):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    B, heads, L, d = q.shape
    q, k, v = (part.flatten(0, 1) for part in (q * d**-0.5, k.transpose(2, 3), v))
    k, v = k.contiguous(), v.contiguous()  # here, so that not every chunk copies them
    parts = [torch.bmm(torch.bmm(some, k).softmax(-1), v) for some in q.split(QUERIES, dim=1)]
    return torch.cat(parts, 1).unflatten(0, (B, heads)).transpose(1, 2).flatten(2)


def _attend_cuda(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`attend` on CUDA."""
    scores = q.shape[:3].numel() * k.shape[2]
    if q.shape[3] <= WIDE or q.dtype == torch.float32 or scores > SCORES:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    weights = (q * q.shape[3] ** -0.5 @ k.transpose(2, 3)).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(B, L, parts * heads * d) -> `parts` times (B, heads, L, d)."""
    return tuple(p.unflatten(2, (heads, -1)).transpose(1, 2) for p in x.chunk(parts, dim=2))
