"""Distances between pictures and between sets of pictures.

Pictures are (B, 3, H, W) float32 in [-1, 1] unless said otherwise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per picture in dB, for a range of 2: (B,)."""
    error = (a - b).square().mean((1, 2, 3)).clamp_min(1e-12)
    return 10 * torch.log10(4.0 / error)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity per picture (Wang et al. 2004): 11 px Gaussian, sigma 1.5: (B,)."""
    channels = a.shape[1]
    x = torch.arange(11, dtype=a.dtype, device=a.device) - 5
    line = torch.exp(-x.square() / (2 * 1.5**2))
    line = line / line.sum()
    kernel = (line[:, None] * line[None, :]).expand(channels, 1, 11, 11)

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(image, kernel, groups=channels)

    mean_a, mean_b = blur(a), blur(b)
    var_a = blur(a * a) - mean_a.square()
    var_b = blur(b * b) - mean_b.square()
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    bottom = (mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2)
    return (top / bottom).mean((1, 2, 3))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of two sets of features (N, D), each taken as a Gaussian (FID's formula).

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2), in float64.
    """
    a, b = a.double(), b.double()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    root_a = _root(cov_a)
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp_min(0).sqrt().sum()
    return float(gap + cov_a.trace() + cov_b.trace() - 2 * cross)


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def mean_iou(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Mean intersection over union of integer label maps, over the classes in `labels`."""
    pairs = labels.flatten().long() * classes + predicted.flatten().long()
    table = torch.bincount(pairs, minlength=classes * classes).view(classes, classes).double()
    shared = table.diagonal()
    union = table.sum(0) + table.sum(1) - shared
    seen = table.sum(1) > 0
    return float((shared[seen] / union[seen]).mean())


def perceptual_distance(
    a: tuple[Tensor, ...], b: tuple[Tensor, ...], mask: Tensor | None = None
) -> Tensor:
    """Mean squared distance of channel-normalised features, summed over levels: (B,).

    The form of LPIPS (arXiv:1801.03924) with uniform weights, on the critic's levels.

    Args:
        a: Features, one (B, C, h, w) per level.
        b: Features of the same shapes.
        mask: (B, 1, H, W), 1 where to compare. Each feature cell is weighted by its share of
            masked px; None: all equally.
    """
    total = torch.zeros(a[0].shape[0], device=a[0].device)
    for x, y in zip(a, b, strict=True):
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        gap = (x - y).square().sum(1, keepdim=True)
        weight = (
            torch.ones_like(gap) if mask is None else F.adaptive_avg_pool2d(mask, gap.shape[2:])
        )
        total = total + (gap * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
    return total
