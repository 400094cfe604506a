"""A hole is filled, or a canvas grown, and what is kept stands as it was given."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ldm.canvas.estimate import facts_of
from ldm.canvas.plan import Resources
from ldm.catalog.registry import load_preset
from ldm.data.rendering import render
from ldm.data.scenes import sample
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import classifier_free
from ldm.errors import RequestError
from ldm.images import to_tensor
from ldm.requests import EncodedImage, Inpaint
from ldm.resolve import resolve
from ldm.runtime.manager import ModelManager
from ldm.tasks.area import Area, put_back, rolled, without_seam
from ldm.tasks.covering import RunContext
from ldm.tasks.estimating import canvases
from ldm.tasks.inpaint import (
    NOTHING_LEFT,
    area_around,
    changed,
    feathered,
    grown_canvas,
    hole_of,
)
from ldm.tasks.inpaint import run as run_on
from ldm.tasks.settings import check_request
from tests.test_tasks_images import (
    HOW,
    assert_same,
    events_of,
    facts_on,
    grey,
    model_of,
    picture,
    run,
    thin,
)


@pytest.mark.parametrize("seed", range(50))
def test_not_one_pixel_changes_outside_the_feathered_mask(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 300, 2)
    canvas = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), bool)
    top, left = rng.integers(height), rng.integers(width)
    mask[top : top + rng.integers(1, 80), left : left + rng.integers(1, 80)] = True
    feather, grow = int(rng.integers(0, 20)), int(rng.integers(0, 9))
    alpha = feathered(changed(mask, grow), feather)
    area = area_around(alpha > 0, 64)
    made = rng.integers(0, 256, (area.height, area.width, 3), dtype=np.uint8)
    after = put_back(area, canvas, alpha, made)
    assert after.shape == canvas.shape
    assert (after[alpha == 0] == canvas[alpha == 0]).all()
    assert np.count_nonzero(area.of(alpha)) == np.count_nonzero(
        alpha
    )  # the area holds the whole hole
    if area.of(canvas).shape == made.shape:
        inside = area.of(alpha) == 1
        assert (area.of(after)[inside] == made[inside]).all()


@pytest.mark.parametrize("grow", [1, 3, 5])
def test_a_mask_grows_and_shrinks_by_a_disc(grow):
    mask = np.random.default_rng(grow).random((24, 31)) < 0.02
    ys, xs = np.mgrid[-grow : grow + 1, -grow : grow + 1]
    disc = [(y, x) for y, x in zip(ys.ravel(), xs.ravel(), strict=True) if y * y + x * x <= grow**2]
    wide = np.pad(mask, grow)
    want = np.any([wide[grow + y :, grow + x :][:24, :31] for y, x in disc], axis=0)
    np.testing.assert_array_equal(changed(mask, grow), want)
    np.testing.assert_array_equal(changed(~mask, -grow), ~want)
    assert changed(np.ones((4, 5), bool), -grow).all()  # what lies beyond the edges is no hole
    assert not changed(np.zeros((4, 5), bool), grow).any()


@pytest.mark.parametrize("feather", [1, 2, 8])
def test_a_feather_falls_by_equal_steps_and_is_over_one_px_after_its_width(feather):
    mask = np.zeros((3, 24), bool)
    mask[1, 4] = True
    alpha = feathered(mask, feather)
    want = [1 - distance / (feather + 1) for distance in range(feather + 2)]
    assert alpha[1, 4 : feather + 6] == pytest.approx(want, abs=1e-6)
    assert alpha[1, feather + 4] > 0 == alpha[1, feather + 5]


def test_all_of_a_feathered_rim_is_filled_and_only_what_is_beyond_it_tells_the_shift():
    """Beyond the rim, what was made is the picture, 20 levels too bright; within, it is another."""
    rng = np.random.default_rng(0)
    canvas, other = rng.integers(60, 180, (2, 48, 40, 3), dtype=np.uint8)
    mask = np.zeros((48, 40), bool)
    mask[20:28, 16:24] = True
    alpha = feathered(mask, 8)
    rim = (alpha > 0) & (alpha <= 0.5)
    filled = (alpha > 0)[:, :, None]
    area = Area(slice(0, 48), slice(0, 40), 48, 40)
    joined = without_seam(area, canvas, alpha, np.where(filled, other, canvas + 20))
    assert np.count_nonzero(rim) > 100
    off = joined.astype(int) - np.where(filled, other.astype(int) - 20, canvas)
    assert np.abs(off).max() <= 1  # rounding


def test_what_is_made_meets_the_picture_around_the_hole():
    """A model without knowledge makes any colours: they are moved to those of the rim."""
    mask = np.zeros((64, 64))
    mask[16:48, 16:48] = 255
    given = grey(np.full((64, 64, 3), 90))
    request = Inpaint(image=given, mask=grey(mask), mask_feather=0, working_size=64, **HOW)
    for made in (*run(request).images, *previews_of(request)):
        rim = np.concatenate([made[[16, 47], 16:48], made[16:48, [16, 47]].swapaxes(0, 1)])
        assert np.abs(rim.mean((0, 1)) - 90).mean() < 15


def test_the_network_sees_what_is_around_a_hole_and_where_it_is_but_not_what_it_hides(latents):
    image, hole = picture(64, 64).array(), np.zeros((64, 64), bool)
    hole[16:48, 16:48] = True

    def made(image, hole):
        about = {"image": EncodedImage.from_array(image), "mask": grey(255 * hole)}
        run(Inpaint(**about, mask_feather=0, working_size=64, **HOW))
        return latents[-1]

    still, spread = made(image, hole), latents[-1].std()
    assert (made(np.where(hole[:, :, None], 255 - image, image), hole) == still).all()
    around = made(np.where(hole[:, :, None], image, 255 - image), hole)
    assert (around - still).abs().mean() > 0.01 * spread
    plain = np.full_like(image, 90)  # of which the filling is the same for any hole
    where = made(plain, hole) - made(plain, hole.T & (np.arange(64) < 32))
    assert where.abs().mean() > 0.01 * spread


def test_a_trained_network_gives_back_what_it_was_shown(latents):
    """Around the hole, before anything is put back, though it starts from noise there too."""
    ys, xs = np.mgrid[:64, :64]
    image = np.stack([4 * xs, 4 * ys, 255 - 4 * xs], axis=2).astype(np.uint8)
    hole = np.zeros((64, 64), bool)
    hole[16:48, 16:48] = True
    about = {"image": EncodedImage.from_array(image), "mask": grey(255 * hole)}
    request = Inpaint(**about, mask_feather=0, working_size=64, **HOW)
    with ModelManager(device="cpu").use("demo-inpaint") as model:
        list(run_on(model, resolve(request, load_preset("demo-inpaint"))))
        want = model.encode(to_tensor([image]))
    off = (latents[-1] - want).abs().mean((0, 1))
    assert off[:4].mean() < 0.3 * want.std()


def test_outpainting_keeps_the_picture_where_it_was():
    image = picture(40, 56)
    request = Inpaint(image=image, outpaint_left=24, outpaint_bottom=8, mask_feather=0, **HOW)
    (after,) = run(request, working_size=64).images
    assert after.shape == (48, 80, 3)
    assert (after[:40, 24:] == image.array()).all()


def test_previews_show_what_is_kept_as_it_was_given():
    image, mask = picture(40, 56), np.zeros((40, 56), bool)
    mask[10:20, 50:] = mask[10:20, :4] = True  # with seamless edges, one hole
    for how in ({"outpaint_left": 24, "outpaint_bottom": 8}, {"seamless": "across", "count": 2}):
        request = Inpaint(image=image, mask=grey(255 * mask), working_size=64, **HOW, **how)
        previews = previews_of(request)
        given, made = grown_canvas(request), turned_back(hole_of(request)) > 0
        for preview in previews:
            assert preview.shape == (len(given), request.count * given.shape[1], 3)
            for part in np.split(preview, request.count, axis=1):
                assert (part[~made] == given[~made]).all()
                assert (part[made] != given[made]).any(axis=1).mean() > 0.9
        assert len(previews) == request.steps


def test_previews_of_a_large_picture_are_small():
    image, mask = np.full((400, 1536, 3), 90, np.uint8), np.zeros((400, 1536), bool)
    mask[100:200, 700:900] = True
    how = HOW | {"count": 2, "working_size": 64}
    request = Inpaint(image=EncodedImage.from_array(image), mask=grey(255 * mask), **how)
    preview = previews_of(request)[0]
    assert preview.shape == (133, 1024, 3)
    kept = np.ones((133, 512), bool)
    kept[30:70, 230:305] = False
    for part in np.split(preview, 2, axis=1):
        assert (part[kept] == 90).all()
        assert (part[34:66, 234:300] != 90).any(axis=2).mean() > 0.3


def previews_of(request):
    previews = (event.preview for event in events_of(request)[:-1])
    return [preview for preview in previews if preview is not None]


def turned_back(hole):
    """Where a hole is, on the canvas as it was given."""
    return rolled(hole.alpha, tuple(-by for by in hole.turn))


def test_a_mask_that_shrinks_leaves_what_was_added_to_the_canvas():
    image, mask = picture(40, 56), np.zeros((40, 56), bool)
    mask[10:20, 10:20] = True
    request = Inpaint(image=image, mask=grey(255 * mask), outpaint_left=16, mask_grow=-2,
                      mask_feather=0, working_size=64, **HOW)  # fmt: skip
    made = hole_of(request).alpha == 1
    assert made[:, :16].all()
    assert made[:, 16:].sum() == made[12:18, 28:34].sum() > 20


def test_one_pixel_and_full_masks_are_fine():
    for side in (1, 5, 64):
        request = Inpaint(image=picture(side, side), mask=grey(np.full((side, side), 255)), **HOW)
        assert run(request, working_size=64).images[0].shape == (side, side, 3)


@pytest.mark.parametrize("marked", [63, 64])
def test_it_is_told_that_nothing_was_left_to_go_by(marked):
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :marked] = 255
    request = Inpaint(image=picture(64, 64), mask=grey(mask), mask_feather=0, **HOW)
    with ModelManager(device="cpu").use("demo-inpaint") as model:
        context = RunContext(lambda: facts_of(model), Resources(2**30))
        next(run_on(model, resolve(request, load_preset("demo-inpaint")), context))
    assert context.notes == ([NOTHING_LEFT] if marked == 64 else [])


WORDS = "demo-inpaint-words"


def worded(**how):
    image, mask = picture(64, 64), np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    return Inpaint(image=image, mask=grey(255 * mask), working_size=64, **HOW, **how)


def test_words_decide_what_is_made_in_a_hole(latents):
    request = worded(preset=WORDS, prompt="a house", guidance_scale=1.0)
    run(request)
    house = latents[-1]
    run(replace(request, prompt="a pine tree"))
    assert (latents[-1] - house).abs().max() > 1e-3
    run(replace(request, guidance_scale=3.0))
    strictly = latents[-1]
    assert (strictly - house).abs().max() > 1e-3
    run(replace(request, guidance_scale=3.0, negative_prompt="fog"))
    assert (latents[-1] - strictly).abs().max() > 1e-3


def test_what_is_around_a_hole_is_computed_once_for_both_conditions():
    model, rng = model_of(WORDS), torch.Generator().manual_seed(0)
    x, hole = (torch.randn(2, c, 16, 16, generator=rng) for c in (3, 4))
    words, silence = (
        Conditioning(concat=hole, context=model.condition([text] * 2).context)
        for text in ("a house", "")
    )
    seen, unet = [], model.unet.forward
    model.unet.forward = lambda x, *rest, **more: seen.append(len(x)) or unet(x, *rest, **more)
    apart = replace(silence, concat=hole.clone())
    once, twice = (
        classifier_free(model.denoise, words, other, 3.0)(x, torch.tensor([500, 500]))
        for other in (silence, apart)
    )
    del model.unet.forward
    assert seen == [2, 4]
    assert (once - twice).abs().max() < 1e-4 * twice.abs().max()


def test_it_is_computed_once_in_the_small_picture_that_comes_first_too(latents):
    mask = np.zeros((256, 256), np.uint8)
    mask[32:224, 32:224] = 255
    request = Inpaint(image=picture(256, 256), mask=grey(mask), preset=WORDS, prompt="a house",
                      working_size=256, coarse=0.5, guidance_scale=2.0, count=2, **HOW)  # fmt: skip
    seen, unet = [], model_of(WORDS).unet
    forward, unet.forward = (
        unet.forward,
        lambda x, *rest, **more: seen.append((len(x), x.shape[2])) or forward(x, *rest, **more),
    )
    try:
        run(request)
    finally:
        del unet.forward
    assert {side for _, side in seen} == {32, 64}
    assert {count for count, _ in seen} <= {1, 2}  # without the second condition's copies


def test_the_estimate_knows_that_it_is_computed_once():
    known = facts_of(model_of(WORDS))
    cells = 32 * 32
    assert known.guided_work.of(1, cells) < 1.98 * known.unet_work.of(1, cells)
    known = facts_of(model_of("demo-layout"))  # whose boxes are beside the latents, or are not
    assert known.guided_work.of(1, cells) > 1.99 * known.unet_work.of(1, cells)


def test_without_words_guidance_is_switched_off(latents):
    request = worded(preset=WORDS)
    run(replace(request, guidance_scale=1.0))
    plain = latents[-1]
    run(replace(request, guidance_scale=9.0))
    assert (latents[-1] == plain).all()
    facts = facts_of(model_of(WORDS))
    for words, passes in (
        ({}, 1), ({"prompt": " "}, 1), ({"prompt": "a house"}, 2), ({"negative_prompt": "fog"}, 2)
    ):  # fmt: skip
        asked = resolve(replace(request, guidance_scale=2.0, **words), thin(WORDS))
        assert {canvas.passes for canvas in canvases(asked, facts)} == {passes}


def test_words_that_a_model_does_not_know_are_told():
    notes = run(worded(preset=WORDS, prompt="a blorb and a house")).notes
    assert notes == ("This model has never seen: blorb.",)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_words_are_refused_by_a_model_that_reads_none(name):
    request = resolve(worded(**{name: "a house"}), load_preset("demo-inpaint"))
    says = f"^{name} must be empty for demo-inpaint, which reads no words, got 'a house'"
    with pytest.raises(RequestError, match=says):
        check_request(request, load_preset("demo-inpaint"))
    with pytest.raises(RequestError, match=says):
        run(request)


@pytest.mark.parametrize("how", [{}, {"seamless": "across", "coarse": 0.5}])
def test_words_in_bands_draw_the_same_as_on_the_whole(how):
    mask = np.zeros((192, 192), np.uint8)
    mask[24:168, :152] = 255
    about = {"image": picture(192, 192), "mask": grey(mask), "preset": WORDS, "working_size": 192}
    request = Inpaint(prompt="a house", guidance_scale=2.0, count=2, **about, **HOW, **how)
    asked, model = resolve(request, thin(WORDS)), model_of(WORDS)
    *_, whole = run_on(model, asked)
    context = RunContext(lambda: facts_on(WORDS), Resources(8 * 2**20))
    *_, banded = run_on(model, asked, context)
    assert context.notes[0].startswith("Made in bands")
    for one, other in zip(whole.images, banded.images, strict=True):
        assert_same(one, other)
    assert (whole.images[0] != whole.images[1]).any()


def test_a_strength_below_1_keeps_what_is_under_the_mask():
    """From all of it anew to most of it kept, in fewer steps; beside the mask nothing changes."""
    image = render(sample(np.random.default_rng(11), 128, 128)).image
    mask = np.zeros((128, 128), np.uint8)
    mask[64:120, 32:96] = 255
    preset = load_preset("demo-inpaint")
    asked = Inpaint(image=image, mask=mask, steps=10, seed=1, mask_feather=0, working_size=128)
    apart = []
    with ModelManager(device="cpu").use(preset.name) as model:
        for strength, steps in ((1.0, 10), (0.3, 3), (0.1, 1)):
            request = resolve(replace(asked, strength=strength), preset)
            *events, result = run_on(model, request)
            assert max(event.step for event in events) == steps
            made, was = (part.astype(float) for part in (result.images[0], image))
            assert np.array_equal(made[mask == 0], was[mask == 0])
            apart.append(np.abs(made - was)[mask > 0].mean())
    assert apart[0] > 1.3 * apart[1] > 1.3 * apart[2] > 0, apart


def test_nothing_is_kept_where_the_canvas_grows():
    with pytest.raises(RequestError, match="strength must be 1 where the canvas grows"):
        Inpaint(image=picture(70, 50), outpaint_left=16, strength=0.5)
