"""Train the small decoder that draws a first stage's previews."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ldm.catalog.build import build_first_stage, build_preview
from ldm.catalog.registry import load_preset
from ldm.errors import TrainingError
from ldm.images import to_tensor
from ldm.training.config import TrainConfig
from ldm.training.latents import encode_world
from ldm.training.loop import Run
from ldm.training.pictures import open_worlds
from ldm.training.samples import save_grid
from ldm.training.snapshots import export_weights, start_equal
from ldm.training.world import World

MAX_NOISE = 0.2  # largest standard deviation: latents of early steps are not those of a picture
SHOWN = 8  # held-out pictures


class PreviewRun(Run):
    """Training run of a `PreviewDecoder` on pictures and their latents, which stay as they are."""

    def __init__(self, config: TrainConfig, world: World, held_out: World) -> None:
        self.preset = load_preset(config.preset)
        first_stage = build_first_stage(self.preset, "cpu")
        start_equal(first_stage, self.preset.weight_path)
        self.model = build_preview(self.preset, "cpu").train()
        if config.start_from is not None:
            start_equal(self.model, load_preset(config.start_from).preview_path)
        self.world, self.shown = world, held_out
        folder = config.data.folder
        self.latents = encode_world(first_stage, world, folder)
        self.examples = encode_world(first_stage, held_out, folder)[:SHOWN]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """Return slightly noisy latents (size, C, h, w), and the pictures (size, 3, H, W)."""
        rows = rng.integers(len(self.world), size=size)
        z = self.latents[rows]
        spread = rng.uniform(0, MAX_NOISE, (size, 1, 1, 1)).astype(np.float32)
        noise = rng.standard_normal(z.shape, dtype=np.float32) * spread
        return z + torch.from_numpy(noise), to_tensor(self.world.images[rows])

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """L1 and squared error of pixels."""
        z, image = batch
        error = model(z).float() - image
        mse = error.square().mean()
        psnr = 10 * torch.log10(4 / mse.detach())
        return {"loss": error.abs().mean() + mse, "psnr": psnr}

    @torch.no_grad()
    def sample(self, model: nn.Module, path: Path) -> None:
        """Write held-out pictures, with their previews below."""
        device = next(model.parameters()).device
        drawn = model(self.examples.to(device)).float().cpu()
        image = to_tensor(self.shown.images[:SHOWN])
        save_grid(path, torch.cat([image, drawn]), columns=SHOWN)

    def export(self, model: nn.Module, step: int) -> None:
        """Write the averaged weights beside those of the first stage."""
        export_weights(self.preset.preview_path, model.state_dict(), {"step": str(step)})


def make_run(config: TrainConfig) -> PreviewRun:
    """Load the training data, encode it and build the run.

    Raises:
        TrainingError: If the preset, or the one to start from, names no file for a preview decoder.
    """
    for name in (config.preset, config.start_from):
        if name is not None and load_preset(name).preview_path is None:
            raise TrainingError(f"{name} has no preview: its YAML names the file as preview.")
    return PreviewRun(config, *open_worlds(config))
