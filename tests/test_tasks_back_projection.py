"""What is given is found again in what is made of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ldm.data.rendering import render
from ldm.data.scenes import sample
from ldm.events import Progress
from ldm.images import to_tensor
from ldm.requests import EncodedImage, Upscale
from ldm.tasks import back_projection, upscale
from ldm.tasks.back_projection import back_projected


def picture():
    return render(sample(np.random.default_rng(2), 128, 64)).image


def shrunk(image):
    height, width, _ = image.shape
    return np.asarray(Image.fromarray(image).resize((width // 4, height // 4), Image.BICUBIC))


def test_a_corrected_picture_shrinks_to_the_given_one():
    image = picture()
    given = to_tensor([shrunk(image)])
    worse = (0.8 * to_tensor([image]) + 0.05).clamp(-1, 1)  # paler and brighter
    corrected = back_projected(worse, given)
    pixels = ((corrected[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    error = np.abs(shrunk(pixels).astype(int) - shrunk(image))
    before = ((worse[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    assert np.abs(shrunk(before).astype(int) - shrunk(image)).mean() > 10
    assert error.mean() < 0.5
    assert (corrected - to_tensor([image])).abs().mean() < 0.2 * (
        worse - to_tensor([image])
    ).abs().mean()


def test_what_one_round_leaves_of_the_difference_is_halved_by_another(monkeypatch):
    paler = 0.8 * to_tensor([picture()])
    given = to_tensor([shrunk(picture())])

    def gap():
        corrected = back_projected(paler, given)
        again = F.interpolate(corrected, given.shape[2:], mode="bicubic", antialias=True)
        return (again - given).abs().mean()

    usual = gap()
    monkeypatch.setattr(back_projection, "ROUNDS", 1)
    assert usual < 0.6 * gap()


def test_a_picture_that_already_agrees_is_left_alone():
    image = to_tensor([picture()])
    given = to_tensor([shrunk(picture())])
    assert (back_projected(image, given) - image).abs().max() < 2 / 127.5


def test_one_given_picture_serves_a_batch():
    image = to_tensor([picture()])
    given = to_tensor([shrunk(picture())])
    both = back_projected(torch.cat([0.9 * image, image]), given)
    assert torch.allclose(both[1:], back_projected(image, given), atol=1e-6)


@pytest.mark.parametrize("keeps_means", [1, 0])
def test_the_upscaling_task_corrects_where_the_preset_says_so(monkeypatch, keeps_means):
    image = picture()
    paler = (0.8 * image).astype(np.uint8)

    def sample(model, sampling, cond, uncond, context, among):
        yield Progress("sampling", 1, 1)
        return [paler]

    monkeypatch.setattr(upscale, "sample", sample)
    model = SimpleNamespace(
        factor=4,
        size_multiple=4,
        schedule_length=10,
        unet=SimpleNamespace(factor=1),
        condition=lambda inputs: None,
        keeps_means=keeps_means,
    )
    given = EncodedImage.from_array(shrunk(image))
    request = Upscale(image=given, steps=1, sampler="ddim", eta=0.0, temperature=1.0, seed=0)
    *_, result = upscale.run(model, request)
    error = np.abs(shrunk(result.images[0]).astype(int) - shrunk(image)).mean()
    assert (error < 0.5) == bool(keeps_means)


def test_means_of_squares_leave_noise_behind():
    """A noisy picture gives its colours but not its noise."""
    image = to_tensor([picture()])
    clean = to_tensor([shrunk(picture())])
    noise = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    wrong = image + 0.2  # too bright
    by_pixels = back_projected(wrong, clean + noise, 1)
    by_squares = back_projected(wrong, clean + noise, 4)
    assert (by_squares - image).abs().mean() < 0.6 * (by_pixels - image).abs().mean()
    assert (by_squares - image).abs().mean() < 0.2 * (wrong - image).abs().mean()
