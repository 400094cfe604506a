import math

import numpy as np
import pytest
import torch

from ldm.evaluation.metrics import frechet_distance, mean_iou, perceptual_distance, psnr, ssim


def test_psnr_of_a_constant_error_is_its_closed_form():
    image = torch.zeros(2, 3, 16, 16)
    assert torch.allclose(psnr(image, image + 0.2), torch.full((2,), 20 * math.log10(2 / 0.2)))


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    noise = torch.randn(image.shape, generator=generator)
    slight, strong = ssim(image, image + 0.1 * noise), ssim(image, image + 0.5 * noise)
    assert torch.allclose(ssim(image, image), torch.ones(2), atol=1e-5)
    assert (slight > strong).all()
    assert (slight < 1).all()


def test_frechet_distance_of_gaussians_with_known_moments():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(50_000, 4, generator=generator)
    b = 2 * torch.randn(50_000, 4, generator=generator) + 1
    # |mu|^2 + tr(I + 4I - 2 * 2I) = 4 + 4
    assert abs(frechet_distance(a, b) - 8.0) < 0.2
    assert frechet_distance(a, a) < 1e-9


def test_mean_iou_counts_only_classes_that_occur():
    labels = torch.tensor([[0, 0, 1, 1]])
    assert mean_iou(labels, labels, classes=5) == 1.0
    # class 0: 1 of 2 + 0 extra; class 1: 2 shared, 3 in the union
    predicted = torch.tensor([[0, 1, 1, 1]])
    assert math.isclose(mean_iou(predicted, labels, classes=5), (1 / 2 + 2 / 3) / 2)


def test_perceptual_distance_ignores_scale_and_sees_direction():
    x = torch.rand(2, 4, 8, 8) + 0.1
    assert perceptual_distance((x,), (3 * x,)).abs().max() < 1e-6
    assert (perceptual_distance((x,), (x.flip(1),)) > 1e-3).all()


def test_perceptual_distance_inside_a_mask_sees_nothing_outside_it():
    x = torch.rand(2, 4, 8, 8) + 0.1
    y = x.clone()
    y[:, :, :4] = x[:, :, :4].flip(1)  # the upper half differs
    upper = torch.zeros(2, 1, 16, 16)
    upper[:, :, :8] = 1
    inside = perceptual_distance((x,), (y,), upper)
    assert perceptual_distance((x,), (y,), 1 - upper).abs().max() < 1e-6
    # half of the picture differs, so the mean over all of it is half as large
    assert torch.allclose(perceptual_distance((x,), (y,)), inside / 2)


def test_ssim_of_one_window_is_its_formula():
    """Wang et al. 2004, Eq. 13, for values of a range of 2."""
    a, b = 0.2 * torch.randn(2, 1, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    found = []
    for x, y in zip(a[0].double().numpy(), b[0].double().numpy(), strict=True):
        (mx, my) = ((weights * z).sum() for z in (x, y))
        (vx, vy) = ((weights * (z - m) ** 2).sum() for z, m in ((x, mx), (y, my)))
        cov, c1, c2 = (weights * (x - mx) * (y - my)).sum(), 0.02**2, 0.06**2
        top, bottom = (2 * mx * my + c1) * (2 * cov + c2), (mx**2 + my**2 + c1) * (vx + vy + c2)
        found.append(top / bottom)
    assert float(ssim(a, b)) == pytest.approx(np.mean(found), rel=1e-3)
