"""Train a latent diffusion model on latents that are encoded once (LDM Sec. 3.2, 3.3)."""

from __future__ import annotations

import copy
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from ldm.catalog.build import build_model
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.checkpoints.apply import load_first_stage
from ldm.checkpoints.keymaps import FIRST_STAGE, to_published_names
from ldm.checkpoints.parts import MAX_PART_BYTES
from ldm.diffusion import noise as noises
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import classifier_free, conditioned
from ldm.diffusion.samplers import ddim
from ldm.errors import TrainingError
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.boxes import drawn_boxes
from ldm.training.condition import Drawn, Material
from ldm.training.conditions import CONDITIONS
from ldm.training.config import TrainConfig
from ldm.training.deeper import Depths
from ldm.training.latents import encode_world, encoder_key
from ldm.training.loop import COMPARED, Run
from ldm.training.pictures import open_worlds
from ldm.training.samples import save_grid
from ldm.training.snapshots import export_weights, start_alike, start_equal
from ldm.training.world import World

SAMPLE_STEPS = 25
SAMPLE_GUIDANCE = 3.0
COLUMNS = 8  # of the grid of sample pictures
LABELLED = ("semantic", "layout")  # tasks whose training needs label maps or boxes

log = logging.getLogger(__name__)


class Denoiser(nn.Module):
    """The trained parts of a latent diffusion model: (x_t, t, condition) -> prediction."""

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.unet = model.unet
        self.conditioner = model.conditioner
        self.conditioning = model.conditioning
        self.box_classes = model.box_classes
        self.vocab_size = model.tokenizer.vocab_size if model.box_classes else 0

    def forward(self, x_t: Tensor, t: Tensor, inputs: Drawn) -> Tensor:
        """Predict (B, C, h, w) from x_t (B, C, h, w), t (B,) and the conditioner's inputs.

        Those of a hole with words are a Conditioning whose `context` holds the token ids.
        """
        if self.conditioning == "none":
            return self.unet(x_t, t)
        if isinstance(inputs, Conditioning):
            code = self.conditioner(inputs.context)
            return self.unet(torch.cat([x_t, inputs.concat], dim=1), t, context=code)
        code = inputs if self.conditioner is None else self.conditioner(inputs)
        if self.conditioning == "concat":
            return self.unet(torch.cat([x_t, code], dim=1), t)
        if self.box_classes:
            drawn = drawn_boxes(inputs, self.vocab_size, self.box_classes, x_t.shape[2:])
            x_t = torch.cat([x_t, drawn], dim=1)
        return self.unet(x_t, t, context=code)


class DiffusionRun(Run):
    """Training run of a latent diffusion model with any kind of condition."""

    def __init__(self, config: TrainConfig, world: World, held_out: World) -> None:
        self.config = config
        self.preset = load_preset(config.preset)
        if self.preset.task not in CONDITIONS:
            known = ", ".join(CONDITIONS)
            raise TrainingError(f"{config.preset} does {self.preset.task}; trained are {known}.")
        if config.data.pictures is not None and self.preset.task in LABELLED:
            raise TrainingError(
                f"{config.preset} does {self.preset.task}, which pictures alone do not teach; "
                f"with data.pictures {', '.join(t for t in CONDITIONS if t not in LABELLED)} work."
            )
        self.diffusion = build_model(self.preset, "cpu")
        self._start_first_stage()
        self.diffusion.to(PartialState().device)
        self.model = Denoiser(self.diffusion).train()
        goes_on = config.start_from == config.preset
        if goes_on:
            start_equal(self.model, self.preset.weight_path, published_name)
        elif config.start_from is not None:
            self._start_from(load_preset(config.start_from))
        latents = encode_world(self.diffusion.first_stage, world, config.data.folder)
        self.diffusion.scale_factor = 1.0 / float(latents.std())
        self.latents = latents * self.diffusion.scale_factor
        self.world = world
        weights = encoder_key(self.diffusion.first_stage)
        self.given = Material(config, self.preset, self.diffusion, world, held_out, weights)
        self.condition = CONDITIONS[self.preset.task](self.given)
        if not goes_on:
            self.condition.start(self.model.conditioner)
        self.held_out = self._on_held_out()

    def _on_held_out(self) -> DiffusionRun | None:
        """This run on held-out pictures; None if they lack what the condition is made of."""
        other, world = copy.copy(self), self.given.held_out.first(COMPARED)
        try:
            other.condition = CONDITIONS[self.preset.task](replace(self.given, world=world))
        except TrainingError as error:
            log.info("the loss on held-out pictures is not measured: %s", error)
            return None
        latents = encode_world(self.diffusion.first_stage, world, self.config.data.folder)
        other.latents = latents * self.diffusion.scale_factor
        other.world = world
        return other

    def _start_first_stage(self) -> None:
        """Load the first stage, which is not trained: its own preset's, or that of `start_from`."""
        first_stage = self.diffusion.first_stage
        if self.preset.first_stage_path is not None:
            start_equal(first_stage, self.preset.first_stage_path)
        elif self.preset.holds_first_stage:
            if self.config.start_from is None:
                raise TrainingError(
                    f"{self.preset.name} names no preset of a first stage, and is not trained on a "
                    "random one; give start_from a model with the same one, or take --first-stage "
                    "of python -m ldm new."
                )
            relative = load_preset(self.config.start_from)
            path = relative.first_stage_path or relative.weight_path
            load_first_stage(first_stage, path, dtype=torch.float32)

    def measured(self) -> dict[str, float]:
        """The scale factor of the latents."""
        return {"scale_factor": self.diffusion.scale_factor}

    def go_on_with(self, measured: dict[str, float]) -> None:
        """Keep the scale factor that the network was trained with, even if the pictures changed."""
        began, today = measured["scale_factor"], self.diffusion.scale_factor
        if began != today:
            log.info("going on with scale factor %.5g; the pictures now give %.5g", began, today)
            self.latents = self.latents * (began / today)
            self.diffusion.scale_factor = began
            if self.diffusion.grey_holes:  # their conditions are scaled, too
                self.condition = CONDITIONS[self.preset.task](self.given)
            self.held_out = self._on_held_out()

    def _start_from(self, relative: Preset) -> None:
        """Initialise from another trained preset, which may have other blocks per level."""
        ours, theirs = (p.architecture.unet for p in (self.preset, relative))
        if theirs is None:
            raise TrainingError(f"start_from must name a preset of a UNet, got {relative.name}.")
        depths = Depths(ours.num_res_blocks, theirs.num_res_blocks)
        depths.pass_on(self.diffusion.unet)

        def name_there(name: str) -> str | None:
            found = depths.name_there(name)
            return found and published_name(found)

        channels = self.diffusion.latent_channels
        start_alike(self.model, relative.weight_path, channels, name_there)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """Return x0 and noise (size, C, h, w), t (size,), drawn conditions, and weights per cell.

        Scenes of a group, which differ in their objects alone, get the same noise and t. The
        unpredictable error of the rest is then the same in all of them, so it cancels out of what
        the difference of their captions teaches.
        """
        group = self.world.group
        shape = (size // group, *self.latents.shape[1:])
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        share = rng.random(len(noise)) ** (1 / self.config.loss.noise_bias)
        rows = self.world.draw(rng, size)  # last, so that held-out ones get the same noise
        drawn = self.condition.draw(rng, rows)
        share[self.world.is_close(rows[: len(noise)])] *= self.config.data.zoom_noise
        t = torch.from_numpy((self.diffusion.schedule.length * share).astype(np.int64))
        alike = noise.repeat(group, 1, 1, 1), t.repeat(group)
        return self.latents[rows], *alike, drawn, self.condition.weight(rows, drawn)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """DDPM Eq. 14 on latents (LDM Eq. 2, 3), for the model's prediction type: eps, v or x0.

        Min-SNR weights nearly remove the noisiest time steps, where the condition matters most: a
        short training with them learns pictures, but not to follow the condition.
        """
        x0, noise, t, drawn, cells = batch
        inputs = self.condition.prepared(drawn)
        if self.diffusion.centres_on_guess:
            x0 = x0 - self.diffusion.guess(inputs)
        schedule, kind = self.diffusion.schedule, self.diffusion.prediction
        predicted = model(schedule.q_sample(x0, t, noise), t, inputs).float()
        target = {"eps": noise, "v": schedule.velocity(x0, t, noise), "x0": x0}[kind]
        error = (cells / cells.mean() * (predicted - target).square()).mean((1, 2, 3))
        gamma = self.config.loss.min_snr_gamma
        if gamma is None:
            return {"loss": error.mean()}
        weight = min_snr_weight(schedule.snr(t), gamma, kind)
        return {"loss": (weight * error).mean(), "mse": error.mean()}

    @torch.no_grad()
    def sample(self, model: nn.Module, path: Path) -> None:
        """Write sample pictures for held-out conditions, which are shown above them if possible."""
        averaged, examples = self._averaged(model), self.condition.examples
        cond = self._condition(averaged, examples.inputs.to(averaged.device))
        if examples.empty is None:
            eps = conditioned(averaged.denoise, cond)
        else:
            uncond = self._condition(averaged, examples.empty.to(averaged.device))
            eps = classifier_free(averaged.denoise, cond, uncond, SAMPLE_GUIDANCE)
        shape = tuple(self.latents.shape[1:])
        x_T = noises.batch_noise(range(len(examples.inputs)), 0, shape).to(averaged.device)
        *_, last = ddim(eps, x_T, averaged.schedule, steps=SAMPLE_STEPS)
        images = averaged.decode(last.x_t).cpu()
        if examples.shown is not None:  # alternate rows of conditions and pictures
            pairs = zip(examples.shown.split(COLUMNS), images.split(COLUMNS), strict=True)
            images = torch.cat([row for pair in pairs for row in pair])
        save_grid(path, images, columns=COLUMNS)

    def _condition(self, model: LatentDiffusion, inputs: Drawn) -> Conditioning:
        if model.conditioning == "none":  # its inputs are empty tensors
            return model.condition(None)
        if isinstance(inputs, Conditioning):
            return replace(inputs, context=model.condition(inputs.context).context)
        if model.box_classes:
            return model.condition_layout(inputs, *self.latents.shape[2:])
        return model.condition(inputs)

    def _averaged(self, model: nn.Module) -> LatentDiffusion:
        """The full latent diffusion model with the averaged weights."""
        parts = self.diffusion
        return LatentDiffusion(
            unet=model.unet,
            first_stage=parts.first_stage,
            conditioner=model.conditioner,
            schedule=parts.schedule,
            scale_factor=parts.scale_factor,
            conditioning=parts.conditioning,
            prediction=parts.prediction,
            tokenizer=parts.tokenizer,
            box_classes=parts.box_classes,
            smooth_holes=parts.smooth_holes,
        )

    def export(self, model: nn.Module, step: int) -> None:
        """Write UNet, conditioner and scale factor under the published key names.

        So is a first stage that no other file holds.
        """
        tensors = {published_name(name): value for name, value in model.state_dict().items()}
        if self.preset.holds_first_stage:
            kept = self.diffusion.first_stage.state_dict()
            tensors |= to_published_names({FIRST_STAGE + key: kept[key] for key in kept})
        tensors["scale_factor"] = torch.tensor(self.diffusion.scale_factor)
        largest = sys.maxsize if self.preset.is_own else MAX_PART_BYTES
        export_weights(self.preset.weight_path, tensors, {"step": str(step)}, largest)


def published_name(name: str) -> str:
    """The name of a `Denoiser` parameter in published checkpoints."""
    part, rest = name.split(".", 1)
    return {"unet": "model.diffusion_model", "conditioner": "cond_stage_model"}[part] + "." + rest


def min_snr_weight(snr: Tensor, gamma: float, prediction: str) -> Tensor:
    """The x0 weight min(snr, gamma) (arXiv:2303.09556 Eq. 5), converted to a weight on the
    squared error of `prediction`.

    The squared x0 error is 1 / snr of the eps error and 1 / (snr + 1) of the v error.
    """
    capped = snr.clamp_max(gamma)
    return {"x0": capped, "eps": capped / snr, "v": capped / (snr + 1)}[prediction]


def make_run(config: TrainConfig) -> DiffusionRun:
    """Load the training data and build the run."""
    return DiffusionRun(config, *open_worlds(config))
