"""Progressive lossy coding: what a receiver must be sent to know x_t, and how much it then knows.

The variational bound of the data (DDPM Eq. 5) without its last term is the length of such a code:
x_T costs its divergence from the prior, and each step on the way to t = 0 the divergence of the
true posterior from the model's (DDPM Sec. 4.3, Algorithms 3 and 4). The last term, what the least
noise, that of t = 0, leaves open of the picture, is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ldm.diffusion.guidance import Eps
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import falling


@dataclass(frozen=True)
class Received:
    """What a receiver of x_t has been sent, and what it expects the picture to be.

    Args:
        t: Time step.
        nats: (B,) float64: length of the code of x_t, summed over C, h, w.
        x_t: (B, C, h, w).
        x0: (B, C, h, w): the prediction from x_t.
    """

    t: int
    nats: Tensor
    x_t: Tensor
    x0: Tensor

    @property
    def bits(self) -> Tensor:
        """The length of the code in bits, (B,) float64."""
        return self.nats / math.log(2)


def even_messages(schedule: NoiseSchedule, messages: int) -> list[int]:
    """Return at most so many falling time steps, from T - 1 to 0, evenly spread in log SNR.

    Each message then costs about its share of what the whole step to it tells; evenly spread in t,
    the last ones would cost a multiple. Of those that round to the same time step one is left, so
    even T of them are not all.

    Raises:
        ValueError: If `messages` is not in 2..T.
    """
    if not 2 <= messages <= schedule.length:
        raise ValueError(f"messages must be 2 to {schedule.length}, got {messages}")
    log_snr = _snr(schedule).log()
    wanted = torch.linspace(float(log_snr[-1]), float(log_snr[0]), messages, dtype=torch.float64)
    nearest = (log_snr[None] - wanted[:, None]).abs().argmin(1)
    return sorted(set(nearest.tolist()), reverse=True)


@torch.no_grad()
def progressive_coding(
    eps: Eps,
    x0: Tensor,
    schedule: NoiseSchedule,
    *,
    timesteps: Sequence[int],
    noise: Callable[[int], Tensor],
) -> Iterator[Received]:
    """Send x_0 progressively, in messages x_t at falling time steps.

    The true posterior q(x_s | x_t, x_0) of a step from t to s and the model's, that of its
    predicted x_0, have the same variance (DDPM Eq. 7), so their divergence is
    (SNR_s - SNR_t) / 2 * |x_0 - predicted x_0|^2.

    Args:
        eps: (x_t, t) -> predicted noise, without guidance, which is no likelihood; t is (B,) int64.
        x0: Latents, (B, C, h, w).
        schedule: Of the model's training.
        timesteps: Falling; each more makes the code shorter on average.
        noise: Index of a message -> standard normal (B, C, h, w).

    Yields:
        What is known after each message.

    Raises:
        ValueError: If there are no `timesteps`, or they do not fall within the schedule.
    """
    timesteps = falling(timesteps, schedule.length)
    snr = _snr(schedule)
    nats = _prior(x0.cpu().double(), float(schedule.alphas_cumprod[timesteps[0]]))
    for index, t in enumerate(timesteps):
        at = torch.full((len(x0),), t, dtype=torch.int64, device=x0.device)
        x_t = schedule.q_sample(x0, at, noise(index))
        expected = schedule.predict_x0(x_t, at, eps(x_t, at))
        yield Received(t, nats, x_t, expected)
        if index + 1 < len(timesteps):
            error = (x0 - expected).cpu().double().square().sum((1, 2, 3))  # MPS has no float64
            nats = nats + (snr[timesteps[index + 1]] - snr[t]) / 2 * error


def _snr(schedule: NoiseSchedule) -> Tensor:
    """The signal-to-noise ratio of every time step, (T,) float64."""
    return schedule.snr(torch.arange(schedule.length)).double()


def _prior(x0: Tensor, level: float) -> Tensor:
    """Divergence of q(x_T | x_0), where alpha-bar_T is `level`, from a standard normal: (B,)."""
    variance = torch.tensor(1 - level, dtype=torch.float64)
    return (level * x0.square() + variance - 1 - variance.log()).sum((1, 2, 3)) / 2
