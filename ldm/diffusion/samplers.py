"""Samplers: pure generators over a noise prediction, from x_T to x0.

A sampler knows no model, device or progress bar. It yields a Step after every update, and closing
the generator stops it; a new one can continue `after` any Step with the same result. Coefficients
are read from the schedule's CPU tables as Python floats, so a step never waits for the device.

B, C, h, w: batch, latent channels, latent rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import Interval, ddpm_timesteps, intervals

Eps = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]  # step index -> (B, C, h, w) standard normal
Correct = Callable[[Tensor], Tensor]  # x0 -> x0
BeforeStep = Callable[[int, int, Tensor], Tensor]  # step index, t, x_t -> x_t


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


@torch.no_grad()
def ddim(  # noqa: PLR0913  (all but three have defaults)
    eps: Eps,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int = 50,
    eta: float = 0.0,
    noise: Noise | None = None,
    timesteps: Sequence[int] | None = None,
    after: Step | None = None,
    correct_x0: Correct | None = None,
    before_step: BeforeStep | None = None,
) -> Iterator[Step]:
    """Denoising diffusion implicit models (arXiv:2010.02502, Eq. 12; sigma from Eq. 16).

    Args:
        eps: (x_t, t) -> predicted noise; t is (B,) int64.
        x_T: Starting latents, (B, C, h, w), standard normal.
        schedule: Noise schedule of the model's training.
        steps: Number of visited time steps, 1 to schedule.length.
        eta: 0 deterministic, 1 as noisy as DDPM.
        noise: Step index -> fresh noise; needed for eta > 0.
        timesteps: The visited time steps, falling; None: `ddim_timesteps(steps, length)`.
        after: Continue after this Step of the same run; x_T is then not used.
        correct_x0: Changes each predicted x0 before the update, e.g. quantises it.
        before_step: Changes x_t before each update, e.g. restores the known part of a picture.

    Yields:
        A Step after every update; the last x_t is the sample.

    Raises:
        ValueError: If steps or eta is out of range, or eta > 0 without noise.
    """
    _check_eta(eta, noise)
    x, left = _begin(x_T, after, list(intervals(schedule, steps, timesteps)))
    for step in left:
        if before_step is not None:
            x = before_step(step.index, step.t, x)
        e = eps(x, _batch_t(x, step.t))
        x0 = step.predict_x0(x, e)
        if correct_x0 is not None:
            x0 = correct_x0(x0)
        sigma = step.ddim_sigma(eta)
        x = step.signal_s * x0 + math.sqrt(max(1 - step.a_s - sigma**2, 0.0)) * e
        if sigma > 0:
            x = x + sigma * noise(step.index)
        yield Step(step.index, step.total, step.t, x, x0)


@torch.no_grad()
def ddpm(  # noqa: PLR0913  (those of `ddim`)
    eps: Eps,
    x_T: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int = 1000,
    eta: float = 0.0,
    noise: Noise | None = None,
    timesteps: Sequence[int] | None = None,
    after: Step | None = None,
    variance: str = "posterior",
) -> Iterator[Step]:
    """Ancestral sampling (DDPM Alg. 2) over any falling subset of the time steps.

    Between visited steps s < t the one-step beta becomes 1 - alpha-bar_t / alpha-bar_s; the last
    update goes to x0 itself, without noise.

    Args:
        eps: (x_t, t) -> predicted noise; t is (B,) int64.
        x_T: Starting latents, (B, C, h, w), standard normal.
        schedule: Noise schedule of the model's training.
        steps: Number of visited time steps, 1 to schedule.length.
        eta: Must be 0; all samplers have this argument.
        noise: Step index -> fresh noise.
        timesteps: The visited time steps, falling; None: `ddpm_timesteps(steps, length)`.
        after: Continue after this Step of the same run; x_T is then not used.
        variance: "posterior" (beta-tilde) or "beta", the two choices of DDPM Sec. 3.2.

    Yields:
        A Step after every update; the last x_t is the sample.

    Raises:
        ValueError: If steps, eta or variance is out of range, or noise is missing.
    """
    if eta != 0:
        raise ValueError(f"ddpm takes its own variance: eta must be 0, got {eta}")
    if variance not in ("posterior", "beta"):
        raise ValueError(f"variance must be posterior or beta, got {variance!r}")
    if noise is None:
        raise ValueError("ddpm needs noise for its steps")
    if timesteps is None:
        timesteps = ddpm_timesteps(steps, schedule.length)
    x, left = _begin(x_T, after, list(intervals(schedule, steps, timesteps, 1.0)))
    for step in left:
        e = eps(x, _batch_t(x, step.t))
        x0 = step.predict_x0(x, e)
        beta = 1 - step.a_t / step.a_s
        # DDPM Eq. 7
        mean = step.signal_s * beta / (1 - step.a_t) * x0
        x = mean + math.sqrt(1 - beta) * (1 - step.a_s) / (1 - step.a_t) * x
        if step.index < step.total - 1:
            spread = beta if variance == "beta" else beta * (1 - step.a_s) / (1 - step.a_t)
            x = x + math.sqrt(spread) * noise(step.index)
        yield Step(step.index, step.total, step.t, x, x0)


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
    if eta != 0:
        raise ValueError(f"plms is deterministic: eta must be 0, got {eta}")
    grid = list(intervals(schedule, steps, timesteps))
    x, left = _begin(x_T, after, grid)
    history = () if after is None else after.memory
    for step in left:
        e = eps(x, _batch_t(x, step.t))
        # a network errs most where there is little noise, and this step would enlarge its error
        second_end = step.total > 1 and step.sigma_s > step.sigma_t / 2
        if not history and not second_end:
            combined = e
        elif not history:
            ahead, _ = step.ddim(x, e)
            next_t = grid[min(step.index + 1, step.total - 1)].t
            combined = (e + eps(ahead, _batch_t(x, next_t))) / 2
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
    and `noise` is not used. The other arguments are those of `ddim`.

    Raises:
        ValueError: If steps is out of range or eta is not 0.
    """
    if eta != 0:
        raise ValueError(f"dpmpp_2m is deterministic: eta must be 0, got {eta}")
    grid = list(intervals(schedule, steps, timesteps))
    x, left = _begin(x_T, after, grid)
    memory = () if after is None else after.memory
    for step in left:
        e = eps(x, _batch_t(x, step.t))
        x0 = step.predict_x0(x, e)
        h = step.lambda_s - step.lambda_t
        data = x0
        last = step.index == step.total - 1
        if memory and not last:
            before = grid[step.index - 1]
            ratio = (before.lambda_s - before.lambda_t) / h
            data = (1 + 1 / (2 * ratio)) * x0 - memory[0] / (2 * ratio)
        x = step.sigma_s / step.sigma_t * x - step.signal_s * math.expm1(-h) * data
        memory = (x0,)
        yield Step(step.index, step.total, step.t, x, x0, memory)


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "plms": plms,
    "ddpm": ddpm,
}
"""Sampler name -> generator."""

HISTORY_LENGTH = {"plms": 3, "dpmpp_2m": 1}
"""Sampler name -> most tensors in a step's `memory`; other samplers keep none."""


def _begin(x_T: Tensor, after: Step | None, grid: list[Interval]) -> tuple[Tensor, list[Interval]]:
    """Return the latents from which a run starts or continues, and the updates that are left."""
    return (x_T, grid) if after is None else (after.x_t, grid[after.index + 1 :])


def _batch_t(x: Tensor, t: int) -> Tensor:
    return torch.full((x.shape[0],), t, dtype=torch.int64, device=x.device)


def _check_eta(eta: float, noise: Noise | None) -> None:
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in 0..1, got {eta}")
    if eta > 0 and noise is None:
        raise ValueError("eta above 0 needs noise")
