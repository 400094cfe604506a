"""Samplers whose updates also depend on earlier predictions: PLMS, DPM-Solver++ and UniPC."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ldm.diffusion.samplers.step import Eps, Noise, Step, batch_t, begin
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import Interval, intervals, solver_timesteps


@torch.no_grad()
def plms(
    eps: Eps,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int = 50,
    eta: float = 0.0,
    noise: Noise | None = None,
    timesteps: Sequence[int] | None = None,
    after: Step | None = None,
) -> Iterator[Step]:
    """Pseudo linear multistep (arXiv:2202.09778, Eq. 12), with the published sampler's start.

    The first step averages the predictions at both of its ends, which takes one more evaluation;
    it is a step of DDIM where the lower end has less than half of the noise, as in the last two
    steps of a picture that is regenerated. Adams-Bashforth steps of orders 2, 3 and 4 follow. The
    sampler is deterministic: `eta` must be 0, and `noise` is not used. The other arguments are
    those of `ddim`.

    Raises:
        ValueError: If steps is out of range or eta is not 0.
    """
    _check_eta("plms", eta)
    grid = list(intervals(schedule, steps, timesteps))
    x, left = begin(x_T, after, grid)
    history = () if after is None else after.memory
    for step in left:
        e = eps(x, batch_t(x, step.t))
        # a network errs most where there is little noise, and this step would enlarge its error
        second_end = step.total > 1 and step.sigma_s > step.sigma_t / 2
        if not history and not second_end:
            combined = e
        elif not history:
            ahead, _ = step.ddim(x, e)
            next_t = grid[min(step.index + 1, step.total - 1)].t
            combined = (e + eps(ahead, batch_t(x, next_t))) / 2
        else:
            combined = _adams_bashforth(e, history)
        history = (e, *history[:2])
        x, x0 = step.ddim(x, combined)
        yield Step(step.index, step.total, step.t, x, x0, history)


def _adams_bashforth(e: Tensor, history: tuple[Tensor, ...]) -> Tensor:
    """Combine the newest prediction with one to three older ones, newest first."""
    weights = {
        1: (3 / 2, -1 / 2),
        2: (23 / 12, -16 / 12, 5 / 12),
        3: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
    }[len(history)]
    return sum(w * h for w, h in zip(weights, [e, *history], strict=True))


@torch.no_grad()
def dpmpp_2m(
    eps: Eps,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int = 20,
    eta: float = 0.0,
    noise: Noise | None = None,
    timesteps: Sequence[int] | None = None,
    after: Step | None = None,
) -> Iterator[Step]:
    """DPM-Solver++(2M) in data prediction (arXiv:2211.01095, Alg. 2).

    The first and the last step are of first order. The sampler is deterministic: `eta` must be 0,
    and `noise` is not used. The other arguments are those of `ddim`, but without `timesteps` it
    visits `solver_timesteps(steps, length)`.

    Raises:
        ValueError: If steps is out of range or eta is not 0.
    """
    _check_eta("dpmpp_2m", eta)
    if timesteps is None:
        timesteps = solver_timesteps(steps, schedule.length)
    grid = list(intervals(schedule, steps, timesteps))
    x, left = begin(x_T, after, grid)
    memory = () if after is None else after.memory
    for step in left:
        e = eps(x, batch_t(x, step.t))
        x0 = step.predict_x0(x, e)
        memory = (x0, *memory[:1])
        x = step.sigma_s / step.sigma_t * x + _share(step) * _ahead(grid, step.index, memory)
        memory = memory[:1]
        yield Step(step.index, step.total, step.t, x, x0, memory)


@torch.no_grad()
def unipc(
    eps: Eps,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int = 10,
    eta: float = 0.0,
    noise: Noise | None = None,
    timesteps: Sequence[int] | None = None,
    after: Step | None = None,
) -> Iterator[Step]:
    """UniPC of order 2 in data prediction, with B(h) = e^h - 1 (arXiv:2302.04867, Alg. 1 and 2).

    Its predictor is `dpmpp_2m`. What a step predicts first corrects the update that led there,
    which takes no further evaluation. The sampler is deterministic: `eta` must be 0, and `noise` is
    not used. The other arguments are those of `dpmpp_2m`.

    Raises:
        ValueError: If steps is out of range or eta is not 0.
    """
    _check_eta("unipc", eta)
    if timesteps is None:
        timesteps = solver_timesteps(steps, schedule.length)
    grid = list(intervals(schedule, steps, timesteps))
    x, left = begin(x_T, after, grid)
    memory = () if after is None else after.memory
    for step in left:
        e = eps(x, batch_t(x, step.t))
        x0 = step.predict_x0(x, e)
        if memory:
            ahead = _ahead(grid, step.index - 1, memory)
            x = x + _share(grid[step.index - 1]) * (_between(grid, step.index, x0, memory) - ahead)
        memory = (x0, *memory[:1])
        x = step.sigma_s / step.sigma_t * x + _share(step) * _ahead(grid, step.index, memory)
        yield Step(step.index, step.total, step.t, x, x0, memory)


def _share(step: Interval) -> float:
    """Return the weight of the mean x0 along an update (arXiv:2211.01095, Eq. 9)."""
    return -step.signal_s * math.expm1(step.lambda_t - step.lambda_s)


def _ahead(grid: Sequence[Interval], index: int, x0s: Sequence[Tensor]) -> Tensor:
    """Predict the mean x0 along update `index` from those at its start and before, newest first.

    It is that at the middle, in half log SNR, of a straight line through two; in the last update
    or with one, the newest itself.
    """
    if len(x0s) == 1 or index == len(grid) - 1:
        return x0s[0]
    step, before = grid[index], grid[index - 1]
    ratio = (before.lambda_s - before.lambda_t) / (step.lambda_s - step.lambda_t)
    return (1 + 1 / (2 * ratio)) * x0s[0] - x0s[1] / (2 * ratio)


def _between(grid: Sequence[Interval], index: int, x0: Tensor, before: Sequence[Tensor]) -> Tensor:
    """Return the mean x0 along the update that led to step `index`, when `x0` is known there.

    Of the parabola through it and the two `before`, newest first; with one, of a straight line at
    its middle. With u = 0 at the start of the update and 1 at its end, lambda = lambda_t + u h, the
    mean is weighted by e^lambda.
    """
    if len(before) == 1:
        return (x0 + before[0]) / 2
    step, earlier = grid[index - 1], grid[index - 2]
    h = step.lambda_s - step.lambda_t
    ratio = (earlier.lambda_s - earlier.lambda_t) / h
    mean_u = -1 / math.expm1(-h) - 1 / h
    mean_u2 = -1 / math.expm1(-h) - 2 / h * mean_u
    to_end, to_earlier = x0 - before[0], before[1] - before[0]
    bent = (to_earlier + ratio * to_end) / (ratio * (1 + ratio))
    return before[0] + mean_u * to_end + (mean_u2 - mean_u) * bent


def _check_eta(name: str, eta: float) -> None:
    if eta != 0:
        raise ValueError(f"{name} is deterministic: eta must be 0, got {eta}")
