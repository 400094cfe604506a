"""Noise schedules."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """betas and alphas_cumprod, (T,) float32 on the CPU."""

    betas: Tensor
    alphas_cumprod: Tensor

    @property
    def length(self) -> int:
        return len(self.betas)

    @classmethod
    def scaled_linear(cls, start: float, end: float, length: int) -> NoiseSchedule:
        betas = torch.linspace(start**0.5, end**0.5, length, dtype=torch.float64).square()
        return cls(betas.float(), torch.cumprod(1 - betas, 0).float())

    def _at(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.alphas_cumprod.to(x.device)[t].view(-1, 1, 1, 1)
        return a.sqrt(), (1 - a).sqrt()

    def q_sample(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        a, s = self._at(t, x0)
        return a * x0 + s * noise

    def velocity(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        a, s = self._at(t, x0)
        return a * noise - s * x0

    def snr(self, t: Tensor) -> Tensor:
        a = self.alphas_cumprod.to(t.device)[t]
        return a / (1 - a)
