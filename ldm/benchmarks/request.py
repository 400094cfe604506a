"""Benchmark of a whole text-to-image request, by our task and by a pipeline of diffusers' parts.

Both have the same weights and start from the same noise. The diffusers pipeline is that of its
documentation: guidance in one batch, its own DDIM, its own decoder. It is given the context of the
prompt, whose computation is part of the measured time of ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldm.benchmarks.alone import machine
from ldm.benchmarks.networks import plain_first_stage, plain_unet
from ldm.benchmarks.peers import (
    best,
    check_installed,
    diffusers_ddim,
    diffusers_first_stage,
    diffusers_unet,
)
from ldm.benchmarks.speed import least_seconds
from ldm.catalog.registry import load_preset
from ldm.images import to_arrays
from ldm.inference.kernels import has_arithmetic
from ldm.requests import TextToImage
from ldm.resolve import resolve
from ldm.runtime.manager import ModelManager
from ldm.tasks import RUNNERS

PRESET = "demo-text-to-image"
STEPS = 50
REQUEST = TextToImage(
    prompt="a calm lake with mountains at sunset",
    preset=PRESET,
    width=128,
    height=128,
    steps=STEPS,
    sampler="ddim",
    eta=0.0,
    seed=1,
)
Picture = Callable[[], np.ndarray]  # makes (H, W, 3) uint8


def table(*, against: bool, rounds: int, busy: bool, steps: int = STEPS) -> Iterator[str]:
    """Yield the figures as lines of Markdown.

    Args:
        against: Whether to run diffusers as well.
        rounds: Rounds of all ways in turn, after a first run that does not count.
        busy: Whether to measure processor time on one thread.
        steps: Steps of DDIM; a divisor of 1000, since otherwise diffusers visits other time steps.

    Raises:
        RequestError: If diffusers is asked for and not installed.
    """
    if against:
        check_installed()
    if busy:
        torch.set_num_threads(1)
    with torch.inference_mode():
        ways = pictures(against=against, steps=steps)
        made = {way: make() for way, make in ways.items()}
        seconds = least_seconds(ways, rounds, time.process_time if busy else time.perf_counter)
    first = next(iter(made))
    yield from (machine(), "", f"{PRESET}, {steps} steps of DDIM, guidance")
    yield from ("", f"| way | seconds | of {first} | PSNR to it |", "|---|---|---|---|")
    for way in ways:
        ratio, likeness = seconds[first] / seconds[way], psnr(made[way], made[first])
        yield f"| {way} | {seconds[way]:.2f} | {ratio:.2f}x | {likeness:.1f} dB |"


def pictures(*, against: bool, steps: int) -> dict[str, Picture]:
    """Return name -> function for all ways to make the picture, those of diffusers first.

    bfloat16 is only included if the processor computes natively in it.
    """
    dtypes = ("float32", "bfloat16") if has_arithmetic(torch.bfloat16) else ("float32",)
    ours = {f"ours, {dtype}": _ours(dtype, steps) for dtype in dtypes}
    if not against:
        return ours
    given = _given(steps)
    return {f"diffusers, {dtype}": _theirs(dtype, steps, given) for dtype in dtypes} | ours


def _ours(dtype: str, steps: int) -> Picture:
    manager = ModelManager(device="cpu", precision=dtype)

    def make() -> np.ndarray:
        with manager.use(PRESET) as model:
            *_, result = RUNNERS[REQUEST.task](model, _resolved(steps))
        return result.images[0]

    return make


def _resolved(steps: int) -> TextToImage:
    return resolve(replace(REQUEST, steps=steps), load_preset(PRESET))


def _given(steps: int) -> dict[str, Any]:
    """Return noise, context and scale factor of our run, as inputs of the diffusers pipeline."""
    seen: list[Tensor] = []
    with ModelManager(device="cpu", precision="float32").use(PRESET) as model:
        hook = model.unet.register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].clone())
        )
        run = RUNNERS[REQUEST.task](model, _resolved(steps))
        next(event for event in run if seen)
        run.close()
        hook.remove()
        words = [REQUEST.negative_prompt, REQUEST.prompt]
        return {
            "noise": seen[0][:1],
            "context": model.condition(words).context,
            "scale_factor": model.scale_factor,
        }


def _theirs(dtype: str, steps: int, given: dict[str, Any]) -> Picture:
    preset, numbers = load_preset(PRESET), getattr(torch, dtype)
    about = preset.architecture
    unet = diffusers_unet(about.unet, plain_unet(preset))
    stage = diffusers_first_stage(about.first_stage, plain_first_stage(preset))
    if numbers != torch.float32:
        unet, stage = best(unet, numbers), best(stage, numbers)
    scheduler = diffusers_ddim(about.schedule, about.prediction)
    context = given["context"].to(numbers)
    guidance = _resolved(steps).guidance_scale

    def make() -> np.ndarray:
        scheduler.set_timesteps(steps)
        x = given["noise"]
        for t in scheduler.timesteps:
            both = unet(torch.cat([x, x]).to(numbers), t, encoder_hidden_states=context).sample
            without, with_text = both.float().chunk(2)
            x = scheduler.step(without + guidance * (with_text - without), t, x).prev_sample
        image = stage.decode((x / given["scale_factor"]).to(numbers)).sample
        return to_arrays(image.float())[0]

    return make


def psnr(got: np.ndarray, want: np.ndarray) -> float:
    """Return the PSNR of two uint8 pictures in dB."""
    error = float(np.square(got.astype(np.float64) - want).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
