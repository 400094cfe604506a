"""Repeat the recorded sampler runs of a golden case with our samplers.

The name of a run encodes its settings, see RUN and LAST_STEPS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ldm.diffusion.guidance import classifier_free
from ldm.diffusion.samplers import Step, ddim, ddpm, plms
from ldm.diffusion.timesteps import published_timesteps
from ldm.evaluation.cases import Case, Named, full

RUN = re.compile(
    r"(?P<sampler>ddim|plms)(?P<steps>\d+)"
    r"(?:_cfg(?P<scale>[\d.]+)|_eta(?P<eta>[\d.]+)|_(?P<option>quantize_x0|mask))?"
)
LAST_STEPS = re.compile(r"ddpm_last(?P<steps>\d+)")


def sampler_runs(case: Case) -> Named:
    """Yield (name, value) of the steps and results of every recorded run."""
    for name in case.parts:
        if run := RUN.fullmatch(name):
            yield from _sampler(case, name, run)
        elif run := LAST_STEPS.fullmatch(name):
            grid = list(range(int(run["steps"])))[::-1]
            start, noise = case.tensors[f"{name}/x_start_t{grid[0]}"], case.tensors[f"{name}/noise"]
            eps, schedule = _eps(case, 1), case.averaged.schedule
            steps = ddpm(eps, start, schedule, timesteps=grid, noise=noise.__getitem__)
            yield from _run(case, name, list(steps))


def _sampler(case: Case, name: str, run: re.Match[str]) -> Named:
    """Repeat one run; its name gives sampler, steps, and guidance scale, eta or a variant."""
    given, schedule = case.tensors, case.averaged.schedule

    def quantise(x0: Tensor) -> Tensor:
        return case.first_stage.quantize(x0)[0]

    def keep(index: int, t: int, x: Tensor) -> Tensor:
        mask, known = given[f"{name}/mask"], given[f"{name}/x0"]
        noise = given[f"{name}/noise"][2 * index]  # every other one is the unused step noise
        return schedule.q_sample(known, full(x, t), noise) * mask + (1 - mask) * x

    options: dict[str | None, dict[str, Any]] = {
        None: {},
        "quantize_x0": {"correct_x0": quantise},
        "mask": {"before_step": keep},
    }
    chosen = options[run["option"]]
    if run["eta"]:
        chosen = {"eta": float(run["eta"]), "noise": given[f"{name}/noise"].__getitem__}
    scale = case.notes.get("cfg_scale", float(run["scale"])) if run["scale"] else 1.0
    sampler = {"ddim": ddim, "plms": plms}[run["sampler"]]
    grid = published_timesteps(int(run["steps"]), schedule.length)
    steps = list(sampler(_eps(case, scale), given["in/x_T"], schedule, timesteps=grid, **chosen))
    yield f"{name}/timesteps", torch.tensor(grid[::-1])
    yield from _run(case, name, steps)


def _eps(case: Case, scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    cond = case.condition("cond")
    uncond = cond if scale == 1 else case.condition("uncond")
    return classifier_free(case.averaged.denoise, cond, uncond, scale)


def _run(case: Case, name: str, steps: list[Step]) -> Named:
    latent = steps[-1].x_t
    yield f"{name}/x_inter", torch.stack([step.x_t for step in steps])
    yield f"{name}/pred_x0", torch.stack([step.x0 for step in steps])
    yield f"{name}/latent", latent
    if f"{name}/image" in case.tensors:  # often only the first picture is recorded
        decoded = case.averaged.decode(latent)
        yield f"{name}/image", decoded[: len(case.tensors[f"{name}/image"])]
        if "inpaint/" in case:
            yield "inpaint/composite", _composite(case, decoded)


def _composite(case: Case, decoded: Tensor) -> Tensor:
    """The known part of the picture with the filled hole, in [0, 1]."""
    image, mask = case.tensors["inpaint/image01"], case.tensors["inpaint/mask01"]
    return (1 - mask) * image.clamp(0, 1) + mask * ((decoded + 1) / 2).clamp(0, 1)
