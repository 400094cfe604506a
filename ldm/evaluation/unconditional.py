"""Measure a model without a condition: the length of its code, and Fréchet distance."""

from __future__ import annotations

import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.diffusion.coding import even_messages, progressive_coding
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import conditioned
from ldm.diffusion.noise import batch_noise
from ldm.evaluation.critic import judge, load_critic
from ldm.evaluation.drawing import draw, trained_size
from ldm.evaluation.frechet import frechet_row
from ldm.evaluation.held_out import held_out
from ldm.evaluation.report import Row
from ldm.latent_diffusion import LatentDiffusion
from ldm.runtime.manager import ModelManager

CODED = 32  # scenes whose codes are measured, which takes longer than drawing as many
MESSAGES = 200  # a code of all 1000 is within a hundredth of it


def measure(preset: Preset, scenes: int) -> list[Row]:
    """Bits per dimension of held-out scenes (DDPM Sec. 4.3), and Fréchet distance."""
    size, critic = trained_size(preset, scenes), load_critic()
    real = held_out(size.count, size.width, size.height).images
    with ModelManager().use(preset.name) as model:
        bits = bits_per_dimension(model, real[:CODED])
        drawn = draw(model, lambda _: Conditioning(), size)
    features = (judge(critic, images).features for images in (drawn, real))
    row = Row("code of held-out scenes down to x_0", bits, "bits per dimension", size=str(size))
    return [row, frechet_row(critic, *features, size)]


@torch.no_grad()
def bits_per_dimension(model: LatentDiffusion, images: Tensor) -> float:
    """Mean length of the codes of pictures (N, 3, H, W) down to x_0, per channel of a pixel.

    This is DDPM's variational bound without its last term: what x_0, at the least noise, leaves
    open of the 256 levels is not sent.
    """
    x0 = model.encode(images).float()
    *_, last = progressive_coding(
        conditioned(model.denoise, Conditioning()),
        x0,
        model.schedule,
        timesteps=even_messages(model.schedule, MESSAGES),
        noise=lambda index: batch_noise(range(len(x0)), index, x0.shape[1:]).to(x0.device),
    )
    return float(last.bits.mean()) / images[0].numel()
