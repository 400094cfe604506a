"""Noise schedules: how much of the picture is left at each time step (DDPM Sec. 2).

T: length of the schedule. Tables are computed in float64 and kept as float32, as in the published
models. They stay on the CPU, so that reading a coefficient does not wait for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)  # tensors cannot be compared as one value
class NoiseSchedule:
    """The variances beta_t of the forward process, t = 0 .. T - 1, and what follows from them.

    Args:
        betas64: beta_t, (T,) float64, T at least 1, each between 0 and 1.

    Raises:
        ValueError: If they are none of this.
    """

    betas64: Tensor
    _levels: dict[torch.device, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        betas = self.betas64
        if betas.ndim != 1 or not len(betas):
            raise ValueError(f"betas must be (T,), T at least 1, got shape {tuple(betas.shape)}")
        if not ((betas > 0) & (betas < 1)).all():  # nan is neither
            least, most = (float(bound) for bound in betas.aminmax())
            raise ValueError(f"betas must lie between 0 and 1, got {least:g} to {most:g}")

    @classmethod
    def linear(cls, start: float, end: float, length: int) -> NoiseSchedule:
        """beta_t linear in t (DDPM Sec. 4).

        Raises:
            ValueError: If `start` or `end` is not between 0 and 1, or `length` is less than 1.
        """
        _check_length(length)
        return cls(torch.linspace(start, end, length, dtype=torch.float64))

    @classmethod
    def scaled_linear(cls, start: float, end: float, length: int) -> NoiseSchedule:
        """sqrt(beta_t) linear in t; the published latent diffusion models call this linear.

        Raises:
            ValueError: If `start` or `end` is not between 0 and 1, or `length` is less than 1.
        """
        _check_length(length)
        if min(start, end) < 0:  # they have no root
            raise ValueError(f"betas must lie between 0 and 1, got {start:g} to {end:g}")
        roots = torch.linspace(math.sqrt(start), math.sqrt(end), length, dtype=torch.float64)
        return cls(roots.square())

    @classmethod
    def cosine(cls, length: int, offset: float = 0.008) -> NoiseSchedule:
        """Squared-cosine alphas_cumprod (Nichol & Dhariwal 2021, Eq. 17), beta at most 0.999.

        Raises:
            ValueError: If `length` is less than 1, or noise does not grow with this `offset`.
        """
        _check_length(length)
        t = torch.arange(length + 1, dtype=torch.float64) / length
        level = torch.cos((t + offset) / (1 + offset) * math.pi / 2).square()
        return cls((1 - level[1:] / level[:-1]).clamp(max=0.999))

    @property
    def length(self) -> int:
        """Number of time steps, T."""
        return len(self.betas64)

    @cached_property
    def _cumprod64(self) -> Tensor:
        return torch.cumprod(1 - self.betas64, 0)

    @cached_property
    def betas(self) -> Tensor:
        """beta_t."""
        return self.betas64.float()

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """alpha-bar_t = prod (1 - beta) (DDPM Eq. 4)."""
        return self._cumprod64.float()

    @cached_property
    def posterior_variance(self) -> Tensor:
        """beta-tilde_t, the variance of q(x_t-1 | x_t, x0) (DDPM Eq. 7)."""
        return self._posterior_variance64.float()

    @cached_property
    def posterior_log_variance_clipped(self) -> Tensor:
        """log beta-tilde_t, with beta-tilde_t clamped to at least 1e-20."""
        return self._posterior_variance64.clamp_min(1e-20).log().float()

    @cached_property
    def posterior_mean_coef1(self) -> Tensor:
        """Weight of x0 in the mean of q(x_t-1 | x_t, x0) (DDPM Eq. 7)."""
        before = self._before64
        return (self.betas64 * before.sqrt() / (1 - self._cumprod64)).float()

    @cached_property
    def posterior_mean_coef2(self) -> Tensor:
        """Weight of x_t in the mean of q(x_t-1 | x_t, x0) (DDPM Eq. 7)."""
        alphas = 1 - self.betas64
        return ((1 - self._before64) * alphas.sqrt() / (1 - self._cumprod64)).float()

    @property
    def _before64(self) -> Tensor:
        """alpha-bar_t-1; 1 at t = 0."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self._cumprod64[:-1]])

    @property
    def _posterior_variance64(self) -> Tensor:
        return self.betas64 * (1 - self._before64) / (1 - self._cumprod64)

    def check(self, t: Tensor | int) -> None:
        """Check time steps: from the end of the tables a negative one would read another's level.

        Those on a device are not looked at, which would wait for it.

        Raises:
            ValueError: If one is not in 0..T - 1.
        """
        if isinstance(t, int):
            least = most = t
        elif (t := torch.as_tensor(t)).device.type == "cpu" and t.numel():
            least, most = (int(bound) for bound in t.aminmax())
        else:
            return
        if least < 0 or most >= self.length:
            wrong = least if least < 0 else most
            raise ValueError(f"time steps must be in 0..{self.length - 1}, got {wrong}")

    def snr(self, t: Tensor | int) -> Tensor:
        """Signal-to-noise ratio alpha-bar_t / (1 - alpha-bar_t), in the shape of t.

        Here and below, a time step outside of the schedule is a ValueError, see `check`.
        """
        self.check(t)
        level = self._level(torch.as_tensor(t))
        return level / (1 - level)

    def q_sample(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """x_t = sqrt(alpha-bar_t) x0 + sqrt(1 - alpha-bar_t) noise (DDPM Eq. 4).

        Here and below, t is (B,), or one time step for all.
        """
        signal, sigma = self._scales(t, x0)
        return signal * x0 + sigma * noise

    def recentred(self, x_t: Tensor, t: Tensor | int, centre: Tensor) -> Tensor:
        """Return x_t for x0 - centre with the same noise: x_t - sqrt(alpha-bar_t) centre."""
        signal, _ = self._scales(t, x_t)
        return x_t - signal * centre.to(x_t.dtype)

    def predict_x0(self, x_t: Tensor, t: Tensor | int, eps: Tensor) -> Tensor:
        """Predict x0 from x_t and its noise (DDPM Eq. 15)."""
        signal, sigma = self._scales(t, x_t)
        return (x_t - sigma * eps) / signal

    def predict_eps(self, x_t: Tensor, t: Tensor | int, x0: Tensor) -> Tensor:
        """Return the noise in x_t, given x0."""
        signal, sigma = self._scales(t, x_t)
        return (x_t - signal * x0) / sigma

    def velocity(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """v = sqrt(alpha-bar_t) noise - sqrt(1 - alpha-bar_t) x0 (arXiv:2202.00512, Sec. 4)."""
        signal, sigma = self._scales(t, x0)
        return signal * noise - sigma * x0

    def eps_from_velocity(self, x_t: Tensor, t: Tensor | int, v: Tensor) -> Tensor:
        """Return the noise in x_t, given v."""
        signal, sigma = self._scales(t, x_t)
        return signal * v + sigma * x_t

    def _level(self, t: Tensor) -> Tensor:
        """alpha-bar_t; the table is copied once per device, since each copy waits for it."""
        if t.device not in self._levels:
            self._levels[t.device] = self.alphas_cumprod.to(t.device)
        return self._levels[t.device][t]

    def _scales(self, t: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha-bar_t) and sqrt(1 - alpha-bar_t), (B, 1, 1, 1), in the type of `like`."""
        self.check(t)
        at = torch.as_tensor(t, device=like.device)
        level = self._level(at).view(-1, *[1] * (like.ndim - 1))
        return level.sqrt().to(like.dtype), (1 - level).sqrt().to(like.dtype)


def _check_length(length: int) -> None:
    if length < 1:
        raise ValueError(f"a schedule must have at least 1 time step, got {length}")
