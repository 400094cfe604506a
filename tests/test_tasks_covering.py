"""A picture is the same however its canvas is covered; the run says how, and can be stopped."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ldm.canvas.calibration import Calibration, Rates
from ldm.canvas.estimate import facts_of
from ldm.canvas.plan import Resources, plan
from ldm.errors import LDMError, MemoryBudgetError
from ldm.events import Progress, Result
from ldm.images import EncodedImage
from ldm.requests import ClassConditional, Inpaint, TextToImage, Upscale
from ldm.tasks import covering, estimating
from ldm.tasks.covering import RunContext
from ldm.tasks.estimating import canvases, expected, pixels
from ldm.tasks.text_to_image import run

REQUEST = TextToImage(
    prompt="a red house", preset="tiny", width=96, height=64, steps=3, sampler="ddim",
    guidance_scale=3.0, eta=0.0, temperature=1.0, seed=7,
)  # fmt: skip
LITTLE = Resources(2**20)


@pytest.fixture(scope="module")
def facts(tiny_model):
    return facts_of(tiny_model)


@pytest.fixture
def small_canvases_count(monkeypatch):
    monkeypatch.setattr(covering, "SMALL_CELLS", 0)


def made(model, request=REQUEST, context=None):
    *progress, result = run(model, request, context)
    return progress, result


def test_a_clock_is_read_when_the_device_is_done(tiny_model, facts, monkeypatch):
    waited = []
    monkeypatch.setattr(type(tiny_model), "wait", lambda model: waited.append(1))
    context = RunContext(lambda: facts, LITTLE)
    made(tiny_model, context=context)
    assert len(waited) == len(context.timings) == 2


@pytest.mark.usefixtures("small_canvases_count")
def test_bands_whole_batch_and_single_make_the_same_picture(tiny_model, facts):
    _, whole = made(tiny_model)
    _, batch = made(tiny_model, replace(REQUEST, seed=5, count=4))
    context = RunContext(lambda: facts, LITTLE)
    progress, bands = made(tiny_model, context=context)
    for other in (bands.images[0], batch.images[2]):
        assert np.abs(other.astype(int) - whole.images[0]).max() <= 1
    assert len(context.notes) == 1
    assert context.notes[0].startswith("Made in bands, the same picture within ")
    decoding = [event for event in progress if event.stage == "decoding"]
    assert [event.step for event in decoding] == sorted(event.step for event in decoding)
    assert decoding[0].step == 0
    assert decoding[-1].step == decoding[-1].total > 3
    assert sum(event.preview is not None for event in progress) == 3


@pytest.mark.usefixtures("small_canvases_count")
def test_it_is_whole_and_without_a_word_where_there_is_room(tiny_model, facts):
    context = RunContext(lambda: facts, Resources(2**30))
    progress, result = made(tiny_model, context=context)
    assert context.notes == []
    assert isinstance(result, Result)
    assert [took.part for took in context.timings] == ["unet", "decoder"]
    first = context.timings[0]
    assert (first.pictures, first.passes, first.cells, first.times) == (1, 2, 32 * 48, 3)


@pytest.mark.usefixtures("small_canvases_count")
def test_a_decode_can_be_stopped_within_a_band(tiny_model, facts):
    events = run(tiny_model, REQUEST, RunContext(lambda: facts, LITTLE))
    for event in events:
        if event.stage == "decoding" and event.step == 2:
            break
    events.close()
    assert event == Progress("decoding", 2, event.total)


@pytest.mark.usefixtures("small_canvases_count")
def test_what_cannot_fit_is_refused_before_it_starts(tiny_model, facts):
    events = run(
        tiny_model, replace(REQUEST, width=2048), RunContext(lambda: facts, Resources(2**17))
    )
    with pytest.raises(MemoryBudgetError, match="2048 x 64 px needs at least"):
        next(events)


def test_small_canvases_do_not_ask(tiny_model):
    made(tiny_model, context=RunContext(lambda: pytest.fail("measured"), LITTLE))


def test_half_precision_that_overflows_is_made_again_in_float32(tiny_model, monkeypatch):
    half = copy.deepcopy(tiny_model).to(torch.bfloat16)
    decode = type(half).decode

    def overflowing(self, latents):
        image = decode(self, latents)
        return image * torch.inf if self.dtype == torch.bfloat16 else image

    monkeypatch.setattr(type(half), "decode", overflowing)
    context = RunContext(lambda: None, LITTLE)
    _, result = made(half, context=context)
    assert context.notes == [
        "Half precision was too coarse for this picture; it was made in float32."
    ]
    assert result.images[0].std() > 1
    monkeypatch.setattr(type(half), "decode", lambda self, z: decode(self, z) * torch.nan)
    with pytest.raises(LDMError, match="grew without bound"):
        made(tiny_model, context=context)
    with pytest.raises(LDMError, match="grew without bound"):  # in float32, too
        made(half, context=context)


def test_a_prepared_model_is_read_again_in_float32(tiny_model, monkeypatch):
    """It cannot be converted; the manager tells it how to be read."""
    half = copy.deepcopy(tiny_model).to(torch.float16)
    half.is_prepared, half.in_float32 = True, lambda: tiny_model
    decode = type(half).decode

    def overflowing(self, latents):
        return decode(self, latents) * (torch.inf if self.dtype == torch.float16 else 1)

    monkeypatch.setattr(type(half), "decode", overflowing)
    context = RunContext(lambda: None, LITTLE)
    _, result = made(half, context=context)
    assert context.notes == [
        "Half precision was too coarse for this picture; it was made in float32."
    ]
    assert result.images[0].std() > 1
    half.in_float32 = None
    with pytest.raises(LDMError, match="grew without bound"):
        made(half, context=context)


def test_a_condition_that_overflows_is_made_again_in_float32(tiny_model, monkeypatch):
    """Half precision may be too coarse for what reads the words, too."""
    half = copy.deepcopy(tiny_model).to(torch.bfloat16)
    condition = type(half).condition

    def overflowing(self, what):
        cond = condition(self, what)
        wrong = torch.inf if self.dtype == torch.bfloat16 else 1
        return replace(cond, context=cond.context * wrong)

    whole = made(tiny_model)[1].images[0]
    monkeypatch.setattr(type(half), "condition", overflowing)
    again = made(half)[1].images[0]
    assert abs(again.astype(int) - whole).max() <= 16  # of weights that were rounded to bfloat16


@pytest.mark.usefixtures("small_canvases_count")
def test_float32_is_planned_with_twice_the_memory(tiny_model, facts, monkeypatch):
    half = copy.deepcopy(tiny_model).to(torch.bfloat16)
    decode = type(half).decode
    monkeypatch.setattr(
        type(half), "decode",
        lambda self, z: decode(self, z) * (torch.inf if self.dtype == torch.bfloat16 else 1),
    )  # fmt: skip
    request = replace(REQUEST, count=2)
    (canvas,) = canvases(request, facts)
    resources = Resources(round(1.2 * plan(canvas, facts, Resources(2**40)).memory))
    context = RunContext(lambda: facts, resources)
    progress, result = made(half, request, context)
    assert len(result.images) == 2
    assert context.notes[0].startswith("Half precision")
    # both at once in half precision, then one after the other
    assert [event.total for event in progress if event.stage == "sampling"] == [3] * 3 + [6] * 6
    assert not context.is_usual


def test_windows_are_the_requests_alone(trained_small, facts):
    """With or without a look at the memory, and in bands too, the windows are the same."""
    facts = replace(facts, trained_rows=16, trained_columns=16)
    request = replace(REQUEST, cover="windows")
    _, bare = made(trained_small, request)
    context = RunContext(lambda: facts, Resources(2**30))
    _, sited = made(trained_small, request, context)
    assert (bare.images[0] == sited.images[0]).all()
    assert context.notes[0].startswith("Made in 15 windows of 32 x 32 px that overlap; whole")
    assert context.timings[0].times == 3 * 15
    _, whole = made(trained_small)
    assert (bare.images[0] != whole.images[0]).any()


def test_a_seamless_picture_does_not_know_where_it_begins(trained_small):
    """The first and the last column are neighbours: as alike as any two others."""
    _, plain = made(trained_small)
    _, around = made(trained_small, replace(REQUEST, seamless="across"))

    def step(image):
        image = image.astype(float)
        inside = np.abs(np.diff(image, axis=1)).mean((0, 2))
        return np.abs(image[:, 0] - image[:, -1]).mean() / inside.mean()

    assert around.images[0].shape == plain.images[0].shape
    assert (around.images[0] != plain.images[0]).any()
    assert step(around.images[0]) < 1.5


def test_only_an_area_that_goes_all_around_has_edges_that_meet(facts):
    """A strip from side to side of a tall picture: what is above and below is not seen."""
    image = EncodedImage.from_array(np.zeros((396, 60, 3), np.uint8))
    request = Inpaint(
        image=image, outpaint_top=4, seamless="both", mask_feather=0, working_size=128, steps=3,
        sampler="ddim", eta=0.0, temperature=1.0, coarse=0.0, seed=1,
    )  # fmt: skip
    facts = replace(facts, factor=4, multiple=16)
    (canvas,) = canvases(request, facts)
    assert (canvas.rows, canvas.columns, canvas.encodes) == (32, 16 + 16, True)
    (canvas,) = canvases(replace(request, seamless="down"), facts)
    assert (canvas.rows, canvas.columns) == (32, 16)


def test_any_class_is_guided_by_none(facts):
    request = ClassConditional(width=64, height=64, steps=3, sampler="ddim", eta=0.0, seed=1,
                               temperature=1.0, guidance_scale=3.0, coarse=0.0)  # fmt: skip
    assert [c.passes for c in canvases(request, facts)] == [1]
    assert [c.passes for c in canvases(replace(request, class_index=1), facts)] == [2]


def test_both_passes_of_an_enlargement_are_covered_as_it_is_asked(facts, monkeypatch):
    image = EncodedImage.from_array(np.zeros((64, 64, 3), np.uint8))
    request = Upscale(image=image, passes=2, steps=3, sampler="ddim", eta=0.0, temperature=1.0,
                      seed=1, cover="bands")  # fmt: skip
    asked = []
    monkeypatch.setattr(estimating, "plan", lambda *about: asked.append(about[-1]) or plan(*about))
    known = Calibration(replace(facts, factor=4, multiple=16), {})
    estimating.expected(request, known, Resources(2**40))
    assert asked == ["bands", "bands"]


def test_the_canvas_of_a_seamless_texture_is_continued_where_it_meets(facts):
    facts = replace(facts, factor=4, multiple=16)
    given = EncodedImage.from_array(np.zeros((9, 20, 3), np.uint8))
    request = Upscale(image=given, passes=2, steps=3, sampler="ddim", eta=0.0, temperature=1.0)
    sizes = {
        seamless: [
            (c.rows, c.columns)
            for c in canvases(replace(request, seamless=seamless, seed=1), facts)
        ]
        for seamless in ("no", "across")
    }
    assert sizes["no"] == [(12, 20), (36, 80)]
    assert sizes["across"] == [(12, 20 + 20), (36, 80 + 16)]


def test_a_large_picture_with_a_small_hole_is_read_and_written_all_the_same(facts):
    hole = np.zeros((400, 600), np.uint8)
    hole[200:216, 300:332] = 255
    picture = EncodedImage.from_array(np.zeros((400, 600, 3), np.uint8))
    request = Inpaint(
        image=picture, mask=EncodedImage.from_array(hole), outpaint_top=8, count=2, seed=1,
        working_size=64, steps=3, sampler="ddim", eta=0.0, temperature=1.0, coarse=0.0,
    )  # fmt: skip
    (canvas,) = canvases(request, facts)
    area = 4 * canvas.cells
    assert pixels(request, facts, [canvas]) == 2 * area + 2 * area + round(0.3 * 2 * 408 * 600)
    assert pixels(REQUEST, facts, canvases(REQUEST, facts)) == 96 * 64
    small = replace(facts, trained_rows=16, trained_columns=16)
    twice = 96 * 64 + 48 * 32 + 2 * 96 * 64  # a small one, encoded at the size of the large one
    request = replace(REQUEST, coarse=0.5)
    assert pixels(request, small, canvases(request, small)) == twice


def test_an_estimate_tells_of_the_canvas_in_bands_and_of_the_most_memory(facts, monkeypatch):
    """The small picture that comes first runs whole, and takes more here than the bands do."""
    small = replace(facts, trained_rows=48, trained_columns=48)
    request = replace(REQUEST, width=384, height=256, coarse=0.5)
    first, last = canvases(request, small)
    most = plan(first, small, Resources(2**40), "auto").memory
    monkeypatch.setattr(covering, "SMALL_CELLS", first.passes * first.cells)
    found = expected(request, Calibration(small, {}), Resources(most - 1))
    assert found.plan == plan(last, small, Resources(most - 1), "auto")
    assert found.plan.cover == "bands"
    assert found.plan.memory < found.memory == most


def test_the_rest_is_expected_beside_the_networks(facts):
    networks = {"unet": Rates([(1e6, 1e-3)]), "decoder": Rates([(1e6, 1e-3)])}
    slow = {"rest": Rates([(96.0 * 64, 100.0)])}
    fast = expected(REQUEST, Calibration(facts, networks), Resources(2**30)).seconds
    assert fast < 50
    assert (
        100
        <= expected(REQUEST, Calibration(facts, networks | slow), Resources(2**30)).seconds
        < 150
    )


def test_canvases_of_requests(facts):
    (canvas,) = canvases(replace(REQUEST, width=100, count=2), facts)
    assert (canvas.rows, canvas.columns, canvas.count, canvas.passes) == (32, 50, 2, 2)
