"""A large picture out of one of the trained size, against repeated things."""

import copy
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from ldm.canvas.estimate import facts_of
from ldm.canvas.wrapped import MARGIN
from ldm.requests import TextToImage
from ldm.runtime.manager import ModelManager
from ldm.tasks.estimating import canvases
from ldm.tasks.settings import Sampling
from tests.test_tasks_covering import REQUEST, made


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
