"""Measure how much closer to the original an upscaling model comes than bicubic enlargement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data.degradations import FACTOR, bicubic, bsr
from ldm.evaluation.critic import distances, judge, load_critic
from ldm.evaluation.drawing import Size, draw, sizes, trained_size
from ldm.evaluation.grid import Block
from ldm.evaluation.held_out import held_out
from ldm.evaluation.metrics import frechet_distance, psnr
from ldm.evaluation.report import IN_PIECES, KEPT, Row
from ldm.images import to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.runtime.manager import ModelManager
from ldm.tasks.back_projection import back_projected

BAR = 2.0  # ratio of bicubic's distance to the model's
BLOCKS = 12  # scenes on the example sheet


def measure(preset: Preset, scenes: int) -> list[Row]:
    """Perceptual and Fréchet distances, bicubic's divided by the model's, per size.

    The wide scenes differ from those of the trained width, in content and degradation. At four
    times the width, the model is therefore also compared with itself on the same pictures, cut into
    pieces of the trained width.
    """
    critic, rows, gains = load_critic(), [], []
    with ModelManager().use(preset.name) as model:
        for size in sizes(preset, scenes):
            real = held_out(size.count, size.width, size.height).images
            low = shrunk(real, degradation(preset))
            ours, theirs = draw_low(model, low, size), enlarged(low)
            near, far = (float(distances(critic, images, real).mean()) for images in (ours, theirs))
            truth = judge(critic, real).features
            fids = [frechet_distance(judge(critic, x).features, truth) for x in (ours, theirs)]
            gains.append(far / near)
            bar = BAR if size.times == 1 else None
            rows += [
                Row("perceptual distance: bicubic's / ours", gains[-1], "", bar, str(size)),
                Row("Frechet distance: bicubic's / ours", fids[1] / fids[0], "", bar, str(size)),
                Row("perceptual distance", near, size=str(size)),
                Row("PSNR", float(psnr(ours, real).mean()), "dB", size=str(size)),
            ]
            if size.times == 4:
                rows.append(Row(KEPT, gains[-1] / gains[0], "", 0.9, str(size)))
                pieces = draw_low(model, in_four(low), trained_size(preset, 4 * size.count))
                apart = float(distances(critic, rejoined(pieces), real).mean())
                rows.append(Row(IN_PIECES, apart / near, size=str(size)))
    return rows


def degradation(preset: Preset) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """The function that shrunk the training pictures of this model."""
    return (lambda image, rng: bicubic(image)) if preset.keeps_means == 1 else bsr


def shrunk(
    images: Tensor, shrink: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> Tensor:
    """Shrink (N, 3, H, W) to (N, 3, H / 4, W / 4); picture i uses the seed i."""
    arrays = to_arrays(images)
    return to_tensor([shrink(a, np.random.default_rng(i)) for i, a in enumerate(arrays)])


def enlarged(low: Tensor) -> Tensor:
    """Enlarge pictures bicubically: (N, 3, h, w) -> (N, 3, 4 h, 4 w)."""
    height, width = (FACTOR * side for side in low.shape[2:])
    pictures = [Image.fromarray(a).resize((width, height), Image.BICUBIC) for a in to_arrays(low)]
    return to_tensor([np.asarray(picture) for picture in pictures])


def in_four(images: Tensor) -> Tensor:
    """Cut pictures into four parts side by side: (N, 3, H, 4 W) -> (4 N, 3, H, W)."""
    return torch.cat(images.chunk(4, dim=3))


def rejoined(quarters: Tensor) -> Tensor:
    """The inverse of `in_four`: (4 N, 3, H, W) -> (N, 3, H, 4 W)."""
    return torch.cat(quarters.chunk(4), dim=3)


def draw_low(model: LatentDiffusion, low: Tensor, size: Size, **how: Any) -> Tensor:
    """Upscale pictures (N, 3, h, w) as the task does, with back-projection: (N, 3, 4 h, 4 w)."""
    images = draw(model, lambda some: model.condition(low[some]), size, **how)
    return back_projected(images, low, model.keeps_means)


def examples(preset: Preset, model: LatentDiffusion) -> list[Block]:
    """Held-out scenes: the input's pixels, bicubic, the model, and the original."""
    size = trained_size(preset, BLOCKS)
    real = held_out(BLOCKS, preset.width, preset.height).images
    low = shrunk(real, degradation(preset))
    pixels = low.repeat_interleave(FACTOR, 2).repeat_interleave(FACTOR, 3)
    ours = draw_low(model, low, size)
    columns = [to_arrays(images) for images in (pixels, enlarged(low), ours, real)]
    caption = "given, bicubic, this model, the original"
    return [Block(caption, pictures) for pictures in zip(*columns, strict=True)]
