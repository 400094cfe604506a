"""The text half of CLIP (Radford et al., arXiv:2103.00020), which reads for Stable Diffusion.

B, L, D: batch, tokens, width. A token attends to itself and to those before it; padding, behind the
end, is attended to by padding alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_DIM = 64


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), by which OpenAI's models approximate a GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return x * torch.sigmoid(1.702 * x)


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention to the tokens so far."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = (h.unflatten(2, (-1, HEAD_DIM)).transpose(1, 2) for h in (q, k, v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(h.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = QuickGELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        return self.fc2(self.act(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Attention and feed-forward, pre-norm and residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(dim)
        self.self_attn = CausalSelfAttention(dim)
        self.layer_norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TextTransformer(nn.Module):
    """Token ids -> one vector per token."""

    def __init__(self, *, vocab_size: int, length: int, dim: int, depth: int) -> None:
        super().__init__()
        tokens, positions = nn.Embedding(vocab_size, dim), nn.Embedding(length, dim)
        nn.init.normal_(tokens.weight, std=0.02)
        nn.init.normal_(positions.weight, std=0.01)
        self.embeddings = nn.ModuleDict(
            {"token_embedding": tokens, "position_embedding": positions}
        )
        layers = nn.ModuleList(EncoderLayer(dim) for _ in range(depth))
        self.encoder = nn.ModuleDict({"layers": layers})
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D).

        Raises:
            ValueError: If there are more tokens than positions.
        """
        positions = self.embeddings["position_embedding"].weight
        if tokens.shape[1] > len(positions):
            raise ValueError(f"at most {len(positions)} tokens, got {tokens.shape[1]}")
        x = self.embeddings["token_embedding"](tokens) + positions[: tokens.shape[1]]
        for layer in self.encoder["layers"]:
            x = layer(x)
        return self.final_layer_norm(x)


class CLIPTextEncoder(nn.Module):
    """Token ids -> context: the last layer's vectors of all tokens, normed.

    Args:
        n_embed: Width D of the context, a multiple of 64.
        n_layer: Number of layers.
        vocab_size: Number of token ids.
        max_seq_len: Most tokens per sentence.
    """

    def __init__(self, *, n_embed: int, n_layer: int, vocab_size: int, max_seq_len: int) -> None:
        super().__init__()
        text_model = TextTransformer(
            vocab_size=vocab_size, length=max_seq_len, dim=n_embed, depth=n_layer
        )
        self.transformer = nn.ModuleDict({"text_model": text_model})  # as in published files

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, D)."""
        return self.transformer["text_model"](tokens)
