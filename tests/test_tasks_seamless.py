"""Edges that meet: a texture that begins elsewhere gives the same one, begun elsewhere.

Where the networks see no farther than the margin, this is exact. Real ones have norms and attention
over all of a canvas with its margins, and what stands twice in those depends on where it begins.
"""

import numpy as np
import pytest
import torch

from ldm.errors import RequestError
from ldm.requests import ClassConditional, EncodedImage, Inpaint, Semantic, Upscale
from ldm.tasks.inpaint import hole_of
from ldm.tasks.settings import WRAPS
from tests.random_weights import randomise
from tests.test_tasks_images import HOW, grey, model_of, run

RNG = np.random.default_rng(0)
STILL = HOW | {"temperature": 0.0}  # noise does not move along


class Near(torch.nn.Module):
    """Sees 3 cells far, and has neither norms nor attention."""

    def __init__(self, unet):
        super().__init__()
        self.factor, self.out_channels = unet.factor, unet.out_channels
        self.conv = randomise(torch.nn.Conv2d(unet.in_channels, unet.out_channels, 7, padding=3))

    def forward(self, x, t, context=None, y=None):
        return self.conv(x)


def upscaling(start, **how):
    array = np.random.default_rng(0).integers(0, 256, (9, 20, 3), dtype=np.uint8)
    image = EncodedImage.from_array(np.roll(array, start, axis=1))
    return Upscale(image=image, **STILL, **how)


def painting(start, **how):
    labels = np.zeros((32, 64), np.uint8)
    labels[8:24, 5:12], labels[20:, 3:9], labels[16:28, -9:-2] = 2, 6, 11
    return Semantic(label_map=grey(np.roll(labels, start, axis=1)), **STILL, **how)


def filling(array, mask, seamless):
    """At its own size."""
    return Inpaint(
        image=EncodedImage.from_array(array), mask=grey(255 * mask), seamless=seamless,
        working_size=64, coarse=0.0, **STILL,
    )  # fmt: skip


def made(request, latents):
    """A picture (H, W, 3) and its latents (H / 4, W / 4, 3), without their margins."""
    (picture,) = run(request).images
    h, w = (side // 4 for side in picture.shape[:2])
    cells = WRAPS[request.seamless].cut(latents[-1], h, w)
    return picture.astype(float), cells[0].permute(1, 2, 0).numpy()


def apart(still, moved, by):
    """How far a texture is from the one that begins so many columns elsewhere."""
    return np.abs(moved - np.roll(still, by, axis=1))


def at_edges(columns, by, near):
    """Of such differences the mean close to where the one or the other begins."""
    return np.roll(columns, near, axis=1)[:, np.r_[: 2 * near, by : by + 2 * near]].mean()


@pytest.mark.parametrize(("asked", "by"), [(upscaling, 1), (painting, 4)])
def test_what_is_seen_from_near_is_exact_where_edges_meet(asked, by, monkeypatch, latents):
    """By a single cell; a network that halves its canvas would make something else of that."""
    model = model_of(asked(0).preset)
    monkeypatch.setitem(model._modules, "unet", Near(model.unet))
    differs, within = {}, []
    for seamless in ("no", "across"):
        still, moved = (made(asked(x, seamless=seamless), latents)[1] for x in (0, by))
        differs[seamless] = apart(still, moved, 1).max() / still.std()
        within.append(still[:, 6:-6])  # what no edge reaches in two steps
    np.testing.assert_allclose(*within, atol=1e-5)
    assert differs["across"] < 1e-5
    assert differs["no"] > 0.1


@pytest.mark.parametrize(
    ("asked", "preset", "by", "scale"),
    [
        (upscaling, "demo-upscale-bicubic", 8, 4),
        (upscaling, "demo-upscale-bsr", 8, 4),
        (painting, "demo-semantic", 16, 1),
    ],
)
def test_a_seamless_texture_stays_one_wherever_it_begins(asked, preset, by, scale, latents):
    """Almost: of what differs at plain edges, 0.06 is left in cells and 0.25 in pictures.

    If the UNet or the decoder sees no margins, 0.6 and more is left.
    """
    pictures, cells = {}, {}
    for seamless in ("no", "across"):
        how = {"preset": preset, "seamless": seamless}
        still, moved = (made(asked(x, **how), latents) for x in (0, by))
        px = scale * by
        pictures[seamless] = at_edges(apart(still[0], moved[0], px), px, 8)
        cells[seamless] = at_edges(apart(still[1], moved[1], px // 4), px // 4, 2)
    assert cells["across"] < 0.15 * cells["no"]
    assert pictures["across"] < 0.4 * pictures["no"]


def test_sides_that_meet_are_of_any_length():
    assert run(upscaling(0, seamless="both")).images[0].shape == (36, 80, 3)
    labels = np.zeros((32, 20))
    request = Semantic(label_map=grey(labels), seamless="across", **HOW)
    assert run(request).images[0].shape == (32, 20, 3)
    with pytest.raises(RequestError, match="width must be a multiple of 4 px .* 20 or 24"):
        run(Semantic(label_map=grey(np.zeros((32, 21))), seamless="across", **HOW))


def test_a_hole_across_the_edge_of_a_texture_is_like_any_other():
    array = RNG.integers(0, 256, (90, 130, 3), dtype=np.uint8)
    hole = np.zeros((90, 130), bool)
    hole[40:52, 60:70] = True

    def filled(*about):
        return run(filling(*about)).images[0]

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


def test_a_texture_filled_all_around_meets_itself(latents):
    """A frame and a cross are the same hole of a texture, begun elsewhere."""
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frame = np.ones((64, 64), bool)
    frame[8:56, 8:56] = False
    pictures, cells = {}, {}
    for seamless in ("no", "both"):
        still = made(filling(array, frame, seamless), latents)
        turned = (np.roll(part, (32, 32), (0, 1)) for part in (array, frame))
        moved = made(filling(*turned, seamless), latents)
        pictures[seamless] = np.abs(moved[0] - np.roll(still[0], (32, 32), (0, 1))).mean()
        cells[seamless] = np.abs(moved[1] - np.roll(still[1], (8, 8), (0, 1))).mean()
    assert cells["both"] < 0.25 * cells["no"]
    assert pictures["both"] < 0.3 * pictures["no"]
