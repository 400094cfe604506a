"""A picture is the same however its canvas is covered; the run says how, and can be stopped."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ldm.canvas.estimate import facts_of
from ldm.canvas.plan import Room
from ldm.errors import LDMError, MemoryBudgetError
from ldm.requests import Progress, Result, TextToImage
from ldm.tasks import covering
from ldm.tasks.covering import Site
from ldm.tasks.estimating import canvases
from ldm.tasks.text_to_image import run

REQUEST = TextToImage(
    prompt="a red house", preset="tiny", width=96, height=64, steps=3, sampler="ddim",
    guidance_scale=3.0, eta=0.0, seed=7,
)  # fmt: skip
LITTLE = Room(2**20)


@pytest.fixture(scope="module")
def facts(tiny_model):
    return facts_of(tiny_model)


@pytest.fixture
def small_canvases_count(monkeypatch):
    monkeypatch.setattr(covering, "SURE", 0)


def made(model, request=REQUEST, site=None):
    *progress, result = run(model, request, site)
    return progress, result


@pytest.mark.usefixtures("small_canvases_count")
def test_bands_whole_batch_and_single_make_the_same_picture(tiny_model, facts):
    _, whole = made(tiny_model)
    _, batch = made(tiny_model, replace(REQUEST, seed=5, count=4))
    site = Site(lambda: facts, LITTLE)
    progress, bands = made(tiny_model, site=site)
    for other in (bands.images[0], batch.images[2]):
        assert np.abs(other.astype(int) - whole.images[0]).max() <= 1
    assert len(site.notes) == 1
    assert site.notes[0].startswith("Made in bands, the same picture within ")
    decoding = [event for event in progress if event.stage == "decoding"]
    assert [event.step for event in decoding] == sorted(event.step for event in decoding)
    assert decoding[0].step == 0
    assert decoding[-1].step == decoding[-1].total > 3
    assert sum(event.preview is not None for event in progress) == 3


@pytest.mark.usefixtures("small_canvases_count")
def test_it_is_whole_and_without_a_word_where_there_is_room(tiny_model, facts):
    site = Site(lambda: facts, Room(2**30))
    progress, result = made(tiny_model, site=site)
    assert site.notes == []
    assert isinstance(result, Result)
    assert [part for part, *_ in site.took] == ["unet", "decoder"]
    assert site.took[0][1:3] == (2, 32 * 48)


@pytest.mark.usefixtures("small_canvases_count")
def test_a_decode_can_be_stopped_within_a_band(tiny_model, facts):
    events = run(tiny_model, REQUEST, Site(lambda: facts, LITTLE))
    for event in events:
        if event.stage == "decoding" and event.step == 2:
            break
    events.close()
    assert event == Progress("decoding", 2, event.total)


@pytest.mark.usefixtures("small_canvases_count")
def test_what_cannot_fit_is_refused_before_it_starts(tiny_model, facts):
    events = run(tiny_model, replace(REQUEST, width=2048), Site(lambda: facts, Room(2**17)))
    with pytest.raises(MemoryBudgetError, match="2048 x 64 px needs at least"):
        next(events)


def test_small_canvases_do_not_ask(tiny_model):
    made(tiny_model, site=Site(lambda: pytest.fail("measured"), LITTLE))


def test_half_precision_that_overflows_is_made_again_in_float32(tiny_model, monkeypatch):
    half = copy.deepcopy(tiny_model).to(torch.bfloat16)
    decode = type(half).decode

    def overflowing(self, latents):
        image = decode(self, latents)
        return image * torch.inf if self.dtype == torch.bfloat16 else image

    monkeypatch.setattr(type(half), "decode", overflowing)
    site = Site(lambda: None, LITTLE)
    _, result = made(half, site=site)
    assert site.notes == ["Half precision was too coarse for this picture; it was made in float32."]
    assert result.images[0].std() > 1
    monkeypatch.setattr(type(half), "decode", lambda self, z: decode(self, z) * torch.nan)
    with pytest.raises(LDMError, match="grew without bound"):
        made(tiny_model, site=site)


def test_canvases_of_requests(facts):
    (canvas,) = canvases(replace(REQUEST, width=100, count=2), facts)
    assert (canvas.rows, canvas.columns, canvas.count, canvas.passes) == (32, 50, 2, 2)
