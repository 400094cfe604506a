"""The latents of the training pictures, encoded once and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ldm.images import to_tensor
from ldm.models.first_stage import mode_of
from ldm.runtime.device import autocast
from ldm.training.world import World, save_array

ENCODE_BATCH = 128  # pictures


def encoder_key(first_stage: nn.Module) -> str:
    """Hash of the encoder's weights, as a key of cached latents. The decoder does not affect it."""
    digest = hashlib.sha256()
    for name, value in first_stage.state_dict().items():
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + value.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


@torch.no_grad()
def encode_world(first_stage: nn.Module, world: World, folder: Path) -> Tensor:
    """Return unscaled latents of all pictures, (N, C, h, w); of a KL posterior, the mean.

    They are written to a file in `folder` as float16, and read from there the next time.
    """
    cache = folder / f"latents-{encoder_key(first_stage)}-{world.key}.npy"
    if not cache.exists():
        some = next(first_stage.parameters(), torch.empty(0))  # pixels have no weights
        device, rows = some.device, []
        for start in range(0, len(world), ENCODE_BATCH):
            images = to_tensor(world.images[start : start + ENCODE_BATCH]).to(device)
            with autocast(device):
                code = mode_of(first_stage.encode(images))
            rows.append(code.half().cpu())
        save_array(cache, torch.cat(rows).numpy())
    return torch.from_numpy(np.load(cache)).float()
