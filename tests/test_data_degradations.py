"""Low-resolution pictures: sizes, geometry and the kernels' closed forms."""

import numpy as np
import pytest
from PIL import Image

from ldm.data.degradations import _order, bicubic, bsr, shifted_gaussian, slanted_gaussian


def ramp(height, width):
    """A picture whose red grows to the right and whose green grows downwards."""
    y, x = np.mgrid[:height, :width]
    blue = np.full_like(x, 90)
    return np.stack([40 + 160 * x / width, 40 + 160 * y / height, blue], 2).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (67, 130), (16, 31)])
def test_sizes_are_a_quarter_and_the_rest_is_cut(height, width):
    image = ramp(height, width)
    expected = (height // 4, width // 4, 3)
    assert bicubic(image).shape == expected
    small = bsr(image, np.random.default_rng(0))
    assert small.shape == expected
    assert small.dtype == np.uint8


def test_bicubic_is_antialiased():
    """Stripes of one pixel become even grey; without antialiasing they would stay stripes."""
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(bicubic(stripes)[2:-2, 2:-2].astype(int) - 100).max() <= 2


def test_bsr_keeps_places_and_brightness():
    """However it is drawn, the picture does not wander: a ramp stays that ramp, about."""
    image = ramp(96, 128)
    truth = np.asarray(Image.fromarray(image).resize((32, 24), Image.BOX)).astype(int)
    rng = np.random.default_rng(5)
    pictures = np.stack([bsr(image, rng) for _ in range(40)]).astype(float)
    errors = (pictures - truth)[:, 4:-4, 4:-4]
    assert abs(errors.mean()) < 1.0
    # half a pixel of shift would be 2.5 levels of red in every picture
    assert np.abs(errors[..., 0].mean((1, 2))).mean() < 2.0


def test_bsr_is_a_function_of_its_generator():
    image = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    first, again, other = (bsr(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_first_resize_comes_before_the_second_and_all_slots_occur():
    rng = np.random.default_rng(0)
    orders = [_order(rng) for _ in range(50)]
    assert all(order.index(2) < order.index(3) for order in orders)
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) > 30


def test_gaussians_have_sum_one_and_their_variances():
    kernel = slanted_gaussian(41, np.array([4.0, 9.0]), 0.0)
    at = np.arange(41) - 20
    assert abs(kernel.sum() - 1) < 1e-12
    assert abs((kernel.sum(0) * at**2).sum() - 4.0) < 0.01
    assert abs((kernel.sum(1) * at**2).sum() - 9.0) < 0.01
    turned = slanted_gaussian(41, np.array([4.0, 9.0]), np.pi / 2)
    assert np.allclose(turned, kernel.T)
    shifted = shifted_gaussian(25, 2.0, 1.5)
    assert abs((shifted.sum(0) * np.arange(25)).sum() - (12 - 1.5)) < 0.01
