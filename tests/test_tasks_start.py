"""Pictures that start from a picture (SDEdit): how much is made anew, and at which size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ldm.canvas.calibration import Calibration, Rates
from ldm.canvas.estimate import facts_of
from ldm.canvas.plan import Plan, Resources
from ldm.canvas.wrapped import MARGIN
from ldm.catalog.registry import load_preset
from ldm.images import EncodedImage, cropped_to
from ldm.outputs import metadata
from ldm.requests import Box, ClassConditional, Layout, Semantic, TextToImage
from ldm.resolve import resolve
from ldm.runtime.manager import ModelManager
from ldm.studio import Studio
from ldm.tasks import RUNNERS, covering
from ldm.tasks.covering import RunContext
from ldm.tasks.estimating import canvases, pixels
from ldm.tasks.settings import Sampling, start_fitted
from tests.test_tasks_covering import REQUEST, made

EXAMPLES = "ui/examples/text-to-image"
START = EncodedImage.from_array(
    np.random.default_rng(0).integers(256, size=(64, 96, 3), dtype=np.uint8)
)
PICTURE = cropped_to(EncodedImage.from_file(Path(EXAMPLES) / "2-oaks.png").array(), 64, 64)


@pytest.fixture
def encoded(tiny_model, monkeypatch):
    """The pictures that are encoded, each (1, 3, H, W)."""
    seen, kind = [], type(tiny_model)
    encode = kind.encode
    monkeypatch.setattr(kind, "encode", lambda self, x: seen.append(x) or encode(self, x))
    return seen


def as_array(tensor):
    return ((tensor[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)


@pytest.mark.parametrize(("strength", "steps"), [(0.0, 1), (0.25, 2), (0.5, 5), (1.0, 10)])
def test_strength_is_a_share_of_the_steps(strength, steps):
    sampling = Sampling("ddim", 10, 1.0, 0.0, (1,), 64, 96, image=START, strength=strength)
    assert sampling.resampled_steps == sampling.first_pass_steps == steps
    assert replace(sampling, image=None).first_pass_steps == 10


def test_the_steps_are_told_and_estimated(tiny_model, encoded):
    request = replace(REQUEST, image=START, strength=0.67, coarse=0.5)
    progress, result = made(tiny_model, request)
    steps = [(event.step, event.total) for event in progress if event.stage == "sampling"]
    assert steps[-1] == (2, 2)
    assert not any(event.detail for event in progress)  # there is no small picture
    assert np.array_equal(as_array(encoded[0]), START.array())
    assert result.requests[0] == request
    facts = facts_of(tiny_model)
    (canvas,) = canvases(request, facts)
    assert (canvas.encodes, canvas.share) == (True, pytest.approx(2 / 3))
    without = replace(request, image=None)
    assert pixels(request, facts, [canvas]) == pixels(without, facts, [canvas]) + 2 * 64 * 96


def test_of_a_large_canvas_the_small_picture_starts_from_it(trained_small, encoded):
    """What is made anew at full size has its objects in the sizes that the model knows."""
    request = replace(REQUEST, steps=10, image=START, strength=0.8, coarse=0.3)
    progress, result = made(trained_small, request)
    steps = [(event.step, event.total) for event in progress if event.stage == "sampling"]
    assert (steps[0], steps[-1]) == ((1, 11), (11, 11))
    assert np.array_equal(as_array(encoded[0]), cropped_to(START.array(), 32, 48))
    assert [tuple(image.shape[2:]) for image in encoded] == [(32, 48), (64, 96)]
    assert result.images[0].shape == (64, 96, 3)
    facts = facts_of(trained_small)
    small, large = canvases(request, facts)
    assert (small.encodes, small.share) == (True, pytest.approx(0.8))
    assert (large.encodes, large.share) == (True, pytest.approx(0.3))


def test_what_is_hardly_changed_does_not_go_through_a_small_picture(trained_small, encoded):
    """It would lose its finest things on the way."""
    made(trained_small, replace(REQUEST, steps=10, image=START, strength=0.3, coarse=0.3))
    assert [tuple(image.shape[2:]) for image in encoded] == [(64, 96)]


def test_whole_bands_batch_and_single_are_the_same_picture(tiny_model, monkeypatch):
    monkeypatch.setattr(covering, "SMALL_CELLS", 0)
    request = replace(REQUEST, image=START, strength=0.67, seed=7)
    _, whole = made(tiny_model, request)
    _, batch = made(tiny_model, replace(request, seed=5, count=4))
    facts = facts_of(tiny_model)
    context = RunContext(lambda: facts, Resources(2**20))
    _, bands = made(tiny_model, request, context)
    assert "in bands" in context.notes[0]
    for other in (bands.images[0], batch.images[2]):
        assert np.abs(other.astype(int) - whole.images[0]).max() <= 1


def test_its_own_seed_makes_it_no_more_than_another():
    """Noise that a picture was made of leads back to it."""
    request = TextToImage(
        prompt="a lake", width=128, height=128, steps=10, sampler="ddim", seed=1, eta=0.0,
        temperature=1.0, guidance_scale=1.0, coarse=0.0, strength=1.0,
    )  # fmt: skip
    with ModelManager(device="cpu").use(request.preset) as model:
        *_, first = RUNNERS["text-to-image"](model, request)
        image = EncodedImage.from_array(first.images[0])
        *_, own = RUNNERS["text-to-image"](model, replace(request, image=image))
    assert np.abs(own.images[0].astype(float) - first.images[0]).mean() > 5


def test_a_result_carries_no_more_of_it_than_its_canvas_shows(tmp_path):
    large = EncodedImage.from_array(np.zeros((600, 900, 3), np.uint8))
    studio = Studio(device="cpu", data_dir=tmp_path)
    request = TextToImage(prompt="a lake", image=large, width=64, height=64, steps=2, seed=1)
    *_, result = studio.run(request)
    assert metadata.load(result.paths[0]).request.image.size == (64, 64)
    assert start_fitted(result.requests[0]) is result.requests[0]


def test_before_it_is_encoded_that_is_told(tiny_model):
    """And the run can be ended there."""
    progress, _ = made(tiny_model, replace(REQUEST, image=START))
    assert progress[0].stage == "encoding"


def test_edges_that_meet_are_encoded_together(tiny_model, encoded):
    made(tiny_model, replace(REQUEST, image=START, seamless="across"))
    margin = 2 * MARGIN  # px
    assert encoded[0].shape == (1, 3, 64, 96 + 2 * margin)
    assert np.array_equal(as_array(encoded[0][..., margin:-margin]), START.array())


@pytest.mark.parametrize("size", [(64, 96), (32, 48), (64, 200), (200, 64), (1, 1)])
def test_a_picture_of_any_size_fills_the_canvas(size, tiny_model, encoded):
    grey = EncodedImage.from_array(np.full(size, 90, np.uint8))
    _, result = made(tiny_model, replace(REQUEST, image=grey))
    assert result.images[0].shape == (64, 96, 3)
    assert (as_array(encoded[0]) == 90).all()


def test_it_is_cut_at_its_sides_and_not_squeezed():
    picture = np.zeros((40, 120), np.uint8)
    picture[:, 40:80] = 200
    assert (cropped_to(picture, 40, 40) == 200).all()
    same = START.array()
    assert np.array_equal(cropped_to(same, 64, 96), same)


def test_a_map_s_padding_is_no_part_of_the_picture():
    """The picture is as large as the map, and stands where the map stands."""
    request = Semantic(
        label_map=EncodedImage.from_array(np.full((50, 70), 6, np.uint8)), image=START,
        sampler="ddim", steps=2, temperature=1.0, seed=1, eta=0.0,
    )  # fmt: skip
    with ModelManager(device="cpu").use(request.preset) as model:
        seen, encode = [], type(model).encode
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(model), "encode", lambda m, x: seen.append(x) or encode(m, x))
            *_, result = RUNNERS["semantic"](model, request)
    array = as_array(seen[0].float())
    assert array.shape[0] > 50
    assert np.array_equal(array[:50, :70], cropped_to(START.array(), 50, 70))
    assert (array[50:] == array[49]).all()
    assert result.images[0].shape == (50, 70, 3)


def test_every_task_that_takes_one_keeps_to_it_as_its_strength_says():
    """The distance to the picture grows with the strength, for each model that ships with it."""
    with_one = {"steps": 10, "sampler": "ddim", "seed": 3, "temperature": 1.0, "eta": 0.0}
    sized = {"width": 128, "height": 128, "guidance_scale": 1.0}
    box = {"label": "house", "left": 0.4, "top": 0.5, "right": 0.6, "bottom": 0.8}
    requests = [
        TextToImage(prompt="snow at night", **with_one, **sized),
        ClassConditional(class_index=3, **with_one, **sized),
        Layout(boxes=(Box(**box),), **with_one, **sized),
        Semantic(label_map=EncodedImage.from_array(np.full((128, 128), 6, np.uint8)), **with_one),
    ]
    start = EncodedImage.from_file(next(Path(EXAMPLES).glob("1-*.png")))
    given = cropped_to(start.array(), 128, 128).astype(float)
    manager = ModelManager(device="cpu")
    for request in requests:
        gaps = []
        with manager.use(request.preset) as model:
            for strength in (0.2, 0.5, 1.0):
                *_, result = RUNNERS[request.task](
                    model, replace(request, image=start, strength=strength)
                )
                gaps.append(np.abs(result.images[0] - given).mean())
        assert gaps == sorted(gaps), request.task
        assert gaps[0] < 15 < gaps[-1], request.task


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ({}, (192, 128)),
        ({"width": 320}, (320, 256)),
        ({"width": 32, "height": 48}, (32, 48)),
    ],
)
def test_a_size_that_is_left_open_is_the_picture_s(sides, size):
    preset = load_preset("demo-text-to-image")
    request = resolve(TextToImage(prompt="a lake", image=START, **sides), preset)
    assert (request.width, request.height) == size
    odd = EncodedImage.from_array(np.zeros((70, 5000), np.uint8))
    request = resolve(TextToImage(prompt="a lake", image=odd), preset)
    assert (request.width, request.height) == (4096, 64)


def redrawn(model, **changes):
    request = ClassConditional(
        width=64, height=64, steps=10, sampler="ddim", seed=1, eta=0.0, temperature=1.0,
        guidance_scale=1.0, coarse=0.0, strength=1.0, image=EncodedImage.from_array(PICTURE),
    )  # fmt: skip
    *progress, result = RUNNERS["class-conditional"](model, replace(request, **changes))
    return progress, result.images[0].astype(float)


def test_the_noise_of_a_picture_keeps_its_shapes():
    """Under one condition it leads back to the picture, whatever the seed; noise of its own, or a
    share of it, lies between."""
    with ModelManager(device="cpu").use("demo-class-conditional") as model:
        progress, own = redrawn(model, inversion=1.0)
        _, other_seed = redrawn(model, inversion=1.0, seed=9)
        _, most = redrawn(model, inversion=0.8)
        _, new = redrawn(model)
    told = [(event.step, event.total) for event in progress if event.stage == "inverting"]
    assert told == [(step, 10) for step in range(10)]
    assert np.array_equal(own, other_seed)
    errors = [np.abs(picture - PICTURE).mean() for picture in (own, most, new)]
    assert max(errors[:2]) < 13 < 25 < errors[2]


def test_words_change_a_picture_that_keeps_its_shapes():
    """With one prediction per step its noise was too weak, and it came back by daylight."""
    request = TextToImage(
        prompt="a village in the snow", width=128, height=128, steps=20, sampler="ddim", seed=1,
        eta=0.0, temperature=1.0, guidance_scale=1.5, coarse=0.0,
    )  # fmt: skip
    with ModelManager(device="cpu").use("demo-text-to-image") as model:
        day = made(model, request)[1].images[0]
        start = {"image": EncodedImage.from_array(day), "strength": 1.0, "inversion": 1.0}
        again = replace(request, prompt="a village in the snow at night", **start)
        night = made(model, again)[1].images[0]
    assert night.mean() < 0.6 * day.mean()
    assert np.corrcoef(edges(day), edges(night))[0, 1] > 0.2


def edges(picture):
    return np.abs(np.diff(picture.mean(2), axis=0)).ravel()


def test_finding_the_noise_is_estimated_and_measured(tiny_model):
    facts = facts_of(tiny_model)
    request = replace(REQUEST, image=START, strength=0.67, inversion=1.0)
    context = RunContext(lambda: facts, Resources(2**30))
    made(tiny_model, request, context)
    work = [(took.part, took.pictures, took.times, took.passes) for took in context.timings]
    assert work == [("unet", 1, 4, 1), ("unet", 1, 2, 2), ("decoder", 1, 1, 1)]
    known = Calibration(facts, {part: Rates([(1e6, 1.0)]) for part in ("unet", "decoder")})
    (canvas,) = canvases(request, facts)
    (without,) = canvases(replace(request, inversion=0.0), facts)
    plan = Plan("whole", 1)
    single = known.seconds(replace(without, passes=1), 2, plan)
    decode = known.seconds(without, 0, plan)
    more = known.seconds(canvas, 2, plan) - known.seconds(without, 2, plan)
    assert more == pytest.approx(2 * (single - decode))


def test_of_a_large_canvas_the_small_picture_is_inverted(trained_small):
    request = replace(REQUEST, steps=10, image=START, strength=0.8, coarse=0.3, inversion=1.0)
    progress, _ = made(trained_small, request)
    assert sum(event.stage == "inverting" for event in progress) == 8
    small, large = canvases(request, facts_of(trained_small))
    assert (small.inverts, large.inverts) == (2, 0)


def test_noise_is_found_under_the_negative_condition(tiny_model, monkeypatch):
    """Guidance then leads away from there."""
    seen, kind = [], type(tiny_model)
    denoise = kind.denoise
    monkeypatch.setattr(kind, "denoise", lambda self, *of: seen.append(of) or denoise(self, *of))
    request = replace(REQUEST, image=START, strength=1.0, inversion=0.5, negative_prompt="trees")
    made(tiny_model, request)
    empty = tiny_model.condition(["trees"]).context
    assert [len(x) for x, _, _ in seen] == 6 * [1] + 3 * [2]
    assert all(np.array_equal(cond.context, empty) for _, _, cond in seen[:6])
    times = [int(t[0]) for _, t, _ in seen]
    assert times[:6:2] == times[1:6:2] == times[:5:-1]  # the sampler's own


def test_what_its_own_noise_cannot_do_is_told(tiny_model):
    request = replace(REQUEST, image=START, strength=0.67, inversion=1.0, count=2)
    facts = facts_of(tiny_model)
    for changes, notes in (
        ({}, ["With all of the picture's own noise, every seed gives one picture."]),
        ({"inversion": 0.8}, []),
        ({"count": 1}, []),
    ):
        context = RunContext(lambda: facts, Resources(2**30))
        made(tiny_model, replace(request, **changes), context)
        assert context.notes == notes


def test_of_a_small_picture_first_seeds_give_other_pictures(trained_small):
    about = {"steps": 10, "strength": 0.8, "coarse": 0.3, "inversion": 1.0, "count": 2}
    context = RunContext(lambda: facts_of(trained_small), Resources(2**30))
    _, result = made(trained_small, replace(REQUEST, image=START, **about), context)
    assert context.notes == []
    assert not np.array_equal(*result.images)


def test_a_share_of_its_own_noise_is_another_picture(tiny_model):
    request = replace(REQUEST, image=START, strength=1.0, inversion=1.0)
    _, all_of_it = made(tiny_model, request)
    _, most_of_it = made(tiny_model, replace(request, inversion=0.8))
    assert not np.array_equal(all_of_it.images[0], most_of_it.images[0])
