"""One measured decode or UNet step on a large canvas: time, memory and result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.benchmarks.networks import plain_first_stage, plain_unet
from ldm.benchmarks.peers import TILE, best, diffusers_first_stage, diffusers_unet
from ldm.canvas.bounded import BoundedFirstStage, BoundedUNet
from ldm.canvas.workspace import Workspace
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.data import scenes
from ldm.data.rendering import render
from ldm.images import to_tensor
from ldm.inference.prepare import prepare
from ldm.models.first_stage import mode_of
from ldm.runtime.memory import peak_resident, reset_peak, resident

MIB = 2**20
ENCODE_BUDGET = 256 * MIB
WARM = 16  # side in cells of the warm-up run
OVERLAP = 0.25  # share by which diffusers' tiles overlap, its default


@dataclass(frozen=True)
class Case:
    """The settings of one run.

    Args:
        preset: Preset of the network.
        what: "decode" or "step".
        side: Side of the square canvas, in px for a decode and in latent cells for a step.
        dtype: "float32" or "bfloat16".
        way: "plain" (the paper's code), "whole" or "bands" (prepared networks, as in tasks),
            "diffusers" or "diffusers, tiled".
        budget: Bytes for bands.
    """

    preset: str
    what: str
    side: int
    dtype: str
    way: str
    budget: int = 0


@dataclass(frozen=True)
class Figures:
    """The time and memory that one run took."""

    seconds: float
    cpu_seconds: float  # of all threads; hardly affected by other busy programs
    peak: float  # MiB of resident memory above the loaded and warm model
    borders: tuple[int, ...] = ()  # picture rows where two parts meet


class Noted(Workspace):
    """A workspace that records where maps are cut into strips."""

    def __init__(self, budget: int, folder: Path | None = None) -> None:
        super().__init__(budget, folder)
        self.cuts: set[float] = set()  # first rows of strips, as shares of the height

    def strip_rows(self, bytes_per_row: float, height: int, operations: float = 0.0) -> int:
        """Record the cuts; see `Workspace.strip_rows`."""
        rows = super().strip_rows(bytes_per_row, height, operations)
        self.cuts.update(row / height for row in range(rows, height, rows))
        return rows

    def borders(self, height: int) -> list[int]:
        """Return the rows of a picture of this height at which a strip of any map began."""
        rows = sorted({round(height * cut) for cut in self.cuts})
        return [row for row in rows if 2 < row < height - 2]


def write_inputs(preset_name: str, what: str, side: int, path: Path) -> None:
    """Write the network's input, float32: a scene's latents, or random ones that vary by region."""
    preset = load_preset(preset_name)
    torch.manual_seed(0)
    if what == "step":
        channels, cells = preset.architecture.unet.in_channels, side
    else:
        about = preset.architecture.first_stage
        channels, cells = about.embed_dim, side // preset.factor
    if what == "decode" and preset.is_on_disk:
        made = _encoded(plain_first_stage(preset), side)
    else:
        regions = F.interpolate(torch.randn(1, channels, 8, 8), size=(cells, cells))
        made = (regions + torch.randn(1, channels, cells, cells)) / 2**0.5
    np.save(path, made.numpy())


@torch.inference_mode()
def _encoded(stage: nn.Module, side: int) -> Tensor:
    scene = render(scenes.sample(np.random.default_rng(0), side, side))
    image = to_tensor([scene.image])
    return mode_of(BoundedFirstStage(stage, Workspace(ENCODE_BUDGET)).encode(image))


@torch.inference_mode()
def measure(case: Case, inputs: Path, made: Path | None) -> Figures:
    """Run a case once in this process, after a warm-up; save the result in `made`, if given."""
    dtype = getattr(torch, case.dtype)
    x = torch.from_numpy(np.load(inputs)).to(dtype)
    space = Noted(case.budget, inputs.parent) if case.way == "bands" else None
    run = _runner(case, dtype, space)
    run(x[:, :, :WARM, :WARM])
    if space is not None:
        space.cuts.clear()
    before = resident()
    reset_peak()
    begin, busy = time.perf_counter(), time.process_time()
    result = run(x)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    peak = ((peak_resident() or 0) - before) / MIB
    if made is not None:
        np.save(made, result[0].float().numpy())
    return Figures(seconds, busy, peak, _borders(case, space))


def _runner(case: Case, dtype: torch.dtype, space: Workspace | None) -> Callable[[Tensor], Tensor]:
    preset = load_preset(case.preset)
    make = _decoder if case.what == "decode" else _denoiser
    return make(preset, case, dtype, space)


def _decoder(
    preset: Preset, case: Case, dtype: torch.dtype, space: Workspace | None
) -> Callable[[Tensor], Tensor]:
    stage: Any = plain_first_stage(preset)
    if case.way.startswith("diffusers"):
        stage = best(diffusers_first_stage(preset.architecture.first_stage, stage), dtype)
        stage.use_tiling = case.way == "diffusers, tiled"
        return lambda z: stage.decode(z.contiguous(memory_format=torch.channels_last)).sample
    del stage.encoder  # not used, and its weights would distort the baseline of memory
    stage = stage.to(dtype) if case.way == "plain" else prepare(stage, dtype)
    return stage.decode if space is None else BoundedFirstStage(stage, space).decode


def _denoiser(
    preset: Preset, case: Case, dtype: torch.dtype, space: Workspace | None
) -> Callable[[Tensor], Tensor]:
    about, t = preset.architecture.unet, torch.tensor([500])
    unet: Any = plain_unet(preset)
    if case.way == "diffusers":
        theirs = best(diffusers_unet(about, unet), dtype)
        return lambda x: theirs(x.contiguous(memory_format=torch.channels_last), t).sample
    unet = unet.to(dtype) if case.way == "plain" else prepare(unet, dtype)
    unet = unet if space is None else BoundedUNet(unet, space)
    return lambda x: unet(x, t)


def _borders(case: Case, space: Noted | None) -> tuple[int, ...]:
    if case.what != "decode":
        return ()
    if space is not None:
        return tuple(space.borders(case.side))
    if case.way == "diffusers, tiled":
        blend = int(TILE * OVERLAP)  # rows over which a tile is blended into the next one
        starts = range(TILE - blend, case.side - blend, TILE - blend)
        return tuple(row for start in starts for row in (start, start + blend))
    return ()
