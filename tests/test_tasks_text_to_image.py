from dataclasses import replace

import numpy as np
import pytest
import torch

from ldm.canvas import plan
from ldm.errors import RequestError
from ldm.events import Progress, Result
from ldm.requests import TextToImage
from ldm.requests.shared_fields import SAMPLER_NAMES
from ldm.tasks import RUNNERS
from ldm.tasks.text_to_image import run

REQUEST = TextToImage(
    prompt="a red house",
    preset="tiny",
    width=24,
    height=16,
    steps=6,
    sampler="ddim",
    guidance_scale=3.0,
    eta=0.0,
    temperature=1.0,
    seed=11,
)


def pictures(model, **changes):
    result = list(run(model, replace(REQUEST, **changes)))[-1]
    assert isinstance(result, Result)
    return result.images


def difference(a, b):
    """Largest difference in levels, 0 to 255."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_the_task_can_be_found():
    assert RUNNERS["text-to-image"] is run


def test_progress_then_one_result(tiny_model):
    *progress, result = run(tiny_model, REQUEST)
    assert all(isinstance(event, Progress) for event in progress)
    assert isinstance(result, Result)
    assert result.images[0].shape == (16, 24, 3)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_makes_pictures(tiny_model, sampler):
    first, second = pictures(tiny_model, sampler=sampler, count=2)
    assert difference(first, second) > 0


def test_the_same_request_makes_the_same_picture(tiny_model):
    assert difference(pictures(tiny_model)[0], pictures(tiny_model)[0]) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "snow at night"},
        {"negative_prompt": "snow at night"},
        {"guidance_scale": 9.0},
        {"temperature": 0.5},
        {"seed": 12},
        {"steps": 3},
        {"eta": 1.0},
        {"sampler": "ddpm"},
    ],
)
def test_every_field_counts(tiny_model, changes):
    assert difference(pictures(tiny_model)[0], pictures(tiny_model, **changes)[0]) > 0


def test_each_picture_comes_with_the_request_that_makes_it_alone(tiny_model):
    result = list(run(tiny_model, replace(REQUEST, count=3)))[-1]
    assert [request.seed for request in result.requests] == [11, 12, 13]
    for request, image in zip(result.requests, result.images, strict=True):
        assert request.count == 1
        alone = list(run(tiny_model, request))[-1].images[0]
        assert difference(alone, image) <= 1  # rounding to levels may differ by one


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_batched_latents_equal_single_ones(tiny_model, sampler, monkeypatch):
    decoded = []
    original = tiny_model.decode
    monkeypatch.setattr(tiny_model, "decode", lambda z: decoded.append(z) or original(z))
    pictures(tiny_model, sampler=sampler, count=3)
    monkeypatch.setattr(plan, "CELLS_PER_BATCH", 1)
    pictures(tiny_model, sampler=sampler, count=3)
    together, *apart = decoded
    scale = together.abs().max()
    assert (together - torch.cat(apart)).abs().max() / scale <= 1e-5


def test_a_wrong_size_is_refused_before_any_work(tiny_model):
    with pytest.raises(RequestError, match="width must be a multiple of 4 px .* 16 or 20 would"):
        next(run(tiny_model, replace(REQUEST, width=18)))


def test_words_that_the_model_has_never_seen_are_named(tiny_model):
    result = list(run(tiny_model, replace(REQUEST, prompt="a red zeppelin")))[-1]
    assert result.notes == ("This model has never seen: zeppelin.",)


@pytest.mark.parametrize("word", ["without", "no", "not"])
def test_a_prompt_that_says_what_is_not_to_be_seen_is_answered(tiny_model, word):
    about = "What is not to be seen goes into the negative prompt."
    result = list(run(tiny_model, replace(REQUEST, prompt=f"a lake {word} house")))[-1]
    assert result.notes == (f"This model has never seen: {word}.", about)
    result = list(run(tiny_model, replace(REQUEST, negative_prompt=f"{word} house")))[-1]
    assert about not in result.notes


def test_a_prompt_that_is_cut_is_told(tiny_model):
    result = list(run(tiny_model, replace(REQUEST, prompt="a red house " * 20)))[-1]
    assert result.notes == ("The prompt is too long; its end was not read.",)


def test_a_negative_prompt_without_guidance_is_told(tiny_model):
    request = replace(REQUEST, negative_prompt="snow", guidance_scale=1.0)
    assert "no effect" in list(run(tiny_model, request))[-1].notes[0]


def test_an_ordinary_request_needs_no_note(tiny_model):
    assert list(run(tiny_model, replace(REQUEST, negative_prompt="snow")))[-1].notes == ()


def test_no_gradients_are_recorded(tiny_model):
    events = run(tiny_model.requires_grad_(True), REQUEST)
    next(events)
    assert torch.is_grad_enabled()
    assert list(events)[-1].images
    tiny_model.requires_grad_(False)
