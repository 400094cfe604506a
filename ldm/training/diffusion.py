"""Training a latent diffusion model on latents that are encoded once (LDM Sec. 3.2, 3.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ldm.catalog.build import build_model
from ldm.catalog.hashes import sha256_of
from ldm.catalog.registry import load_preset
from ldm.diffusion import noise as noises
from ldm.diffusion.guidance import classifier_free
from ldm.diffusion.samplers import ddim
from ldm.errors import TrainingError
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.first_stage import DiagonalGaussian
from ldm.training.autoencoder import to_tensor
from ldm.training.config import TrainConfig
from ldm.training.samples import save_grid
from ldm.training.snapshots import export_weights, warm_start
from ldm.training.world import World, open_world

SAMPLE_PROMPTS = 16
SAMPLE_STEPS = 25
SAMPLE_GUIDANCE = 3.0
ENCODE_BATCH = 32
UNKNOWN_SHARE = 0.02  # of the words, replaced by [UNK], so that an unknown word does no harm


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
        self.diffusion = build_model(self.preset, "cpu")
        if not warm_start(self.diffusion.first_stage, self.preset.first_stage_path):
            raise TrainingError(f"{self.preset.first_stage_path} is missing; train it first.")
        self.model = Denoiser(self.diffusion).train()
        warm_start(self.model, self.preset.weight_path, published_name)
        weights = sha256_of(self.preset.first_stage_path)[:12]
        cache = config.data.folder / f"latents-{weights}-{len(world)}.npy"
        latents = encode_world(self.diffusion.first_stage, world, cache)
        self.diffusion.scale_factor = 1.0 / float(latents.std())
        self.latents = latents * self.diffusion.scale_factor
        tokenizer = self.diffusion.tokenizer
        # (N, wordings, L): every wording of every scene
        self.tokens = torch.stack([tokenizer(about["captions"]) for about in world.about])
        self.empty, self.unknown = tokenizer([""])[0], int(tokenizer(["\u2603"])[0, 1])
        captions = [about["captions"][0] for about in held_out.about[:SAMPLE_PROMPTS]]
        self.sample_tokens = tokenizer(captions)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """x0, noise (size, C, h, w), t (size,), tokens (size, L); some prompts emptied."""
        rows = rng.integers(len(self.latents), size=size)
        wording = rng.integers(self.tokens.shape[1], size=size)
        tokens = self.tokens[rows, wording]
        is_word = tokens > int(self.empty.max())  # the special tokens have the lowest ids
        masked = torch.from_numpy(rng.random(tokens.shape) < UNKNOWN_SHARE) & is_word
        tokens = tokens.masked_fill(masked, self.unknown)
        dropped = torch.from_numpy(rng.random(size) < self.config.loss.caption_dropout)
        tokens[dropped] = self.empty
        x0 = self.latents[rows]
        noise = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
        t = torch.from_numpy(rng.integers(self.diffusion.schedule.length, size=size))
        return x0, noise, t, tokens

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """DDPM Eq. 14 on latents (LDM Eq. 2, 3), for what the network predicts.

        min-SNR weights leave next to nothing of the noisiest steps, where the prompt decides: a
        short training with them learns pictures but not to follow the prompt.
        """
        x0, noise, t, tokens = batch
        schedule, kind = self.diffusion.schedule, self.diffusion.prediction
        predicted = model(schedule.q_sample(x0, t, noise), t, tokens).float()
        target = {"eps": noise, "v": schedule.velocity(x0, t, noise), "x0": x0}[kind]
        error = (predicted - target).square().mean((1, 2, 3))
        gamma = self.config.loss.min_snr_gamma
        if gamma is None:
            return {"loss": error.mean()}
        weight = min_snr_weight(schedule.snr(t), gamma, kind)
        return {"loss": (weight * error).mean(), "mse": error.mean()}

    @torch.no_grad()
    def sample(self, model: nn.Module, path: Path) -> None:
        """Pictures for held-out captions: DDIM with guidance."""
        parts = self.diffusion
        averaged = LatentDiffusion(
            unet=model.unet,
            first_stage=parts.first_stage.to(next(model.parameters()).device),
            conditioner=model.conditioner,
            schedule=parts.schedule,
            scale_factor=parts.scale_factor,
            conditioning=parts.conditioning,
            prediction=parts.prediction,
        )
        cond = averaged.condition(self.sample_tokens)
        uncond = averaged.condition(self.empty.expand_as(self.sample_tokens))
        eps = classifier_free(averaged.denoise, cond, uncond, SAMPLE_GUIDANCE)
        x_T = noises.batch_noise(range(SAMPLE_PROMPTS), 0, tuple(self.latents.shape[1:]))
        *_, last = ddim(eps, x_T.to(averaged.device), parts.schedule, steps=SAMPLE_STEPS)
        save_grid(path, averaged.decode(last.x_t), columns=8)

    def export(self, model: nn.Module, step: int) -> None:
        """Write UNet, conditioner and scale factor under the published key names."""
        tensors = {published_name(name): value for name, value in model.state_dict().items()}
        tensors["scale_factor"] = torch.tensor(self.diffusion.scale_factor)
        export_weights(self.preset.weight_path, tensors, {"step": str(step)})


def published_name(name: str) -> str:
    """A `Denoiser` parameter's name in published files."""
    part, rest = name.split(".", 1)
    return {"unet": "model.diffusion_model", "conditioner": "cond_stage_model"}[part] + "." + rest


def min_snr_weight(snr: Tensor, gamma: float, prediction: str) -> Tensor:
    """min(snr, gamma) as a weight on x0 (arXiv:2303.09556 Eq. 5), turned to `prediction`'s error.

    The x0 error is 1 / snr of the eps error and 1 / (snr + 1) of the v error.
    """
    capped = snr.clamp_max(gamma)
    return {"x0": capped, "eps": capped / snr, "v": capped / (snr + 1)}[prediction]


@torch.no_grad()
def encode_world(first_stage: nn.Module, world: World, cache: Path) -> Tensor:
    """Unscaled latents of every picture, (N, C, h, w); a KL posterior gives its mean.

    They are written to `cache` as float16 and read from there the next time.
    """
    if not cache.exists():
        rows = []
        for start in range(0, len(world), ENCODE_BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                code = first_stage.encode(to_tensor(world.images[start : start + ENCODE_BATCH]))
            rows.append(code.mode() if isinstance(code, DiagonalGaussian) else code)
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(".part.npy")
        np.save(part, torch.cat(rows).half().numpy())
        part.replace(cache)
    return torch.from_numpy(np.load(cache)).float()


def make_run(config: TrainConfig) -> TextToImageRun:
    """Open the world and build the run."""
    about = config.data
    world = open_world(
        about.folder, "train", count=about.scenes, size=about.size, captions=about.captions
    )
    held_out = open_world(about.folder, "held-out", count=500, size=about.size)
    return TextToImageRun(config, world, held_out)
