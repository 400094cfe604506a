"""A large picture out of one of the trained size, against repeated things."""

import copy
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldm.canvas.estimate import facts_of
from ldm.canvas.wrapped import MARGIN
from ldm.images import EncodedImage
from ldm.requests import TextToImage
from ldm.runtime.manager import ModelManager
from ldm.tasks.estimating import canvases
from ldm.tasks.settings import Sampling, of_request, small_of
from tests.test_tasks_covering import REQUEST, made

START = EncodedImage.from_array(np.zeros((64, 96, 3), np.uint8))


@pytest.mark.parametrize(("coarse", "steps"), [(0.01, 2), (0.5, 5), (1.0, 10)])
def test_after_a_small_picture_something_is_made_anew(coarse, steps):
    """The last step begins where there is next to no noise."""
    sampling = Sampling("ddim", 10, 1.0, 0.0, (1,), 64, 64, coarse=coarse)
    assert sampling.resampled_steps == steps
    assert replace(sampling, steps=1).resampled_steps == 1


def test_a_seamless_picture_is_begun_seamless(trained_small, monkeypatch):
    """What is at the edge of the enlarged picture is encoded with what is at the other one."""
    seen = []
    encode = type(trained_small).encode
    monkeypatch.setattr(
        type(trained_small), "encode", lambda self, image: seen.append(image) or encode(self, image)
    )
    made(trained_small, replace(REQUEST, seamless="across", coarse=0.67))
    (image,) = seen
    margin = 2 * MARGIN  # px
    assert image.shape == (1, 3, 64, 96 + 2 * margin)
    assert torch.equal(image[..., :margin], image[..., 96 : 96 + margin])
    assert torch.equal(image[..., -margin:], image[..., margin : 2 * margin])


def test_a_small_picture_is_enlarged_smoothly_and_within_the_range_of_colours(
    trained_small, monkeypatch
):
    """Of black and white; next to their edges the bicubic curve is blacker and whiter."""
    kind, decoded, encoded = type(trained_small), [], []
    decode, encode = kind.decode, kind.encode

    def stark(self, latents):
        image = decode(self, latents)
        decoded.append((image - image.mean()).sign())
        return decoded[-1]

    monkeypatch.setattr(kind, "decode", stark)
    monkeypatch.setattr(kind, "encode", lambda self, x: encoded.append(x) or encode(self, x))
    made(trained_small, replace(REQUEST, coarse=0.67))
    (image,) = encoded
    (small,) = [x for x in decoded if x.shape == (1, 3, 32, 48)]
    beyond = F.interpolate(small, (64, 96), mode="bicubic")
    assert beyond.abs().max() > 1.05
    assert image.abs().max() <= 1
    assert torch.equal(image, beyond.clamp(-1, 1))


def test_small_first_takes_its_steps_twice_and_says_so(trained_small):
    request = replace(REQUEST, coarse=0.67)
    progress, result = made(trained_small, request)
    sampling = [event for event in progress if event.stage == "sampling"]
    assert (sampling[-1].step, sampling[-1].total) == (5, 5)  # 3 small ones, 2 large ones
    assert {e.step for e in sampling if e.detail == "small picture first"} == {1, 2, 3}
    assert {e.step for e in sampling if e.detail == "now at full size"} == {4, 5}
    between = [event for event in progress if event.stage == "enlarging"]
    assert {(event.step, event.total) for event in between} == {(3, 5)}
    assert progress[-1].stage == "decoding"  # and only then
    assert [event.stage for event in progress].count("decoding") == 1
    assert result.images[0].shape == (64, 96, 3)
    small, large = canvases(request, facts_of(trained_small))
    assert (small.rows, small.columns) == (16, 24)
    assert (large.rows, large.columns, large.encodes) == (32, 48, True)
    assert large.share == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "is_first"),
    [
        ({"steps": 3}, True),
        ({"steps": 1}, False),
        ({"steps": 2, "sampler": "ddpm"}, False),  # the second pass takes two at least
        ({"steps": 3, "sampler": "ddpm"}, True),
        ({"steps": 4, "image": START, "strength": 0.3}, False),
        ({"steps": 20, "image": START, "strength": 0.5}, True),
    ],
)
def test_no_small_picture_comes_first_if_it_would_be_made_anew(trained_small, change, is_first):
    """A picture to start from was lost: the second pass of ddpm began at pure noise."""
    sampling = of_request(replace(REQUEST, coarse=0.2, **change))
    assert (small_of(trained_small, sampling) is not None) == is_first


def test_a_large_picture_is_held_to_its_small_one():
    request = TextToImage(
        prompt="a lake", width=256, height=256, steps=4, sampler="ddim", seed=1, eta=0.0,
        temperature=1.0, guidance_scale=1.0, coarse=0.75,
    )  # fmt: skip
    with ModelManager(device="cpu").use(request.preset) as model:
        small, free, held = (
            cv2.resize(made(model, asked)[1].images[0], (16, 16), interpolation=cv2.INTER_AREA)
            for asked in (
                replace(request, width=128, height=128, coarse=0.0),
                request,
                replace(request, coarse_hold=1.0),
            )
        )
    gaps = [np.abs(rough.astype(float) - small).mean() for rough in (free, held)]
    assert gaps[1] < 0.7 * gaps[0], gaps


def test_a_canvas_of_the_trained_size_has_no_small_picture(tiny_model):
    model = copy.copy(tiny_model)
    model.trained_size = (64, 96)
    _, once = made(model)
    _, asked = made(model, replace(REQUEST, coarse=0.5))
    assert (once.images[0] == asked.images[0]).all()
