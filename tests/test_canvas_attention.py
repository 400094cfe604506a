"""Self-attention over a canvas in bands is self-attention."""

import pytest
import torch
import torch.nn.functional as F

from ldm.canvas import attention
from ldm.canvas.operations import banded
from ldm.canvas.stores import FileStore, MemoryStore
from ldm.canvas.workspace import Workspace


@pytest.mark.parametrize("has_tiles", [True, False])
@pytest.mark.parametrize(
    ("budget", "store", "dtype", "width", "error"),
    [
        (2**26, MemoryStore, torch.float32, 16, 1e-5),
        (40_000, FileStore, torch.float32, 16, 1e-5),  # keys are read in pieces
        (2**26, MemoryStore, torch.bfloat16, 128, 2e-2),  # slow in torch's fused kernel without
        (160_000, FileStore, torch.bfloat16, 128, 2e-2),
    ],
)
@torch.no_grad()
def test_queries_strip_by_strip(budget, store, dtype, width, error, has_tiles, monkeypatch):
    """Of a map of 64 x 8 positions; large queries make a peaked softmax."""
    monkeypatch.setattr(attention, "has_tiles", lambda dtype: has_tiles)
    torch.manual_seed(0)
    x = torch.randn(1, width, 64, 8)
    tokens = x.flatten(2).transpose(1, 2)[:, None]  # (B, heads, L, d)
    want = F.scaled_dot_product_attention(3 * tokens, tokens, tokens + 1)
    lazy = banded(x.to(dtype), Workspace(budget)).flatten(2).transpose(1, 2)[:, None]
    keys = lazy * 1.0
    made = F.scaled_dot_product_attention(lazy * 3, keys, lazy + 1)
    assert isinstance(keys.node.store, store)
    assert (made.whole().float() - want).abs().max() < error * want.abs().max()
