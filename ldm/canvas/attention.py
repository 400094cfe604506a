"""Self-attention over a whole canvas, for the queries of one strip at a time."""

from __future__ import annotations

import typing
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.canvas.nodes import Strip, is_in_memory
from ldm.inference.kernels import has_tiles

if typing.TYPE_CHECKING:
    from ldm.canvas.banded import Banded

# from so many channels per head on, torch's fused bfloat16 kernel is slow on CPUs without tiles
MANY = 128
FUSED = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


@dataclass(frozen=True)
class Attention:
    """The node softmax(q k^T / sqrt(d)) v; q, k, v: (B, heads, L, d), picture rows along L."""

    parents: tuple[Banded, Banded, Banded]

    def rows(self, strip: Strip, start: int, stop: int) -> Tensor:
        """Use the fused kernel if it is fast and k and v are in memory, else attend in pieces."""
        q, k, v = self.parents
        part = strip.rows(q, start, stop)
        if is_in_memory(k.node) and is_in_memory(v.node) and not _is_slow(part):
            keys, values = (x.node.rows(strip, 0, x.height) for x in (k, v))
            return F.scaled_dot_product_attention(part, keys, values)
        return self._in_pieces(part)

    def _in_pieces(self, q: Tensor) -> Tensor:
        """Attend to one range of keys after the other by online softmax (arXiv:1805.02867).

        Maxima, sums and weighted values are accumulated in float32.
        """
        attend = _fused if _has_fused(q) else _by_products
        top = q.new_full((*q.shape[:-1], 1), -torch.inf, dtype=torch.float32)
        weight, total = torch.zeros_like(top), torch.zeros_like(q, dtype=torch.float32)
        _, k, v = self.parents
        for start, stop in self._pieces(q):
            keys, values = (x.node.rows(Strip(), start, stop) for x in (k, v))
            made, log_sum = attend(q, keys, values)
            highest = torch.maximum(top, log_sum)
            old, new = (top - highest).exp_(), (log_sum - highest).exp_()
            weight = weight.mul_(old).add_(new)
            total = total.mul_(old).addcmul_(made, new)
            top = highest
        return total.div_(weight).to(q.dtype)

    def _pieces(self, q: Tensor) -> list[tuple[int, int]]:
        """Split the key rows into ranges that fit a strip's budget, with their scores if held."""
        _, k, _ = self.parents
        keys_per_row = k.shape[k.axis] // k.height
        queries = q.numel() // q.shape[-1]
        scores = 0 if _has_fused(q) else 3 * queries
        floats = keys_per_row * (scores + 3 * q.shape[0] * q.shape[1] * q.shape[-1])
        rows = k.space.strip_rows(4 * floats, k.height)
        return [(y, min(y + rows, k.height)) for y in range(0, k.height, rows)]


def _by_products(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax(q k^T / sqrt(d)) v and its log-sum-exp, (B, heads, L, 1), by products."""
    numbers = q.dtype if q.dtype == torch.bfloat16 else torch.float32  # dtype of the products
    q, k, v = (part.to(numbers) for part in (q, k, v))
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(-1, -2)
    highest = scores.amax(-1, keepdim=True).float()
    p = torch.sub(scores, highest).mul_(scale).exp_()
    total = p.sum(-1, keepdim=True)
    made = (p.to(numbers) @ v) / total
    return made, total.log_().add_(highest, alpha=scale)


def _fused(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `_by_products` with torch's fused kernel, which assumes a last stride of 1."""
    q, k, v = (part if part.stride(-1) == 1 else part.contiguous() for part in (q, k, v))
    made, log_sum = FUSED(q, k, v)
    return made, log_sum[..., None]


def _has_fused(q: Tensor) -> bool:
    """Whether a fused kernel that also returns the log-sum-exp exists here and is fast."""
    return FUSED is not None and q.device.type == "cpu" and not _is_slow(q)


def _is_slow(q: Tensor) -> bool:
    """Whether separate products beat the fused kernel; 2.5 times for a decoder's 512 channels."""
    is_half = q.device.type == "cpu" and q.dtype == torch.bfloat16
    return is_half and q.shape[-1] >= MANY and not has_tiles(q.dtype)
