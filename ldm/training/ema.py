"""Exponential moving average (EMA) of weights, as for the published models."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """A shadow copy of a model: shadow -= (1 - decay) * (shadow - weight), decay warmed up.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so early weights soon lose influence.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the shadow towards `model`; buffers are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        shadow = list(self.model.parameters())
        torch._foreach_lerp_(shadow, [p.detach() for p in model.parameters()], 1.0 - decay)
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
