"""Self-attention over a whole canvas, for the queries of one strip at a time."""

from __future__ import annotations

import typing
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.canvas.nodes import Strip, is_in_memory

if typing.TYPE_CHECKING:
    from ldm.canvas.banded import Banded

MANY = 128  # channels per head, from which on torch's fused kernel in bfloat16 is slow on a CPU


@dataclass(frozen=True)
class Attention:
    """softmax(q k^T / sqrt(d)) v; q, k, v: (B, heads, L, d) in rows along L."""

    parents: tuple[Banded, Banded, Banded]

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """The fused kernel where keys and values are in memory and it is fast; else in pieces."""
        q, k, v = self.parents
        part = strip.rows(q, start, stop)
        if is_in_memory(k.node) and is_in_memory(v.node) and not _is_slow(part):
            keys, values = (x.node.rows(strip, 0, x.height) for x in (k, v))
            return F.scaled_dot_product_attention(part, keys, values)
        return self._in_pieces(part)

    def _in_pieces(self, q: Tensor) -> Tensor:
        """The softmax is carried on from piece to piece (arXiv:1805.02867), in float32."""
        _, k, v = self.parents
        dtype, scale = q.dtype, q.shape[-1] ** -0.5
        numbers = dtype if dtype == torch.bfloat16 else torch.float32  # of the products
        q = q.to(numbers)
        top = q.new_full((*q.shape[:-1], 1), -torch.inf, dtype=torch.float32)
        weight, total = torch.zeros_like(top), torch.zeros_like(q, dtype=torch.float32)
        for start, stop in self._pieces(q):
            keys, values = (x.node.rows(Strip(), start, stop).to(numbers) for x in (k, v))
            scores = q @ keys.transpose(-1, -2)
            highest = torch.maximum(top, scores.amax(-1, keepdim=True))
            p = torch.sub(scores, highest).mul_(scale).exp_()
            old = torch.sub(top, highest).mul_(scale).exp_()
            weight = weight.mul_(old).add_(p.sum(-1, keepdim=True))
            total = total.mul_(old).add_(p.to(numbers) @ values)
            top = highest
        return total.div_(weight).to(dtype)

    def _pieces(self, q: Tensor) -> list[tuple[int, int]]:
        """Ranges of key rows whose scores and own numbers fit a strip's budget."""
        _, k, _ = self.parents
        keys_per_row = k.shape[k.axis] // k.height
        floats = keys_per_row * (
            3 * q.numel() // q.shape[-1] + 3 * q.shape[0] * q.shape[1] * q.shape[-1]
        )
        rows = k.space.strip_rows(4 * floats, k.height)
        return [(y, min(y + rows, k.height)) for y in range(0, k.height, rows)]


def _is_slow(q: Tensor) -> bool:
    """Whether separate products are faster, 2.5 times for the 512 channels of a decoder."""
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-1] >= MANY
