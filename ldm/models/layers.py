"""Small layers that several networks share. B, C, H, W: batch, channels, height, width."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding of time steps, cosines first (DDPM Sec. 4, as published).

    Args:
        t: Time steps, (B,).
        dim: Width; an odd one ends in a zero column.
        max_period: Longest period of the sinusoids.

    Returns:
        (B, dim) float32.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * steps / half)
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return nn.functional.pad(embedding, (0, dim % 2))


def repeated(x: Tensor, batch: int) -> Tensor:
    """Repeat a whole batch, (B, ...) -> (batch, ...), where `batch` is a multiple of B."""
    return x if x.shape[0] == batch else torch.cat([x] * (batch // x.shape[0]))


def zero(module: nn.Module) -> nn.Module:
    """Set all parameters to zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
