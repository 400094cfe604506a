"""The time steps that a sampler visits, and the coefficients of the updates between them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ldm.diffusion.schedule import NoiseSchedule

FEW = 10  # with fewer steps the published grid starts below nine tenths of the schedule


def ddim_timesteps(steps: int, length: int) -> list[int]:
    """Return the time steps that DDIM and PLMS visit, falling.

    From `FEW` steps on this is the published grid, every (length // steps)-th time step shifted by
    one, if it has `steps` entries below `length`; otherwise `steps` evenly spaced ones end at 1, or
    at 0 if steps is `length`.

    With fewer steps the published grid starts far below `length`, where x_T, pure noise, does not
    belong: with 1 step at t = 1. Then evenly spaced ones start at length - 1 and end above 1
    ("trailing", arXiv:2305.08891, Sec. 3.3), since a step from t = 1 would change next to nothing.

    Raises:
        ValueError: If steps is not in 1..length.
    """
    _check_steps(steps, length)
    if steps < FEW:
        return _trailing(steps, length)
    published = published_timesteps(steps, length)
    if len(published) == steps and published[0] < length:
        return published
    return _evenly_spaced(steps, length)


def solver_timesteps(steps: int, length: int) -> list[int]:
    """Return the time steps that DPM-Solver++ and UniPC visit, falling.

    They are evenly spaced and start at length - 1: the published grid starts below, and what is
    wrong there outweighs what these samplers gain by their order. They end at 1, or at 0 if `steps`
    is `length`; up to `FEW` of them above it, see `ddim_timesteps`.

    Raises:
        ValueError: If steps is not in 1..length.
    """
    _check_steps(steps, length)
    return _trailing(steps, length) if steps <= FEW else _evenly_spaced(steps, length)


def published_timesteps(steps: int, length: int) -> list[int]:
    """Return the published samplers' grid; it may have more than `steps` entries.

    That happens if `steps` does not divide `length`.
    """
    return [t + 1 for t in range(0, length, length // steps)][::-1]


def ddpm_timesteps(steps: int, length: int) -> list[int]:
    """Return `steps` evenly spaced time steps from length - 1 down to 0.

    Raises:
        ValueError: If steps is not in 1..length.
    """
    _check_steps(steps, length)
    if steps == 1:
        return [length - 1]
    return [round(i * (length - 1) / (steps - 1)) for i in range(steps)][::-1]


def timesteps_of(sampler: str, steps: int, length: int) -> list[int]:
    """Return the time steps that a sampler visits by default, falling.

    Raises:
        ValueError: If steps is not in 1..length.
    """
    return _GRIDS.get(sampler, ddim_timesteps)(steps, length)


_GRIDS = {"ddpm": ddpm_timesteps, "dpmpp_2m": solver_timesteps, "unipc": solver_timesteps}


def last_timesteps(sampler: str, steps: int, count: int, share: float, length: int) -> list[int]:
    """Return the last `count` time steps of a sampler, for a picture that it starts from.

    With fewer steps than `FEW`, whose last time step is far from 0, and where the last time step
    alone, t = 0 or 1, would be left, they spread over the last `share` of the schedule instead, so
    that the picture is noised as much as was asked for.

    Args:
        sampler: Name of the sampler.
        steps: Time steps that it would visit in all.
        count: Of those, how many are left.
        share: Of the schedule, 0 to 1.
        length: Length of the schedule.

    Raises:
        ValueError: If steps is not in 1..length.
    """
    last = timesteps_of(sampler, steps, length)[-count:]
    if steps >= FEW and last[0] > 1:
        return last
    # from t = 0 next to nothing would change
    top = min(length, max(count + 1, round(share * length)))
    return ddpm_timesteps(count, top) if sampler == "ddpm" else _trailing(count, top)


def _evenly_spaced(steps: int, length: int) -> list[int]:
    """Return evenly spaced time steps from length - 1 to 1, or to 0 if steps is `length`."""
    first = min(1, length - steps)
    gap = (length - 1 - first) / (steps - 1)
    return [first + round(i * gap) for i in range(steps)][::-1]


def _trailing(steps: int, length: int) -> list[int]:
    """Return evenly spaced time steps that start at length - 1 and end above 0."""
    return [round(length - i * length / steps) - 1 for i in range(steps)]


@dataclass(frozen=True)
class Interval:
    """One update from time step t to the next lower one, s, with alpha-bar at both.

    At both, x = signal x0 + sigma eps (DDPM Eq. 4).
    """

    index: int
    total: int  # number of updates
    t: int
    a_t: float  # alpha-bar at t
    a_s: float  # alpha-bar at s

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
        """Half of the log signal-to-noise ratio at t."""
        return 0.5 * math.log(self.a_t / (1 - self.a_t))

    @property
    def lambda_s(self) -> float:
        return 0.5 * math.log(self.a_s / (1 - self.a_s)) if self.a_s < 1 else math.inf

    def ddim_sigma(self, eta: float) -> float:
        """Return sigma of DDIM Eq. 16."""
        return eta * math.sqrt((1 - self.a_s) / (1 - self.a_t) * (1 - self.a_t / self.a_s))

    def predict_x0(self, x: Tensor, e: Tensor) -> Tensor:
        """Predict x0 from x at t and its noise e (DDIM Eq. 9)."""
        return (x - self.sigma_t * e) / self.signal_t

    def ddim(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Do the deterministic update (DDIM Eq. 12 with sigma 0); return x at s, and x0."""
        x0 = self.predict_x0(x, e)
        return self.signal_s * x0 + self.sigma_s * e, x0


def intervals(
    schedule: NoiseSchedule,
    steps: int,
    timesteps: Sequence[int] | None,
    a_end: float | None = None,
) -> Iterator[Interval]:
    """Yield the updates over a falling grid; the last one ends at `a_end`, None: alpha-bar_0.

    The published DDIM and PLMS samplers end at alpha-bar_0, not at 1. A last step at t = 0 always
    ends at 1.

    Raises:
        ValueError: If steps or timesteps are out of range, or timesteps do not fall.
    """
    if timesteps is None:
        timesteps = ddim_timesteps(steps, schedule.length)
    timesteps = falling(timesteps, schedule.length)
    a = schedule.alphas_cumprod.tolist()
    ends = [a[s] for s in timesteps[1:]] + [a[0] if a_end is None else a_end]
    for index, (t, a_s) in enumerate(zip(timesteps, ends, strict=True)):
        # from t = 0 an update to alpha-bar_0 would change nothing, so it goes to the picture
        yield Interval(index, len(timesteps), t, a[t], a_s if t > 0 else 1.0)


def _check_steps(steps: int, length: int) -> None:
    if not 1 <= steps <= length:
        raise ValueError(f"steps must be in 1..{length}, got {steps}")


def falling(timesteps: Iterable[int], length: int) -> list[int]:
    """Return a grid of time steps, which may be a tensor or an array, as a list.

    Raises:
        ValueError: If there are none, or they do not fall within the schedule.
        TypeError: If they are no whole numbers.
    """
    grid = [*map(operator.index, timesteps)]
    falls = all(s < t for t, s in itertools.pairwise(grid))
    if not grid or not falls or grid[0] >= length or grid[-1] < 0:
        raise ValueError(f"timesteps must fall within {length - 1}..0, got {grid}")
    return grid
