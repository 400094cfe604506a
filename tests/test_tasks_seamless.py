"""Edges that meet: a texture that begins elsewhere gives the same one, begun elsewhere."""

import numpy as np
import pytest
import torch

from ldm.errors import RequestError
from ldm.requests import ClassConditional, EncodedImage, Inpaint, Semantic, Upscale
from ldm.tasks.inpaint import hole_of
from tests.test_tasks_images import HOW, grey, run

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["demo-upscale-bicubic", "demo-upscale-bsr"])
def test_a_seamless_texture_stays_one_wherever_it_begins(name):
    """Any width goes, and the same texture cut elsewhere gives the same one, cut elsewhere."""
    array = RNG.integers(0, 256, (9, 20, 3), dtype=np.uint8)

    def made(start, seamless):
        torch.manual_seed(0)
        given = EncodedImage.from_array(np.roll(array, start, axis=1))
        request = Upscale(image=given, preset=name, seamless=seamless, temperature=0.0, **HOW)
        return run(request).images[0].astype(float)

    differs = {}
    for seamless in ("no", "across"):
        moved, still = made(8, seamless), made(0, seamless)
        assert still.shape == (36, 80, 3)
        differs[seamless] = np.abs(moved - np.roll(still, 32, axis=1)).mean()
    assert differs["across"] < 0.05 * differs["no"]
    assert made(0, "both").shape == (36, 80, 3)


def test_a_painted_texture_meets_itself_at_any_width():
    labels = np.zeros((32, 20), np.uint8)
    labels[8:24, 5:12] = 2

    def made(start):
        torch.manual_seed(0)
        given = grey(np.roll(labels, start, axis=1))
        request = Semantic(label_map=given, seamless="across", temperature=0.0, **HOW)
        return run(request).images[0].astype(float)

    still = made(0)
    assert still.shape == (32, 20, 3)
    assert np.abs(made(8) - np.roll(still, 8, axis=1)).mean() < 1
    with pytest.raises(RequestError, match="width must be a multiple of 4 px .* 20 or 24"):
        run(Semantic(label_map=grey(np.zeros((32, 21))), seamless="across", **HOW))


def filled(array, mask, seamless, **how):
    """A filling at its own size, by random weights that are always the same."""
    torch.manual_seed(0)
    request = Inpaint(
        image=EncodedImage.from_array(array), mask=grey(255 * mask), seamless=seamless,
        working_size=64, temperature=0.0, coarse=0.0, **HOW, **how,
    )  # fmt: skip
    return run(request).images[0].astype(float)


def test_a_hole_across_the_edge_of_a_texture_is_like_any_other():
    array = RNG.integers(0, 256, (90, 130, 3), dtype=np.uint8)
    hole = np.zeros((90, 130), bool)
    hole[40:52, 60:70] = True
    want = filled(array, hole, "across")
    assert (want == filled(array, hole, "no")).all(), "what lies within is as it was"
    turned = filled(np.roll(array, 66, 1), np.roll(hole, 66, 1), "across")
    assert (turned == np.roll(want, 66, 1)).all()
    both = filled(np.roll(array, (47, 66), (0, 1)), np.roll(hole, (47, 66), (0, 1)), "both")
    assert (both == np.roll(want, (47, 66), (0, 1))).all()
    apart = filled(np.roll(array, 66, 1), np.roll(hole, 66, 1), "no")
    assert (apart != turned).any()


def test_the_soft_edge_of_a_hole_goes_around():
    array = np.zeros((64, 64, 3), np.uint8)
    hole = np.zeros((64, 64), np.uint8)
    hole[4:9, :40] = hole[30:35, 24:] = 255  # no column is free of it, so that nothing is turned
    for how in ({"mask_grow": 6}, {"mask_feather": 8}, {"mask_grow": -1}):
        alphas = []
        for by in (0, 20):
            request = Inpaint(
                image=EncodedImage.from_array(array), mask=grey(np.roll(hole, by, 1)),
                seamless="across", working_size=64, **HOW, **how,
            )  # fmt: skip
            found = hole_of(request)
            alphas.append(np.roll(found.alpha, -by - found.turn[1], 1))
        np.testing.assert_array_equal(*alphas)


def test_a_network_that_halves_too_often_has_no_seamless_edges():
    request = ClassConditional(preset="lsun-churches256", seamless="across", **HOW)
    with pytest.raises(RequestError, match="seamless must be no for this model"):
        run(request, width=128, height=128)


def test_a_texture_filled_all_around_meets_itself():
    """A frame and a cross are the same hole of a texture, begun elsewhere."""
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frame = np.ones((64, 64), bool)
    frame[8:56, 8:56] = False
    differs = {}
    for seamless in ("no", "both"):
        moved = filled(np.roll(array, (32, 32), (0, 1)), np.roll(frame, (32, 32), (0, 1)), seamless)
        still = filled(array, frame, seamless)
        differs[seamless] = np.abs(moved - np.roll(still, (32, 32), (0, 1))).mean()
    assert differs["both"] < 0.03 * differs["no"]
