"""The plain networks of a preset, with its own weights if they are on disk, else random ones.

Random weights change neither the arithmetic nor time and memory.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ldm.catalog.architecture import Architecture
from ldm.catalog.build import build_first_stage, build_model
from ldm.catalog.schema import Preset
from ldm.checkpoints.apply import load_files, load_first_stage


def plain_unet(preset: Preset, device: str = "cpu") -> nn.Module:
    """Build the UNet in float32."""
    if preset.is_on_disk:
        model = build_model(preset)
        load_files(model, preset.weight_paths, dtype=torch.float32, device=device)
        return model.unet.requires_grad_(False)
    about = preset.architecture
    stage = dataclasses.replace(about.first_stage, kind="identity", n_embed=None)
    unet = build_model(dataclasses.replace(about, first_stage=stage), "meta").unet
    return randomised(unet.to_empty(device=device))


def plain_first_stage(preset: Preset, device: str = "cpu") -> nn.Module:
    """Build the autoencoder in float32."""
    about = Architecture(first_stage=preset.architecture.first_stage)
    stage = build_first_stage(about)
    if not preset.is_on_disk:
        return randomised(stage.to_empty(device=device))
    path = preset.first_stage_path or preset.weight_paths[0]
    load_first_stage(stage, path, dtype=torch.float32, device=device)
    return stage.requires_grad_(False)


def randomised(network: nn.Module) -> nn.Module:
    """Randomise all weights, scaled by the fan-in to keep activations near 1.

    The usual initialisation sets many weights to zero.
    """
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data.normal_(0.0, fan_in**-0.5, generator=generator)
    return network.eval().requires_grad_(False)
