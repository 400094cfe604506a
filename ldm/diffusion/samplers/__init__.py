"""Samplers: pure generators over a noise prediction, from x_T to x0.

A sampler knows no model, device or progress bar. It yields a Step after every update, and closing
the generator stops it; a new one can continue `after` any Step with the same result. Coefficients
are read from the schedule's CPU tables as Python floats, so a step never waits for the device.

B, C, h, w: batch, latent channels, latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ldm.diffusion.samplers.multistep import dpmpp_2m, plms, unipc
from ldm.diffusion.samplers.onestep import ddim, ddpm
from ldm.diffusion.samplers.step import Step

SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
    "plms": plms,
    "ddpm": ddpm,
}
"""Sampler name -> generator."""

HISTORY_LENGTH = {"plms": 3, "dpmpp_2m": 1, "unipc": 2}
"""Sampler name -> most tensors in a step's `memory`; other samplers keep none."""
