"""DDIM inversion: the noise from which a deterministic sampler makes a given picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ldm.diffusion.samplers import Eps, Step
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import intervals


@torch.no_grad()
def ddim_inversion(
    eps: Eps, x0: Tensor, schedule: NoiseSchedule, *, timesteps: Sequence[int]
) -> Iterator[Step]:
    """Run DDIM backwards, from a picture to its noise (arXiv:2010.02502, Sec. 4.3).

    An update from t to s is solved for x_t with the noise prediction at x_s, which differs little
    from that at x_t if the steps are small. DDIM with the same `eps` leads back to about x0.

    Args:
        eps: (x_t, t) -> predicted noise; t is (B,) int64.
        x0: Latents, (B, C, h, w).
        schedule: Of the model's training.
        timesteps: The time steps that the sampler will visit, falling.

    Yields:
        A Step after every update, the last with x_t at timesteps[0].

    Raises:
        ValueError: If `timesteps` do not fall within the schedule.
    """
    x = x0
    updates = list(intervals(schedule, len(timesteps), timesteps))[::-1]
    for index, step in enumerate(updates):
        e = eps(x, torch.full((len(x),), step.t, dtype=torch.int64, device=x.device))
        expected = (x - step.sigma_s * e) / step.signal_s
        x = step.signal_t * expected + step.sigma_t * e
        yield Step(index, len(updates), step.t, x, expected)
