"""Train a first stage: a KL- or VQ-regularised autoencoder (LDM Sec. 3.1, App. G)."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ldm.catalog.build import build_first_stage
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.images import to_tensor
from ldm.models.first_stage import AutoencoderKL, VQModel
from ldm.training.config import TrainConfig
from ldm.training.loop import COMPARED, Run
from ldm.training.pictures import open_worlds
from ldm.training.samples import save_grid
from ldm.training.snapshots import export_weights, start_alike, start_equal
from ldm.training.world import World

CODEBOOK_IMAGES = 64  # pictures whose codes initialise a new codebook


class Reconstruct(nn.Module):
    """image -> (reconstruction, regulariser), in one forward pass for distributed training."""

    def __init__(self, first_stage: nn.Module) -> None:
        super().__init__()
        self.first_stage = first_stage

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct (B, 3, H, W) in [-1, 1]; also return the scalar KL or codebook loss."""
        code = self.first_stage.encode(image)
        if isinstance(self.first_stage, AutoencoderKL):
            z = code.mean + code.std * torch.randn_like(code.mean)
            return self.first_stage.decode(z), code.kl().mean() / code.mean[0].numel()
        z, codebook_loss, _ = self.first_stage.quantize(code)
        return self.first_stage.decode(z, force_not_quantize=True), codebook_loss


class FirstStageRun(Run):
    """Training run of a first stage."""

    def __init__(self, config: TrainConfig, world: World, held_out: World) -> None:
        self.config = config
        self.preset = load_preset(config.preset)
        first_stage = build_first_stage(self.preset, "cpu").train()
        if config.start_from == config.preset:
            start_equal(first_stage, self.preset.weight_path)
        elif config.start_from is not None:
            images = to_tensor(world.images[:CODEBOOK_IMAGES])
            start_from(first_stage, load_preset(config.start_from), images)
        if config.freeze_encoder:
            first_stage.encoder.requires_grad_(False)
            first_stage.quant_conv.requires_grad_(False)
        self.model = Reconstruct(first_stage)
        self.world = world
        self.held_out = copy.copy(self)
        self.held_out.world = held_out.first(COMPARED)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """Return random crops: one (size, 3, crop, crop) tensor in [-1, 1]."""
        side = self.world.images.shape[1]
        crop = self.config.data.crop or side
        rows = rng.integers(len(self.world), size=size)
        corners = rng.integers(side - crop + 1, size=(size, 2))
        crops = [
            self.world.images[i, y : y + crop, x : x + crop]
            for i, (y, x) in zip(rows, corners, strict=True)
        ]
        return (to_tensor(crops),)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """L1 of pixels and of finite differences, plus the regulariser."""
        (image,) = batch
        reconstruction, regulariser = model(image)
        error = reconstruction.float() - image
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        about = self.config.loss
        is_kl = isinstance(self.model.first_stage, AutoencoderKL)
        weight = about.kl if is_kl else about.codebook
        loss = error.abs().mean() + about.gradient * edges + weight * regulariser.float()
        mse = error.detach().square().mean()
        return {"loss": loss, "regulariser": regulariser, "psnr": 10 * torch.log10(4 / mse)}

    @torch.no_grad()
    def sample(self, model: nn.Module, path: Path) -> None:
        """Write held-out pictures, with their reconstructions below."""
        device = next(model.parameters()).device
        image = to_tensor(self.held_out.world.images[:8]).to(device)
        reconstruction, _ = model(image)
        save_grid(path, torch.cat([image, reconstruction]), columns=8)

    def export(self, model: nn.Module, step: int) -> None:
        """Write the averaged weights under the published key names."""
        path = self.preset.weight_path
        export_weights(path, model.first_stage.state_dict(), {"step": str(step)})


def start_from(first_stage: nn.Module, relative: Preset, images: Tensor) -> None:
    """Initialise from another first stage: of the same kind, or a VQ model from a KL model.

    Raises:
        TrainingError: If the other first stage's weights are missing.
    """
    if isinstance(first_stage, VQModel) and relative.architecture.first_stage.kind == "kl":
        start_from_kl(first_stage, relative, images)
    else:
        start_alike(first_stage, relative.weight_path)


@torch.no_grad()
def start_from_kl(vq: VQModel, kl_preset: Preset, images: Tensor) -> None:
    """Initialise a VQ model from a KL model of the same layers, and its codebook from codes.

    The KL model's mean becomes the code: its `quant_conv` is folded into the last convolution of
    the encoder, which in a VQ model has one output per channel of the code. The codebook entries
    are random codes of `images`.
    """
    kl = build_first_stage(kl_preset, "cpu")
    start_equal(kl, kl_preset.weight_path)
    fold = kl.quant_conv.weight[: vq.quant_conv.out_channels, :, 0, 0]
    last, theirs = vq.encoder.conv_out, kl.encoder.conv_out
    shared = {k: v for k, v in kl.state_dict().items() if "conv_out" not in k or "decoder" in k}
    shared = {k: v for k, v in shared.items() if not k.startswith("quant_conv")}
    vq.load_state_dict(shared, strict=False)
    last.weight.copy_(torch.einsum("oi,ikhw->okhw", fold, theirs.weight))
    last.bias.copy_(fold @ theirs.bias + kl.quant_conv.bias[: len(fold)])
    vq.quant_conv.weight.copy_(torch.eye(len(fold))[:, :, None, None])
    vq.quant_conv.bias.zero_()
    codes = vq.encode(images).permute(0, 2, 3, 1).flatten(0, 2)
    entries = vq.quantize.embedding.weight
    generator = torch.Generator().manual_seed(0)
    entries.copy_(codes[torch.randperm(len(codes), generator=generator)[: len(entries)]])


def make_run(config: TrainConfig) -> FirstStageRun:
    """Load the training data and build the run."""
    return FirstStageRun(config, *open_worlds(config, zoomed=False))
