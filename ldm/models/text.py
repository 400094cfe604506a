"""The BERT-style transformer that encodes text and layouts (LDM Sec. 4.3.1, App. E.2.1).

B, L, D: batch, tokens, width. Heads are always 8 x 64, whatever D is; padding is attended to.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 8
HEAD_DIM = 64


class SelfAttention(nn.Module):
    """Multi-head self-attention without mask."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_DIM
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(dim, inner, bias=False)
        self.to_v = nn.Linear(dim, inner, bias=False)
        self.to_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        q, k, v = (h.unflatten(2, (HEADS, HEAD_DIM)).transpose(1, 2) for h in (q, k, v))
        h = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(h.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU())
        self.net = nn.Sequential(first, nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        return self.net(x)


class AttentionLayers(nn.Module):
    """`depth` pairs of an attention and a feed-forward layer, pre-norm and residual.

    Each entry is [norm, layer, residual] as published; the residual has no weights.
    """

    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        layers = [kind(dim) for _ in range(depth) for kind in (SelfAttention, FeedForward)]
        self.layers = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(dim), layer, nn.Identity()]) for layer in layers
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        for norm, layer, _ in self.layers:
            x = x + layer(norm(x))
        return x


class PositionEmbedding(nn.Module):
    """Learned embedding of absolute positions."""

    def __init__(self, dim: int, length: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(length, dim)


class TokenTransformer(nn.Module):
    """Token ids -> one vector per token."""

    def __init__(self, *, vocab_size: int, length: int, dim: int, depth: int) -> None:
        super().__init__()
        self.token_emb = nn.Embedding(vocab_size, dim)
        self.pos_emb = PositionEmbedding(dim, length)
        self.attn_layers = AttentionLayers(dim, depth)
        self.norm = nn.LayerNorm(dim)
        self.to_logits = nn.Linear(dim, vocab_size)  # published, never used for pictures
        nn.init.normal_(self.token_emb.weight, std=0.02)
        nn.init.normal_(self.pos_emb.emb.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D).

        Raises:
            ValueError: If there are more tokens than positions.
        """
        positions = self.pos_emb.emb.weight
        if tokens.shape[1] > len(positions):
            raise ValueError(f"at most {len(positions)} tokens, got {tokens.shape[1]}")
        x = self.token_emb(tokens) + positions[: tokens.shape[1]]
        return self.norm(self.attn_layers(x))


class TextEncoder(nn.Module):
    """Token ids -> context.

    Args:
        n_embed: Width D of the context.
        n_layer: Number of attention layers, each followed by a feed-forward one.
        vocab_size: Number of token ids.
        max_seq_len: Most tokens per sentence.
    """

    def __init__(self, *, n_embed: int, n_layer: int, vocab_size: int, max_seq_len: int) -> None:
        super().__init__()
        self.transformer = TokenTransformer(
            vocab_size=vocab_size, length=max_seq_len, dim=n_embed, depth=n_layer
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D)."""
        return self.transformer(tokens)
