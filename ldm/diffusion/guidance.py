"""Guidance: functions that turn a denoiser into another noise prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning, Denoise
from ldm.diffusion.resizing import averaged
from ldm.diffusion.schedule import NoiseSchedule

Eps = Callable[[Tensor, Tensor], Tensor]


def conditioned(denoise: Denoise, cond: Conditioning) -> Eps:
    """Fix the conditioning of a denoiser: return (x, t) -> eps."""
    return lambda x, t: denoise(x, t, cond)


def classifier_free(
    denoise: Denoise, cond: Conditioning, uncond: Conditioning, scale: float
) -> Eps:
    """Classifier-free guidance (Ho & Salimans 2021; LDM App. C), in one pass of a batch of 2B.

    The prediction is eps_u + scale * (eps_c - eps_u).

    Args:
        denoise: (x_t, t, conditioning) -> eps.
        cond: The condition to follow, for B pictures.
        uncond: The empty or negative condition, for B pictures.
        scale: Guidance scale; 1 switches guidance off, and the batch is then B.

    Returns:
        (x_t (B, C, h, w), t (B,)) -> eps.

    Raises:
        ValueError: If the two are not for the same number of pictures.
    """
    if len(cond) != len(uncond):
        raise ValueError(f"cond and uncond must be as many, got {len(cond)} and {len(uncond)}")
    if scale == 1:
        return conditioned(denoise, cond)
    both = replace(uncond.cat(cond), copies=2, concat_is_shared=uncond.shares_concat(cond))

    def eps(x: Tensor, t: Tensor) -> Tensor:
        out = denoise(torch.cat([x, x]), torch.cat([t, t]), both)
        eps_u, eps_c = out.chunk(2)
        return eps_u + scale * (eps_c - eps_u)

    return eps


def held(eps: Eps, schedule: NoiseSchedule, small: Tensor, strength: float) -> Eps:
    """Pull x0 towards a small picture's coarse content: gradient-free image guidance (LDM App. C).

    The part of each predicted x0 that remains at the size of `small` is moved towards `small`.

    Args:
        eps: (x_t (B, C, h, w), t (B,)) -> eps.
        schedule: Noise schedule of the model's training.
        small: (B, C, h', w') latents, smaller than the canvas.
        strength: 0 leaves x0 unchanged; 1 replaces its coarse content by that of `small`.

    Returns:
        (x_t, t) -> eps of the corrected x0.
    """
    if not strength:
        return eps

    def held_eps(x: Tensor, t: Tensor) -> Tensor:
        x0 = schedule.predict_x0(x, t, eps(x, t))
        missing = small.to(x0) - averaged(x0, small.shape[2:])
        x0 = x0 + strength * F.interpolate(missing, x0.shape[2:], mode="bilinear")
        return schedule.predict_eps(x, t, x0)

    return held_eps


def known_outside(
    eps: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule, known: Tensor
) -> Tensor:
    """Keep what is known of a picture: inpainting by a model that was not trained for it.

    Outside of the hole the predicted x0 is replaced by what is known, and the sampler adds the
    noise of the next step to it. RePaint (arXiv:2201.09865, Alg. 1) does so with new noise, as here
    DDIM with an eta of 1 and DDPM do; it repeats steps, too, which is not done here. From whatever
    noise a run starts, it ends in what is known, but for the noise of t = 0 that some samplers
    leave.

    Args:
        eps: Predicted noise, (B, C, h, w).
        x_t: (B, C, h, w).
        t: (B,) int64.
        schedule: Noise schedule of the model's training.
        known: (B, C + 1, h, w): x0, whose values in the hole do not matter, and as the last channel
            1 in the hole, 0 outside, or a share of both.

    Returns:
        eps of the corrected x0, (B, C, h, w).
    """
    x0, hole = known.to(x_t).split(x_t.shape[1], dim=1)
    made = schedule.predict_x0(x_t, t, eps)
    return schedule.predict_eps(x_t, t, hole * made + (1 - hole) * x0)


def as_eps(
    output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule, prediction: str
) -> Tensor:
    """Convert a network's output to the noise in x_t.

    Args:
        output: (B, C, h, w).
        x_t: (B, C, h, w).
        t: (B,) int64.
        schedule: Noise schedule of the model's training.
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
