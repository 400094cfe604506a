"""Text models fill holes, too, though they were not trained on any: what is known is put back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ldm.canvas.plan import Resources
from ldm.catalog.registry import load_preset
from ldm.data.rendering import render
from ldm.data.scenes import sample
from ldm.images import to_tensor
from ldm.models.hole import pull_push
from ldm.requests import Inpaint, TextToImage
from ldm.resolve import resolve
from ldm.runtime.manager import ModelManager
from ldm.tasks.covering import RunContext
from ldm.tasks.inpaint import run as run_on
from tests.test_tasks_images import HOW, assert_same, facts_on, grey, model_of, picture, run, thin

TEXT = "demo-text-to-image"
SIDE = 64


def hole(side=SIDE):
    mask = np.zeros((side, side), bool)
    mask[side // 4 + 1 : 3 * side // 4 + 1, side // 4 : 3 * side // 4] = (
        True  # not on the cells' edges
    )
    return mask


def told(mask=None, **how):
    mask = hole() if mask is None else mask
    about = {"preset": TEXT, "prompt": "a house", "working_size": SIDE, "mask_feather": 0}
    return Inpaint(image=picture(*mask.shape), mask=grey(255 * mask), **about | HOW | how)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "plms", "dpmpp_2m", "unipc"])
def test_the_latents_end_in_what_is_known(latents, sampler):
    asked = told(sampler=sampler, guidance_scale=2.0, count=2)
    run(asked)
    model, mask = model_of(TEXT), torch.from_numpy(hole())
    cells = mask.unflatten(0, (-1, model.factor)).unflatten(2, (-1, model.factor)).amax((1, 3))
    covered = cells.repeat_interleave(model.factor, 0).repeat_interleave(model.factor, 1)
    image = to_tensor([asked.image.array()])
    known = model.encode(pull_push(image, covered[None, None].float()))
    made = latents[-1]
    assert made.shape[0] == 2
    least = 0.2  # the noise of t = 0, which stays in what samplers end in
    assert (made - known)[..., ~cells].abs().max() < least
    assert (made - known)[..., cells].abs().mean() > 0.1


@pytest.mark.parametrize("how", [{}, {"seamless": "across", "coarse": 0.5}])
def test_bands_make_the_same_as_the_whole(how):
    mask = np.zeros((192, 192), bool)
    mask[24:168, :152] = True
    asked = resolve(told(mask, working_size=192, guidance_scale=2.0, count=2, **how), thin(TEXT))
    model = model_of(TEXT)
    *_, whole = run_on(model, asked)
    context = RunContext(lambda: facts_on(TEXT), Resources(8 * 2**20))
    *_, banded = run_on(model, asked, context)
    assert context.notes[0].startswith("Made in bands")
    for one, other in zip(whole.images, banded.images, strict=True):
        assert_same(one, other)
    assert (whole.images[0] != whole.images[1]).any()


def test_a_strength_below_1_starts_from_what_is_there(latents):
    asked = told(sampler="plms")  # which draws no noise but at the start
    run(asked)
    anew = latents[-1]
    run(replace(asked, strength=0.5))
    assert (latents[-1] - anew).abs().max() > 1e-3


def test_its_defaults_are_those_for_filling_holes():
    """Fresh noise in every step, at a size at which its pictures hold together."""
    for name, sampler, size in ((TEXT, "ddim", 256), ("stable-diffusion-v1-4", "ddim", 512)):
        preset = load_preset(name)
        asked = told(preset=name, steps=None, sampler=None, eta=None, working_size=None)
        found = resolve(asked, preset)
        assert (found.sampler, found.eta, found.working_size) == (sampler, 1.0, size), name
        assert resolve(replace(asked, sampler="plms"), preset).eta == 0
        drawn = resolve(TextToImage(prompt="a house", preset=name), preset)
        assert (drawn.sampler, drawn.eta) == (preset.defaults.sampler, preset.defaults.eta)
    trained = load_preset("demo-inpaint-words")
    found = resolve(told(preset=trained.name, steps=None, sampler=None, eta=None), trained)
    assert (found.sampler, found.eta) == (trained.defaults.sampler, trained.defaults.eta)


def test_the_shipped_model_goes_on_with_what_is_around():
    """Told no words, it fills a meadow with what is more like the meadow than its pictures are."""
    image = render(sample(np.random.default_rng(11), 128, 128)).image
    mask = np.zeros((128, 128), np.uint8)
    mask[80:112, 40:80] = 255
    preset, marked = load_preset(TEXT), mask > 0
    asked = Inpaint(image=image, mask=mask, preset=TEXT, mask_feather=0, steps=10, seed=1, count=4)
    everything = replace(asked, mask=np.full_like(mask, 255))
    with ModelManager(device="cpu").use(TEXT) as model:
        apart = []
        for request in (asked, everything):
            *_, made = run_on(model, resolve(request, preset))
            given = [np.abs(one.astype(float) - image)[marked].mean() for one in made.images]
            apart.append(np.mean(given))
            beside = [(one != image)[~marked].any() for one in made.images]
            assert any(beside) == (request is everything)
    assert apart[0] < 0.5 * apart[1], apart
