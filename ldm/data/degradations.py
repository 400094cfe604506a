"""Degradations that make the low-resolution training inputs of a x4 upscaling model.

`bicubic` only shrinks, with antialiasing. `bsr` is the light variant of BSRGAN (arXiv:2103.14006)
that the published model was trained with: blur, two resizes, noise and JPEG in random order, each
much milder than in the paper.

Pictures are (H, W, 3) uint8 RGB in the interface and float32 in 0..1 internally; `sf` is the scale
factor.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

FACTOR = 4
HALVE_FIRST = 0.25  # chance of halving the picture first
JPEG_QUALITY = (80, 95)
JPEG_IN_BETWEEN = 0.9  # chance of a JPEG before the final one
NOISE_LEVELS = (1, 2)  # standard deviations in 1 / 255
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)
MIN_VARIANCE = 1e-3  # px^2; smaller variances are raised to it, where a blur has no effect


def bicubic(image: np.ndarray, factor: int = FACTOR) -> np.ndarray:
    """Shrink (H, W, 3) to (H // factor, W // factor, 3), antialiased.

    Rows and columns that are left over at the bottom and at the right are cut off first.
    """
    image = _cropped(image, factor)
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((width // factor, height // factor), Image.BICUBIC)
    return np.asarray(small)


def bsr(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Degrade and shrink (H, W, 3) to (H // 4, W // 4, 3).

    Args:
        image: uint8 RGB; rows and columns left over at the bottom and at the right are cut off.
        rng: Source of all randomness.
    """
    x = _cropped(image, FACTOR).astype(np.float32) / 255
    sf = FACTOR
    if rng.random() < HALVE_FIRST:
        x, sf = _halved(x, rng), FACTOR // 2
    height, width = x.shape[:2]
    final = (width // sf, height // sf)
    steps: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        0: lambda x: _blurred(x, sf, rng),
        2: lambda x: _shrunk(x, sf, rng),
        3: lambda x: np.clip(cv2.resize(x, final, interpolation=_interpolation(rng)), 0, 1),
        4: lambda x: _noisy(x, rng),
        5: lambda x: _jpeg(x, rng) if rng.random() < JPEG_IN_BETWEEN else x,
    }
    for slot in _order(rng):
        if slot in steps:
            x = steps[slot](x)
    return np.round(_jpeg(x, rng) * 255).astype(np.uint8)


def _order(rng: np.random.Generator) -> list[int]:
    """Shuffle the seven slots of the full variant, the first resize (2) before the second (3)."""
    order = rng.permutation(7).tolist()
    first, second = order.index(2), order.index(3)
    if second < first:
        order[first], order[second] = order[second], order[first]
    return order


def _cropped(image: np.ndarray, multiple: int) -> np.ndarray:
    height, width = image.shape[:2]
    return image[: height // multiple * multiple, : width // multiple * multiple]


def _interpolation(rng: np.random.Generator) -> int:
    return INTERPOLATIONS[int(rng.integers(len(INTERPOLATIONS)))]


def _halved(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Halve a picture by OpenCV, or by antialiased bicubic with mirrored borders."""
    height, width = x.shape[:2]
    if rng.random() < 0.5:
        small = cv2.resize(x, (width // 2, height // 2), interpolation=_interpolation(rng))
    else:
        small = _half_bicubic(x)
    return np.clip(small, 0, 1)


def _half_bicubic(x: np.ndarray, border: int = 8) -> np.ndarray:
    """Halve by Pillow's antialiased bicubic (a = -0.5); mirroring replaces Pillow's borders."""
    padded = np.pad(x, ((border, border), (border, border), (0, 0)), mode="symmetric")
    height, width = padded.shape[:2]
    size = (width // 2, height // 2)
    planes = [Image.fromarray(plane).resize(size, Image.BICUBIC) for plane in _planes(padded)]
    cut = border // 2
    return np.stack([np.asarray(p)[cut:-cut, cut:-cut] for p in planes], axis=2)


def _planes(x: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(x[:, :, channel]) for channel in range(x.shape[2])]


def _blurred(x: np.ndarray, sf: int, rng: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian, which is anisotropic and rotated with a chance of one half."""
    if rng.random() < 0.5:
        variances = (4 + sf) / 4 * rng.random(2)
        side = int(rng.integers(2, 12)) + 3
        kernel = slanted_gaussian(side, variances, np.pi * rng.random())
    else:
        sigma = (2 + 0.2 * sf) / 4 * rng.random()
        side = int(rng.integers(2, 5)) + 3
        kernel = slanted_gaussian(side, np.full(2, sigma**2), 0.0)
    return _convolved(x, kernel)


def slanted_gaussian(side: int, variances: np.ndarray, angle: float) -> np.ndarray:
    """Return a rotated (side, side) Gaussian of sum 1; variances in px^2, angle in radians."""
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = (axes / np.maximum(variances, MIN_VARIANCE)) @ axes.T
    at = np.arange(side) - (side - 1) / 2
    places = np.stack(np.meshgrid(at, at), axis=-1)
    exponent = -0.5 * np.einsum("yxi,ij,yxj->yx", places, inverse, places)
    kernel = np.exp(exponent - exponent.max())
    kernel[kernel < np.finfo(np.float64).eps] = 0
    return kernel / kernel.sum()


def _convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve (with the kernel flipped); borders are mirrored without repeating the edge pixel."""
    side = len(kernel)
    anchor = side - 1 - side // 2  # the kernel's middle is at side // 2 before it is flipped
    turned = np.ascontiguousarray(kernel[::-1, ::-1])
    border = cv2.BORDER_REFLECT_101
    return cv2.filter2D(x, -1, turned, anchor=(anchor, anchor), borderType=border)


def _shrunk(x: np.ndarray, sf: int, rng: np.random.Generator) -> np.ndarray:
    """Resize by 1 / U(1, 2 sf) with a chance of 0.8; else blur and take every sf-th pixel."""
    height, width = x.shape[:2]
    if rng.random() < 0.8:
        by = rng.uniform(1, 2 * sf)
        size = (max(1, int(width / by)), max(1, int(height / by)))
        small = cv2.resize(x, size, interpolation=_interpolation(rng))
    else:
        kernel = shifted_gaussian(25, rng.uniform(0.1, 0.6 * sf), (sf - 1) / 2)
        small = np.ascontiguousarray(_convolved(x, kernel)[::sf, ::sf])
    return np.clip(small, 0, 1)


def shifted_gaussian(side: int, sigma: float, shift: float) -> np.ndarray:
    """Return a Gaussian of sum 1, moved up and left by `shift` px.

    So the first pixel of a block is computed from the whole block.
    """
    at = np.arange(side)
    line = np.exp(-((at - (side - 1) / 2) ** 2) / (2 * sigma**2))
    line = np.interp(np.minimum(at + shift, side - 1), at, line)
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def _noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise, independent per channel, equal in all channels or correlated."""
    sigma = int(rng.integers(NOISE_LEVELS[0], NOISE_LEVELS[1] + 1)) / 255
    kind = rng.random()
    if kind < 0.4:
        noise = rng.normal(0, sigma, x.shape)
    elif kind < 0.8:
        noise = rng.normal(0, sigma, (*x.shape[:2], 1))
    else:
        basis = np.linalg.qr(rng.random((3, 3)))[0]
        covariance = np.abs((NOISE_LEVELS[1] / 255) ** 2 * (basis.T * rng.random(3)) @ basis)
        zero = np.zeros(3)
        noise = rng.multivariate_normal(zero, covariance, x.shape[:2], check_valid="ignore")
    return np.clip(x + noise.astype(np.float32), 0, 1)


def _jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    quality = int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    pixels = np.round(np.clip(x, 0, 1) * 255).astype(np.uint8)
    bgr = np.ascontiguousarray(pixels[:, :, ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1].astype(np.float32) / 255
