"""DDIM inversion: the noise from which a deterministic sampler makes a given picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ldm.diffusion.samplers.step import Eps, Step
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import intervals

EVALUATIONS = 2  # of the noise prediction for each step, by default


@torch.no_grad()
def ddim_inversion(
    eps: Eps,
    x0: Tensor,
    schedule: NoiseSchedule,
    *,
    timesteps: Sequence[int],
    evaluations: int = EVALUATIONS,
) -> Iterator[Step]:
    """Run DDIM backwards, from a picture to its noise (arXiv:2010.02502, Sec. 4.3).

    An update from t to s is solved for x_t, first with the noise prediction at x_s, which differs
    little from that at x_t if the steps are small, then with that at the x_t so found, a
    fixed-point iteration (arXiv:2309.04907). DDIM with the same `eps` leads back to about x0. In
    steps that are not small, the first solution alone is too weak a noise for real pictures: they
    come back whatever the condition says.

    Args:
        eps: (x_t, t) -> predicted noise; t is (B,) int64.
        x0: Latents, (B, C, h, w).
        schedule: Of the model's training.
        timesteps: The time steps that the sampler will visit, falling.
        evaluations: Noise predictions per step, 1 or more.

    Yields:
        A Step after every update, the last with x_t at timesteps[0].

    Raises:
        ValueError: If `timesteps` do not fall within the schedule, or there are no `evaluations`.
    """
    if evaluations < 1:
        raise ValueError(f"evaluations must be 1 or more, got {evaluations}")
    x = x0
    updates = list(intervals(schedule, len(timesteps), timesteps))[::-1]
    for index, step in enumerate(updates):
        t = torch.full((len(x),), step.t, dtype=torch.int64, device=x.device)
        x_t = x
        for _ in range(evaluations):
            e = eps(x_t, t)
            expected = (x - step.sigma_s * e) / step.signal_s
            x_t = step.signal_t * expected + step.sigma_t * e
        x = x_t
        yield Step(index, len(updates), step.t, x, expected)
