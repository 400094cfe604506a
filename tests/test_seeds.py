"""Seeds and their variations: what is written, drawn and turned."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ldm.diffusion.noise import InterpolatedSeed, batch_noise, normal
from ldm.errors import RequestError
from ldm.requests import REQUESTS, TextToImage, controls
from ldm.requests.comparison import Axis, Comparison
from ldm.requests.seeds import (
    MAX_SEED,
    read_variations,
    split_by_picture,
    with_seeds_drawn,
    write_variations,
)
from ldm.tasks.settings import of_request

REQUEST = TextToImage(
    prompt="x", width=32, height=32, steps=4, sampler="ddim", guidance_scale=2.0, temperature=1.0,
    seed=5, coarse=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("", []),
        (" , ", []),
        ("7:0.3", [(7, 0.3)]),
        (" 7 : 0.30,new:1, ", [(7, 0.3), (None, 1.0)]),
        ("7:0.12345678", [(7, 0.12345678)]),
        (f"{MAX_SEED}:0", [(MAX_SEED, 0.0)]),
    ],
)
def test_what_is_written_is_read(text, turns):
    assert read_variations(text) == turns
    assert read_variations(write_variations(turns)) == turns


@pytest.mark.parametrize(
    "text", ["7", "7:", ":0.3", "7:1.1", "7:-0.1", "7:nan", "-1:0.3", f"{MAX_SEED + 1}:1", "x:1",
             "7:0.3:1", "٣:0.3", "1" * 400 + ":0.3", "7;0.3", "7:٠.٣", "7:0_0.3", "7:1e999"],
)  # fmt: skip
def test_what_is_no_variation_is_refused(text):
    with pytest.raises(RequestError, match=r"variations must be seeds, each with its share"):
        replace(REQUEST, variations=text)


def test_there_is_an_end_to_it():
    with pytest.raises(RequestError, match="at most 16, got 17"):
        replace(REQUEST, variations=", ".join(["1:0.5"] * 17))


def test_every_task_has_them():
    assert all("variations" in controls(kind) for kind in REQUESTS.values())


def test_new_ones_are_drawn_once():
    one, other = with_seeds_drawn("7:0.3, new:0.2"), with_seeds_drawn("7:0.3, new:0.2")
    assert one != other
    assert with_seeds_drawn(one) == one
    (first, share), (second, also) = read_variations(one)
    assert (first, share, also) == (7, 0.3, 0.2)
    assert isinstance(second, int)


def test_pictures_of_a_batch_differ_in_the_last_seed():
    plain = split_by_picture(replace(REQUEST, seed=MAX_SEED, count=2))
    assert [(request.seed, request.count) for request in plain] == [(MAX_SEED, 1), (0, 1)]
    varied = split_by_picture(replace(REQUEST, variations=f"7:0.3, {MAX_SEED}:0.2", count=2))
    assert {request.seed for request in varied} == {5}
    assert [r.variations for r in varied] == [f"7:0.3, {MAX_SEED}:0.2", "7:0.3, 0:0.2"]
    seeds = of_request(replace(REQUEST, variations="7:0.5", count=2)).seeds
    assert seeds == (InterpolatedSeed(5, ((7, 0.5),)), InterpolatedSeed(5, ((8, 0.5),)))
    assert of_request(replace(REQUEST, count=2)).seeds == (5, 6)


def test_noise_goes_from_one_seeds_to_the_others():
    shape = (3, 40, 50)
    a, b, c = (normal(seed, 2, shape) for seed in (1, 2, 3))
    assert torch.equal(normal(InterpolatedSeed(1, ((2, 0.0),)), 2, shape), a)
    assert (normal(InterpolatedSeed(1, ((2, 1.0),)), 2, shape) - b).abs().max() < 1e-6
    third = normal(InterpolatedSeed(1, ((2, 1 / 3),)), 2, shape)
    assert torch.allclose(third, math.sqrt(3) / 2 * a + b / 2, atol=1e-6)
    twice = normal(InterpolatedSeed(1, ((2, 1 / 3), (3, 0.5))), 2, shape)
    assert torch.allclose(twice, (third + c) / math.sqrt(2), atol=1e-6)
    for noise in (third, twice):  # normal still: the samplers count on it
        assert abs(float(noise.std()) - 1) < 0.02
        assert abs(float(noise.mean())) < 0.03


def test_noise_with_variations_is_tied_to_its_place():
    seed = InterpolatedSeed(4, ((9, 0.4),))
    large = normal(seed, 1, (3, 30, 20), (-5, -6))
    assert torch.equal(normal(seed, 1, (3, 10, 12)), large[:, 5:15, 6:18])
    assert torch.equal(batch_noise([3, seed], 1, (3, 10, 12))[1], large[:, 5:15, 6:18])


def test_what_is_compared_has_one_variation():
    compared = Comparison(replace(REQUEST, variations="new:0.3"), Axis("steps", (2, 3)))
    assert len({request.variations for request in compared.rows()[0]}) == 1
    assert "new" not in compared.request.variations
    drawn = Comparison(REQUEST, Axis("variations", ("new:0.3", "7:0.1")))
    assert "new" not in drawn.record()["variations"][0]  # the sheet says what it shows
    assert [r.variations for r in drawn.rows()[0]] == drawn.record()["variations"]
    travel = Comparison(REQUEST, Axis("variations", ("7:0", "7:0.5", "7:1")))
    assert [request.variations for request in travel.rows()[0]] == ["7:0", "7:0.5", "7:1"]
    assert travel.labels(travel.across) == [f"Variations 7:{s}" for s in ("0", "0.5", "1")]


def test_a_little_of_another_seed_changes_a_little(tiny, tmp_path):
    from ldm.studio import Studio  # noqa: PLC0415  (the fixture goes first)

    studio = Studio(data_dir=tmp_path)

    def made(variations, **changes):
        *_, result = studio.run(replace(REQUEST, variations=variations, **changes))
        return result

    own, other = made(""), made("", seed=7)
    steps = [made(f"7:{share}").images[0].astype(int) for share in (0, 0.1, 0.3, 0.6, 1)]
    # how many threads there are depends on the other programs, and rounding on them
    assert np.abs(steps[0] - own.images[0]).max() <= 1
    assert np.abs(steps[-1] - other.images[0]).max() <= 1
    off = [np.abs(image - own.images[0]).mean() for image in steps]
    assert off == sorted(off)
    assert off[1] < off[-1] / 3

    several = made("new:0.3", count=2)
    assert len({request.variations for request in several.requests}) == 2
    again = made(several.requests[1].variations)
    assert np.abs(again.images[0].astype(int) - several.images[1]).max() <= 1
