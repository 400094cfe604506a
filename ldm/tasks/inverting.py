"""DDIM inversion of the picture to start from, and what it shares with the steps that follow."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor

from ldm.canvas.windows import windowed
from ldm.canvas.wrapped import wrapped
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import Denoise, conditioned
from ldm.diffusion.inversion import EVALUATIONS, ddim_inversion
from ldm.diffusion.samplers import Step
from ldm.diffusion.timesteps import last_timesteps, timesteps_of
from ldm.events import Progress
from ldm.tasks.covering import Covered, NetworkTiming, RunContext, Stopwatch, pausing
from ldm.tasks.settings import Sampling


def denoiser_of(on: Covered, sampling: Sampling) -> Denoise:
    """Return the denoiser on the whole canvas, in windows if planned, and with edges that meet."""
    denoise = on.model.denoise
    if on.plan.windows is not None:
        denoise = windowed(denoise, on.plan.windows)
    return wrapped(denoise, sampling.wrap)


def timesteps_on(on: Covered, sampling: Sampling, start: Tensor | None) -> list[int]:
    """Return the time steps that the sampler visits, the last ones if it starts from latents."""
    about, length = (sampling.sampler, sampling.steps), on.model.schedule.length
    if start is not None and sampling.image is not None:
        return last_timesteps(*about, sampling.resampled_steps, sampling.strength, length)
    timesteps = timesteps_of(*about, length)
    return timesteps if start is None else timesteps[-sampling.resampled_steps :]


def own_noise(
    on: Covered, sampling: Sampling, uncond: Conditioning, start: Tensor, context: RunContext | None
) -> Generator[Progress, None, Tensor]:
    """Return the noise (1, C, h, w) in the latents to start from, by DDIM inversion.

    Under the empty or negative condition, from which guidance then leads away: what the condition
    does not ask to change stays as it is.
    """
    schedule, timesteps = on.model.schedule, timesteps_on(on, sampling, start)
    eps = conditioned(denoiser_of(on, sampling), uncond.expand(1))
    stopwatch, start, total = Stopwatch(), start.float(), len(timesteps)
    steps = ddim_inversion(eps, start, schedule, timesteps=timesteps)

    def inverted() -> Generator[Progress, None, Step]:
        for index in range(total):
            at = Progress("inverting", index, total)
            yield at
            step = yield from pausing(lambda: next(steps), on.space, lambda _: at)  # noqa: B023
        return step

    step = yield from stopwatch.timed(inverted())
    if context is not None:
        one = replace(sampling, seeds=sampling.seeds[:1], guidance_scale=1.0)
        context.timings.append(timing_of(on, one, EVALUATIONS * total, stopwatch.seconds))
    t = torch.full((1,), timesteps[0], device=start.device)
    return schedule.predict_eps(step.x_t, t, start)


def timing_of(on: Covered, sampling: Sampling, steps: int, seconds: float) -> NetworkTiming:
    """Return the work of so many steps of a batch and the seconds that one evaluation took."""
    h, w = sampling.height // on.model.factor, sampling.width // on.model.factor
    h, w = sampling.wrap.size(h, w)
    pictures, passes = len(sampling.seeds), 1 if sampling.guidance_scale == 1 else 2
    windows = on.plan.windows
    seen = h * w if windows is None else math.prod(windows.size)
    times = steps * (1 if windows is None else len(windows.corners(h, w)))
    return NetworkTiming("unet", pictures, seen, seconds / times, times, passes)
