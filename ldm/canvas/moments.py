"""Mean and spread of the channels of a map that is seen in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Of n positions per channel: the mean and the summed squared distance to it, (B, C) float64.

    Merged after Chan et al. 1979, so that no small number is taken from a large one.
    """

    n: int
    mean: Tensor
    spread: Tensor

    @staticmethod
    def of(part: Tensor) -> Moments:
        """Of a (B, C, ...) strip; channels-last ones are read as they lie."""
        flat = part.movedim(1, -1).flatten(1, -2).float()
        var, mean = torch.var_mean(flat, dim=1, correction=0)
        n = flat.shape[1]
        return Moments(n, mean.double(), var.double() * n)

    @staticmethod
    def merged(parts: Sequence[Moments]) -> Moments:
        """Of all positions of several strips."""
        n = sum(part.n for part in parts)
        mean = sum(part.mean * part.n for part in parts) / n
        spread = sum(part.spread + part.n * (part.mean - mean).square() for part in parts)
        return Moments(n, mean, spread)

    @staticmethod
    def side_by_side(parts: Sequence[Moments]) -> Moments:
        """Of concatenated channels."""
        mean = torch.cat([part.mean for part in parts], 1)
        return Moments(parts[0].n, mean, torch.cat([part.spread for part in parts], 1))

    def grouped(self, groups: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of each group of channels, (B, groups, 1)."""
        means = self.mean.unflatten(1, (groups, -1))
        spreads = self.spread.unflatten(1, (groups, -1))
        mean = means.mean(2, keepdim=True)
        total = (spreads + self.n * (means - mean).square()).sum(2, keepdim=True)
        return mean, total / (self.n * means.shape[2])
