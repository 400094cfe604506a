"""Denoisers made of denoisers: the same signature goes in and comes out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.schedule import NoiseSchedule

Denoise = Callable[[Tensor, Tensor, Conditioning], Tensor]
Eps = Callable[[Tensor, Tensor], Tensor]


def conditioned(denoise: Denoise, cond: Conditioning) -> Eps:
    """(x, t) -> eps under a fixed conditioning."""
    return lambda x, t: denoise(x, t, cond)


def classifier_free(
    denoise: Denoise, cond: Conditioning, uncond: Conditioning, scale: float
) -> Eps:
    """eps_u + scale * (eps_c - eps_u) (Ho & Salimans 2021; LDM App. C), in one pass of 2B.

    Args:
        denoise: (x_t, t, conditioning) -> eps.
        cond: What to follow, for B pictures.
        uncond: The empty or negative condition, for B pictures.
        scale: 1 switches guidance off, and the second half of the batch with it.

    Returns:
        (x_t (B, C, h, w), t (B,)) -> eps.
    """
    if scale == 1:
        return conditioned(denoise, cond)
    both = uncond.cat(cond)

    def eps(x: Tensor, t: Tensor) -> Tensor:
        out = denoise(torch.cat([x, x]), torch.cat([t, t]), both)
        eps_u, eps_c = out.chunk(2)
        return eps_u + scale * (eps_c - eps_u)

    return eps


def as_eps(
    output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule, prediction: str
) -> Tensor:
    """A network's output as the noise in x_t.

    Args:
        output: (B, C, h, w).
        x_t: (B, C, h, w).
        t: (B,) int64.
        schedule: Of the training.
        prediction: What `output` is: "eps", "x0" or "v".

    Raises:
        ValueError: If `prediction` is none of these.
    """
    if prediction == "eps":
        return output
    if prediction == "v":
        return schedule.eps_from_velocity(x_t, t, output)
    if prediction == "x0":
        return schedule.predict_eps(x_t, t, output)
    raise ValueError(f"prediction must be eps, x0 or v, got {prediction!r}")
