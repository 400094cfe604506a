"""Mean and spread of the channels of a map that is seen in parts."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 8192  # positions per sum: its rounding grows with their number


def has_float64(device: torch.device) -> bool:
    """Whether it computes in double precision."""
    return device.type != "mps"


def wide(values: Tensor) -> Tensor:
    """A few numbers in float64, on the CPU if their device has none."""
    return (values if has_float64(values.device) else values.cpu()).double()


@dataclass(frozen=True)
class Moments:
    """Of n positions per channel: the mean and the summed squared distance to it, (B, C) float64.

    They are on the map's device, or on the CPU where that one has no float64.
    Merged after Chan et al. 1979, so that no small number is taken from a large one.
    """

    n: int
    mean: Tensor
    spread: Tensor

    @staticmethod
    def of(part: Tensor) -> Moments:
        """Of a (B, C, ...) strip, in float32 for a few thousand positions at a time."""
        rows = max(1, PIECE // max(1, part[0, 0, :1].numel()))
        pieces = [Moments._of_piece(piece) for piece in part.split(rows, dim=2)]
        return Moments.merged(pieces)

    @staticmethod
    def _of_piece(part: Tensor) -> Moments:
        """The statistics of batch norm: the one fused kernel for them that torch has."""
        n = part[0, 0].numel()
        if not has_float64(part.device):  # nor has it that kernel
            var, mean = torch.var_mean(part.float().flatten(2), 2, correction=0)
            return Moments(n, wide(mean), wide(var) * n)
        zeros = torch.zeros(2, part.shape[1], device=part.device)  # float32: so is the result
        made = [torch.batch_norm_update_stats(x, *zeros.clone(), 1.0) for x in part.split(1)]
        mean, var = (wide(torch.stack(values)) for values in zip(*made, strict=True))
        return Moments(n, mean, var * n)

    @staticmethod
    def unknown(B: int, C: int, device: torch.device) -> Moments:
        """Of a map that is not computed."""
        zeros = wide(torch.zeros(B, C, device=device))
        return Moments(1, zeros, zeros)

    @staticmethod
    def merged(parts: Sequence[Moments]) -> Moments:
        """Of all positions of several strips."""
        n = sum(part.n for part in parts)
        mean = sum(part.mean * part.n for part in parts) / n
        spread = sum(part.spread + part.n * (part.mean - mean).square() for part in parts)
        return Moments(n, mean, spread)

    @staticmethod
    def gathered(parts: Iterable[Moments]) -> Moments:
        """Of all positions of strips that come one after the other.

        Merged at once: the small tensors of every strip, kept to the end, would lie between the
        large ones that it frees, and malloc could not use that room again.
        """
        return functools.reduce(lambda made, part: Moments.merged([made, part]), parts)

    @staticmethod
    def joined(parts: Sequence[Moments], dim: int) -> Moments:
        """Of concatenated pictures (0) or channels (1)."""
        mean = torch.cat([part.mean for part in parts], dim)
        return Moments(parts[0].n, mean, torch.cat([part.spread for part in parts], dim))

    def grouped(self, groups: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of each group of channels, (B, groups, 1)."""
        means = self.mean.unflatten(1, (groups, -1))
        spreads = self.spread.unflatten(1, (groups, -1))
        mean = means.mean(2, keepdim=True)
        total = (spreads + self.n * (means - mean).square()).sum(2, keepdim=True)
        return mean, total / (self.n * means.shape[2])
