"""Samplers whose updates depend on the newest prediction alone: DDIM and DDPM."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ldm.diffusion.samplers.step import Eps, Noise, Step, batch_t, begin
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import ddpm_timesteps, intervals

Correct = Callable[[Tensor], Tensor]  # x0 -> x0
BeforeStep = Callable[[int, int, Tensor], Tensor]  # step index, t, x_t -> x_t


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
    x, left = begin(x_T, after, list(intervals(schedule, steps, timesteps)))
    for step in left:
        if before_step is not None:
            x = before_step(step.index, step.t, x)
        e = eps(x, batch_t(x, step.t))
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
    x, left = begin(x_T, after, list(intervals(schedule, steps, timesteps, 1.0)))
    for step in left:
        e = eps(x, batch_t(x, step.t))
        x0 = step.predict_x0(x, e)
        beta = 1 - step.a_t / step.a_s
        # DDPM Eq. 7
        mean = step.signal_s * beta / (1 - step.a_t) * x0
        x = mean + math.sqrt(1 - beta) * (1 - step.a_s) / (1 - step.a_t) * x
        if step.index < step.total - 1:
            spread = beta if variance == "beta" else beta * (1 - step.a_s) / (1 - step.a_t)
            x = x + math.sqrt(spread) * noise(step.index)
        yield Step(step.index, step.total, step.t, x, x0)


def _check_eta(eta: float, noise: Noise | None) -> None:
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in 0..1, got {eta}")
    if eta > 0 and noise is None:
        raise ValueError("eta above 0 needs noise")
