"""Which time steps a sampler visits, and what lies between two of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ldm.diffusion.schedule import NoiseSchedule


def ddim_timesteps(steps: int, length: int) -> list[int]:
    """The visited time steps, falling.

    The published grid, every (length // steps)-th step shifted by one, wherever it has `steps`
    entries below `length`; else `steps` evenly spaced ones that end at 1 (at 0 for all of them).

    Raises:
        ValueError: If steps is not in 1..length.
    """
    _check_steps(steps, length)
    published = published_timesteps(steps, length)
    if len(published) == steps and published[0] < length:
        return published
    if steps == 1:
        return [length - 1]
    first = min(1, length - steps)
    gap = (length - 1 - first) / (steps - 1)
    return [first + round(i * gap) for i in range(steps)][::-1]


def published_timesteps(steps: int, length: int) -> list[int]:
    """The grid of the published samplers: more than `steps` where it does not divide `length`."""
    return [t + 1 for t in range(0, length, length // steps)][::-1]


def ddpm_timesteps(steps: int, length: int) -> list[int]:
    """`steps` evenly spaced time steps from length - 1 down to 0.

    Raises:
        ValueError: If steps is not in 1..length.
    """
    _check_steps(steps, length)
    if steps == 1:
        return [length - 1]
    return [round(i * (length - 1) / (steps - 1)) for i in range(steps)][::-1]


def timesteps_of(sampler: str, steps: int, length: int) -> list[int]:
    """The time steps that a sampler visits when it is left to itself, falling.

    Raises:
        ValueError: If steps is not in 1..length.
    """
    return (ddpm_timesteps if sampler == "ddpm" else ddim_timesteps)(steps, length)


@dataclass(frozen=True)
class Interval:
    """One update from time step t to the next lower one, s: alpha-bar at both ends.

    x_t = signal x0 + sigma eps at either of them (DDPM Eq. 4).
    """

    index: int
    total: int  # updates
    t: int
    a_t: float  # alpha-bar at t
    a_s: float  # and at s

    @property
    def signal_t(self) -> float:
        return math.sqrt(self.a_t)

    @property
    def sigma_t(self) -> float:
        return math.sqrt(1 - self.a_t)

    @property
    def signal_s(self) -> float:
        return math.sqrt(self.a_s)

    @property
    def sigma_s(self) -> float:
        return math.sqrt(1 - self.a_s)

    @property
    def lambda_t(self) -> float:
        """Half the log signal-to-noise ratio."""
        return 0.5 * math.log(self.a_t / (1 - self.a_t))

    @property
    def lambda_s(self) -> float:
        return 0.5 * math.log(self.a_s / (1 - self.a_s)) if self.a_s < 1 else math.inf

    def ddim_sigma(self, eta: float) -> float:
        """DDIM Eq. 16."""
        return eta * math.sqrt((1 - self.a_s) / (1 - self.a_t) * (1 - self.a_t / self.a_s))

    def predict_x0(self, x: Tensor, e: Tensor) -> Tensor:
        """The picture in x if its noise is e (DDIM Eq. 9)."""
        return (x - self.sigma_t * e) / self.signal_t

    def ddim(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """The deterministic update (DDIM Eq. 12 with sigma 0): x at s, and x0."""
        x0 = self.predict_x0(x, e)
        return self.signal_s * x0 + self.sigma_s * e, x0


def intervals(
    schedule: NoiseSchedule,
    steps: int,
    timesteps: Sequence[int] | None,
    a_end: float | None = None,
) -> Iterator[Interval]:
    """The updates over a falling grid; the last one ends at `a_end`, None for alpha-bar_0.

    Ending at alpha-bar_0 rather than at 1 is what the published DDIM and PLMS samplers do.
    """
    if timesteps is None:
        timesteps = ddim_timesteps(steps, schedule.length)
    _check_falling(timesteps, schedule.length)
    a = schedule.alphas_cumprod.tolist()
    ends = [a[s] for s in timesteps[1:]] + [a[0] if a_end is None else a_end]
    for index, (t, a_s) in enumerate(zip(timesteps, ends, strict=True)):
        # visiting t = 0 itself leaves nothing between alpha-bar_0 and the end: go to the picture
        yield Interval(index, len(timesteps), t, a[t], a_s if t > 0 else 1.0)


def _check_steps(steps: int, length: int) -> None:
    if not 1 <= steps <= length:
        raise ValueError(f"steps must be in 1..{length}, got {steps}")


def _check_falling(timesteps: Sequence[int], length: int) -> None:
    falls = all(s < t for t, s in itertools.pairwise(timesteps))
    if not timesteps or not falls or timesteps[0] >= length or timesteps[-1] < 0:
        raise ValueError(f"timesteps must fall within {length - 1}..0, got {list(timesteps)}")
