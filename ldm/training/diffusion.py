"""Training a latent diffusion model on latents that are encoded once (LDM Sec. 3.2, 3.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ldm.catalog.build import build_model
from ldm.catalog.registry import load_preset
from ldm.diffusion import noise as noises
from ldm.diffusion.guidance import classifier_free
from ldm.diffusion.samplers import SAMPLERS
from ldm.training.samples import save_grid
from ldm.latent_diffusion import LatentDiffusion
from ldm.training.autoencoder import to_tensor
from ldm.training.config import TrainConfig
from ldm.training.snapshots import export_weights, load_first_stage, warm_start
from ldm.training.world import World, open_world

SAMPLE_PROMPTS = 16
ENCODE_BATCH = 32


class Denoiser(nn.Module):
    """(x_t, t, tokens) -> the network's prediction; the trained parts of a latent diffusion."""

    def __init__(self, model: LatentDiffusion) -> None:
        super().__init__()
        self.unet = model.unet
        self.conditioner = model.conditioner

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """(B, C, h, w), (B,), (B, L) -> (B, C, h, w)."""
        return self.unet(x_t, t, context=self.conditioner(tokens))


class TextToImageRun:
    """The loop's view of a text-to-image model."""

    def __init__(self, config: TrainConfig, world: World, held_out: World) -> None:
        self.config = config
        self.preset = load_preset(config.preset)
        self.diffusion = build_model(self.preset)
        load_first_stage(self.diffusion, self.preset)
        warm_start(self.diffusion, self.preset)
        self.model = Denoiser(self.diffusion)
        self.latents = encode_world(self.diffusion, world, config)
        self.diffusion.scale_factor = 1.0 / float(self.latents.std())
        self.latents *= self.diffusion.scale_factor
        self.tokens = self._tokenize(world)
        self.empty = self.diffusion.tokenizer([""])[0]
        captions = [about["captions"][0] for about in held_out.about[:SAMPLE_PROMPTS]]
        self.sample_tokens = self.diffusion.tokenizer(captions)

    def _tokenize(self, world: World) -> Tensor:
        """All wordings of all scenes: (N, captions, L)."""
        rows = [self.diffusion.tokenizer(about["captions"]) for about in world.about]
        return torch.stack(rows).to(torch.int32)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """x0, noise (size, C, h, w), t (size,), tokens (size, L); some prompts emptied."""
        rows = rng.integers(len(self.latents), size=size)
        wording = rng.integers(self.tokens.shape[1], size=size)
        tokens = self.tokens[rows, wording].long()
        dropped = torch.from_numpy(rng.random(size) < self.config.loss.caption_dropout)
        tokens[dropped] = self.empty
        x0 = self.latents[rows]
        noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
        t = torch.from_numpy(rng.integers(self.diffusion.schedule.length, size=size))
        return x0, noise, t, tokens

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """DDPM Eq. 14 on latents (LDM Eq. 2, 3), weighted as min-SNR-gamma."""
        x0, noise, t, tokens = batch
        schedule, kind = self.diffusion.schedule, self.diffusion.prediction
        predicted = model(schedule.q_sample(x0, t, noise), t, tokens).float()
        target = {"eps": noise, "v": schedule.velocity(x0, t, noise), "x0": x0}[kind]
        error = (predicted - target).square().mean((1, 2, 3))
        weight = min_snr_weight(schedule.snr(t), self.config.loss.min_snr_gamma, kind)
        return {"loss": (weight * error).mean(), "mse": error.mean()}

    @torch.no_grad()
    def sample(self, model: nn.Module, path: Path) -> None:
        """Pictures for held-out captions: DDIM, 25 steps, guidance 3."""
        averaged = self._with(model)
        cond, uncond = self._conditionings(averaged)
        shape = tuple(self.latents.shape[1:])
        x_T = noises.batch_noise(range(SAMPLE_PROMPTS), 0, shape)
        eps = classifier_free(averaged.denoise, cond, uncond, 3.0)
        x0 = x_T
        for step in SAMPLERS["ddim"](eps, x_T, averaged.schedule, steps=25, noise=None):
            x0 = step.x0
        save_grid(path, averaged.decode(x0), columns=8)

    def _conditionings(self, model: LatentDiffusion) -> tuple:
        from_tokens = model.condition_tokens
        empty = self.empty.expand_as(self.sample_tokens)
        return from_tokens(self.sample_tokens), from_tokens(empty)

    def _with(self, model: nn.Module) -> LatentDiffusion:
        """The diffusion with other trained parts and the same frozen ones."""
        return self.diffusion.with_parts(unet=model.unet, conditioner=model.conditioner)

    def export(self, model: nn.Module, step: int) -> None:
        """Write UNet, conditioner and scale factor under the published key names."""
        tensors = {f"model.diffusion_model.{k}": v for k, v in model.unet.state_dict().items()}
        tensors |= {f"cond_stage_model.{k}": v for k, v in model.conditioner.state_dict().items()}
        tensors["scale_factor"] = torch.tensor(self.diffusion.scale_factor)
        export_weights(self.preset.weight_paths[0], tensors, {"step": str(step)})


def min_snr_weight(snr: Tensor, gamma: float, prediction: str) -> Tensor:
    """min(snr, gamma) as a weight on x0 (arXiv:2303.09556 Eq. 5), turned to `prediction`'s error.

    The x0 error is 1/snr of the eps error and 1/(snr + 1) of the v error.
    """
    capped = snr.clamp_max(gamma)
    return {"x0": capped, "eps": capped / snr, "v": capped / (snr + 1)}[prediction]


@torch.no_grad()
def encode_world(model: LatentDiffusion, world: World, config: TrainConfig) -> Tensor:
    """Unscaled latents of every picture, (N, C, h, w) float32; KL models give their mean."""
    rows = []
    for start in range(0, len(world), ENCODE_BATCH):
        image = to_tensor(world.images[start : start + ENCODE_BATCH])
        rows.append(model.encode(image) / model.scale_factor)
    return torch.cat(rows)


def make_run(config: TrainConfig) -> TextToImageRun:
    """Open the world and build the run."""
    about = config.data
    world = open_world(
        about.folder, "train", count=about.scenes, size=about.size, captions=about.captions
    )
    held_out = open_world(about.folder, "held-out", count=500, size=about.size)
    return TextToImageRun(config, world, held_out)
