"""Mean and spread of a map's channels, computed from parts of the map."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 8192  # positions per float32 sum: rounding errors grow with their number


def has_float64(device: torch.device) -> bool:
    """Whether the device computes in double precision."""
    return device.type != "mps"


def wide(values: Tensor) -> Tensor:
    """Convert values to float64, on the CPU if their device has no float64."""
    return (values if has_float64(values.device) else values.cpu()).double()


@dataclass(frozen=True)
class Moments:
    """Moments of n positions per channel: mean, and summed squared distance to it as `spread`.

    Both are (B, C) float64, on the map's device or on the CPU if that one has no float64. Parts are
    merged after Chan et al. 1979, which avoids the cancellation of a difference of large sums.
    """

    n: int
    mean: Tensor
    spread: Tensor

    @staticmethod
    def of(part: Tensor) -> Moments:
        """Compute the moments of a (B, C, ...) strip, in float32 for about PIECE positions each."""
        rows = max(1, PIECE // max(1, part[0, 0, :1].numel()))
        pieces = [Moments._of_piece(piece) for piece in part.split(rows, dim=2)]
        return Moments.merged(pieces)

    @staticmethod
    def _of_piece(part: Tensor) -> Moments:
        """Compute the moments by torch's batch-norm statistics, its only fused kernel for them."""
        n = part[0, 0].numel()
        if not has_float64(part.device):  # such a device lacks the kernel as well
            var, mean = torch.var_mean(part.float().flatten(2), 2, correction=0)
            return Moments(n, wide(mean), wide(var) * n)
        zeros = torch.zeros(2, part.shape[1], device=part.device)  # float32 makes the result so
        made = [torch.batch_norm_update_stats(x, *zeros.clone(), 1.0) for x in part.split(1)]
        mean, var = (wide(torch.stack(values)) for values in zip(*made, strict=True))
        return Moments(n, mean, var * n)

    @staticmethod
    def unknown(B: int, C: int, device: torch.device) -> Moments:
        """Return placeholder moments of zeros, for a map of a rehearsal."""
        zeros = wide(torch.zeros(B, C, device=device))
        return Moments(1, zeros, zeros)

    @staticmethod
    def merged(parts: Sequence[Moments]) -> Moments:
        """Merge the moments of several strips into those of all their positions."""
        n = sum(part.n for part in parts)
        mean = sum(part.mean * part.n for part in parts) / n
        spread = sum(part.spread + part.n * (part.mean - mean).square() for part in parts)
        return Moments(n, mean, spread)

    @staticmethod
    def gathered(parts: Iterable[Moments]) -> Moments:
        """Merge the moments of strips as they arrive.

        If the small tensors of every strip were kept to the end, they would fragment the memory
        that the large ones free, and malloc could not reuse it.
        """
        return functools.reduce(lambda made, part: Moments.merged([made, part]), parts)

    @staticmethod
    def joined(parts: Sequence[Moments], dim: int) -> Moments:
        """Return the moments of maps concatenated along pictures (dim 0) or channels (dim 1)."""
        mean = torch.cat([part.mean for part in parts], dim)
        return Moments(parts[0].n, mean, torch.cat([part.spread for part in parts], dim))

    def grouped(self, groups: int) -> tuple[Tensor, Tensor]:
        """Return the mean and the variance of each group of channels, (B, groups, 1)."""
        means = self.mean.unflatten(1, (groups, -1))
        spreads = self.spread.unflatten(1, (groups, -1))
        mean = means.mean(2, keepdim=True)
        total = (spreads + self.n * (means - mean).square()).sum(2, keepdim=True)
        return mean, total / (self.n * means.shape[2])
