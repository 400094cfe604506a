"""The code length of a model that knows the answer, and what is drawn beside what is real."""

import math

import pytest
import torch

from ldm.catalog.registry import load_preset
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.schedule import NoiseSchedule
from ldm.evaluation import unconditional
from ldm.evaluation.held_out import held_out
from ldm.evaluation.unconditional import bits_per_dimension


class Gaussian:
    """A model of independent N(0, 1) pixels, whose noise prediction is exact."""

    schedule = NoiseSchedule.linear(1e-4, 0.02, 1000)

    def encode(self, images):
        return images

    def denoise(self, x, t, cond):
        return (1 - self.schedule.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1) * x


def test_the_code_of_normal_pixels_is_as_long_as_their_information():
    images = batch_noise(range(4), 0, (3, 64, 64))
    level = float(Gaussian.schedule.alphas_cumprod[0])
    information = -math.log2(1 - level) / 2
    found = bits_per_dimension(Gaussian(), images)
    assert information < found < 1.15 * information  # in steps it is a little longer


def test_real_pictures_are_as_far_as_real_ones_and_grey_ones_farther(monkeypatch):
    preset = load_preset("demo-ddpm")
    monkeypatch.setattr(unconditional, "bits_per_dimension", lambda model, images: 1.5)

    def distance(drawn):
        monkeypatch.setattr(unconditional, "draw", lambda model, condition, size: drawn)
        bits, row = unconditional.measure(preset, 16)
        assert (bits.value, bits.size) == (1.5, "32 x 32")
        return row

    real = distance(held_out(16, 32, 32, first=16).images)
    assert real.value == pytest.approx(real.between_real)
    assert distance(torch.zeros(16, 3, 32, 32)).value > 2 * real.value
