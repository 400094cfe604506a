"""What all samplers share: the state after an update, and how a run starts or continues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm.diffusion.timesteps import Interval

Eps = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]  # step index -> (B, C, h, w) standard normal


@dataclass(frozen=True)
class Step:
    """The state after one update."""

    index: int  # 0 .. total - 1
    total: int
    t: int  # the time step at which the update started
    x_t: Tensor  # (B, C, h, w), now at the next lower time step
    x0: Tensor  # (B, C, h, w), the picture as predicted at t
    # earlier predictions that the next update of a multistep sampler needs, newest first
    memory: tuple[Tensor, ...] = ()


def begin(x_T: Tensor, after: Step | None, grid: list[Interval]) -> tuple[Tensor, list[Interval]]:
    """Return the latents from which a run starts or continues, and the updates that are left."""
    return (x_T, grid) if after is None else (after.x_t, grid[after.index + 1 :])


def batch_t(x: Tensor, t: int) -> Tensor:
    """Return the time step of all pictures of a batch, (B,)."""
    return torch.full((x.shape[0],), t, dtype=torch.int64, device=x.device)
