"""Boxes drawn on the latent grid, for models that get them both as channels and as tokens.

B, N, L: batch, boxes, token ids; h, w: cells. Token ids are those of the published layout model:
class, top-left and bottom-right corner per box, then the picture's own corners; corners lie on a
square grid of floor(sqrt(vocab_size)) points a side, and the largest id marks an empty slot.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SLOTS_PER_BOX = 3


def drawn_boxes(tokens: Tensor, vocab_size: int, classes: int, cells: tuple[int, int]) -> Tensor:
    """Draw boxes: the share of each cell inside boxes of each class, and its place in the box.

    Args:
        tokens: (B, L) int64.
        vocab_size: Number of token ids.
        classes: Number of class ids.
        cells: (h, w).

    Returns:
        (B, classes + 2, h, w): shares from 0 to 1; then column and row relative to the box, from
        -1 at its left and top to 1, averaged where boxes overlap, 0 outside.
    """
    kind, first, second = tokens[:, :-2].unflatten(1, (-1, SLOTS_PER_BOX)).unbind(2)  # (B, N) each
    is_box = kind != vocab_size - 1
    side = math.isqrt(vocab_size)
    spans = [
        _along(first // side / (side - 1), second // side / (side - 1), cells[0]),
        _along(first % side / (side - 1), second % side / (side - 1), cells[1]),
    ]
    (down, row), (across, column) = spans
    share = down[..., :, None] * across[..., None, :] * is_box[..., None, None]  # (B, N, h, w)
    kinds = torch.nn.functional.one_hot(kind * is_box, classes).to(share)  # (B, N, classes)
    by_class = torch.einsum("bnhw,bnk->bkhw", share, kinds).clamp_max(1)
    total = share.sum(1).clamp_min(1)
    places = [(share * place).sum(1) / total for place in (column[..., None, :], row[..., :, None])]
    return torch.cat([by_class, torch.stack(places, dim=1)], dim=1)


def _along(start: Tensor, stop: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return for cells along one side the share within [start, stop] and the place in it.

    Args:
        start: (B, N), in fractions of the side.
        stop: (B, N), in fractions of the side.
        count: Number of cells.

    Returns:
        Shares from 0 to 1, and places from -1 at `start` to 1 at `stop`; each (B, N, count).
    """
    edges = torch.arange(count + 1, device=start.device) / count
    low = torch.maximum(edges[:-1], start[..., None])
    high = torch.minimum(edges[1:], stop[..., None])
    middle, half = (start + stop) / 2, ((stop - start) / 2).clamp_min(1e-6)
    centres = (edges[:-1] + edges[1:]) / 2
    place = ((centres - middle[..., None]) / half[..., None]).clamp(-1, 1)
    return (high - low).clamp_min(0) * count, place
