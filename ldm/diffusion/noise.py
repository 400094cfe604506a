"""Noise that is tied to places: the value at (seed, step, channel, y, x) is always the same.

The generator is counter-based: Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3") with key (seed, step) and counter (x, y, channel, 0), made normal by Box-Muller in
float64. So a picture's noise does not depend on batch, crop, canvas size or device, and a canvas
that grows keeps the noise that it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
ROUNDS = 10
LARGEST = 2**32 - 1
LOW = np.uint64(LARGEST)
SHIFT = np.uint64(32)


@dataclass(frozen=True)
class InterpolatedSeed:
    """A seed whose noise is interpolated spherically towards that of other seeds, in turn.

    In so many dimensions independent normal noises are nearly orthogonal: weights cos and sin of a
    share of the right angle keep the standard deviation at 1. Each place is interpolated on its
    own, so the noise is still tied to places.
    """

    seed: int
    turns: tuple[tuple[int, float], ...]  # other seed, and share of the right angle, 0 to 1


Seed = int | InterpolatedSeed


def philox(counter: tuple[np.ndarray, ...], key: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Philox-4x32-10: four uint32 counter words and two key words -> four random uint32."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint32) for c in counter)
    k0, k1 = np.uint32(key[0]), np.uint32(key[1])
    with np.errstate(over="ignore"):
        for _ in range(ROUNDS):
            p0 = c0.astype(np.uint64) * MULTIPLIERS[0]
            p1 = c2.astype(np.uint64) * MULTIPLIERS[1]
            high0, low0 = (p0 >> SHIFT).astype(np.uint32), (p0 & LOW).astype(np.uint32)
            high1, low1 = (p1 >> SHIFT).astype(np.uint32), (p1 & LOW).astype(np.uint32)
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
            k0, k1 = k0 + WEYL[0], k1 + WEYL[1]
    return c0, c1, c2, c3


def normal(
    seed: Seed, step: int, shape: tuple[int, int, int], origin: tuple[int, int] = (0, 0)
) -> Tensor:
    """Return the standard normal noise of one picture.

    Args:
        seed: 0 to 2^32 - 1, or a seed with variations.
        step: Index of the draw, 0 to 2^32 - 1; 0 is the starting noise.
        shape: (C, h, w).
        origin: (y, x) of the first cell; negative if the canvas has grown upwards or to the left.

    Returns:
        (C, h, w) float32 on the CPU; the same numbers at the same places for any shape.

    Raises:
        ValueError: If seed or step is no whole number or out of range.
    """
    if isinstance(seed, InterpolatedSeed):
        values = normal(seed.seed, step, shape, origin)
        for other, share in seed.turns:
            values = slerp(values, normal(other, step, shape, origin), share)
        return values
    for name, value in (("seed", seed), ("step", step)):
        if not isinstance(value, Integral) or not 0 <= value <= LARGEST:
            raise ValueError(f"{name} must be a whole number in 0..{LARGEST}, got {value}")
    C, h, w = shape
    x = _places(origin[1], w)[None, None, :]
    y = _places(origin[0], h)[None, :, None]
    c = np.arange(C, dtype=np.uint32)[:, None, None]
    x, y, c = np.broadcast_arrays(x, y, c)
    a, b, _, _ = philox((x, y, c, np.zeros_like(c)), (seed, step))
    # in (0, 1], so that the logarithm is finite
    uniform = (a.astype(np.float64) + 1.0) / 4294967296.0
    angle = b.astype(np.float64) * (2.0 * np.pi / 4294967296.0)
    values = np.sqrt(-2.0 * np.log(uniform)) * np.cos(angle)
    return torch.from_numpy(values.astype(np.float32))


def slerp(noise: Tensor, other: Tensor, share: float) -> Tensor:
    """Interpolate noise spherically towards another one; `share`: of a right angle, 0 to 1."""
    if share == 1:
        return other.expand_as(noise)
    angle = share * math.pi / 2
    return math.cos(angle) * noise + math.sin(angle) * other


def _places(start: int, count: int) -> np.ndarray:
    """Return start, start + 1, ... as uint32 counters; -1 wraps to the largest."""
    return np.arange(start, start + count, dtype=np.int64).astype(np.uint32)


def batch_noise(
    seeds: Iterable[Seed], step: int, shape: tuple[int, int, int], temperature: float = 1.0
) -> Tensor:
    """Stack `temperature * normal(seed, step, shape)` of several pictures to (B, C, h, w)."""
    return temperature * torch.stack([normal(seed, step, shape) for seed in seeds])
