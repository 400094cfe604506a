"""One picture through a first stage and back: its latents, and what was lost (LDM Sec. 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ldm.catalog.build import build_first_stage
from ldm.catalog.registry import load_preset
from ldm.checkpoints.apply import load_first_stage
from ldm.errors import PresetError, RequestError
from ldm.evaluation.metrics import psnr, ssim
from ldm.images import EncodedImage, to_arrays, to_tensor
from ldm.images.sheet import sheet
from ldm.models.first_stage import IdentityFirstStage, mode_of

LARGEST, SMALLEST = 1024, 16  # px a side: it is decoded whole; SSIM compares squares of 11 px
CHANNELS = 8  # most channels on the sheet
LOUDER = 4  # factor of the errors on the sheet
ENDS = (2, 98)  # percentiles of a channel that are drawn black and white


@dataclass(frozen=True)
class Reconstruction:
    """A picture, its latents and the picture that they give.

    Args:
        picture: (H, W, 3) uint8, in whole latent cells.
        decoded: The same after encoding and decoding.
        latents: (C, h, w) float32, unscaled; the mode of a KL posterior.
        psnr: Of the decoded picture, in dB.
        ssim: Structural similarity, up to 1.
    """

    picture: np.ndarray
    decoded: np.ndarray
    latents: np.ndarray
    psnr: float
    ssim: float

    @property
    def fewer(self) -> float:
        """How many times as many numbers the picture has as the latents."""
        return self.picture.size / self.latents.size

    def sheet(self, title: str = "") -> np.ndarray:
        """Draw the picture, the decoded one, their difference and the latents: (H, W, 3) uint8."""
        error = LOUDER * np.abs(self.picture.astype(int) - self.decoded)
        shown = [self.picture, self.decoded, error.clip(0, 255).astype(np.uint8)]
        above = ["the picture", f"decoded, {self.psnr:.1f} dB", f"difference, {LOUDER} times"]
        for number, channel in enumerate(self.latents[:CHANNELS], 1):
            shown.append(_drawn(channel, self.picture.shape))
            above.append(f"latents, channel {number}")
        return sheet([shown], above, (), title)


@torch.no_grad()
def reconstruct(preset_name: str, image: EncodedImage) -> Reconstruction:
    """Encode a picture by the first stage of a preset, and decode it.

    Args:
        preset_name: A first stage, or a model that has one.
        image: The picture; its right and lower edges are cut to whole latent cells.

    Raises:
        PresetError: If there is no such preset, or it has no first stage.
        RequestError: If the picture is too large or too small.
        CheckpointError: If the preset's file cannot be read.
    """
    preset = load_preset(preset_name)
    first_stage = build_first_stage(preset)
    if isinstance(first_stage, IdentityFirstStage):
        raise PresetError(f"{preset_name} works in pixels; it has no first stage.")
    width, height = (side // first_stage.factor * first_stage.factor for side in image.size)
    if not SMALLEST <= min(width, height) <= max(width, height) <= LARGEST:
        raise RequestError(
            f"the picture must be {SMALLEST} to {LARGEST} px a side, got "
            f"{image.width} x {image.height} px."
        )
    path = preset.first_stage_path or preset.weight_path
    load_first_stage(first_stage, path, dtype=torch.float32)
    picture = np.asarray(Image.fromarray(image.array()).convert("RGB"))[:height, :width]
    before = to_tensor([picture])
    z = mode_of(first_stage.encode(before))
    after = first_stage.decode(z).clamp(-1, 1)
    of = float(psnr(after, before)), float(ssim(after, before))
    return Reconstruction(picture, to_arrays(after)[0], z[0].numpy(), *of)


def _drawn(channel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a channel (h, w) in grey, each cell as the square of pixels that it stands for."""
    low, high = np.percentile(channel, ENDS)
    grey = ((channel - low) / max(high - low, 1e-6)).clip(0, 1) * 255
    image = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return np.asarray(image.resize(shape[1::-1], Image.Resampling.NEAREST))
