"""Samples for measuring: the same whatever the batch, and as large as the size says."""

import copy
from dataclasses import replace

import torch

from ldm.canvas import plan
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Defaults
from ldm.evaluation.drawing import Size, draw, sizes

TWO_STEPS = Defaults(steps=2, sampler="ddpm")  # which draws noise in between
CAPTIONS = ["a house", "the moon", "a lake at night"]


def test_sizes_are_multiples_of_the_width_and_cost_the_same():
    made = sizes(load_preset("demo-text-to-image"), 96)
    assert [str(size) for size in made] == ["128 x 128", "256 x 128", "512 x 128", "256 x 256"]
    assert len({size.count * size.width * size.height for size in made}) == 1


def test_a_sample_does_not_depend_on_its_batch(tiny_model, monkeypatch):
    size = Size(1, 16, 8, len(CAPTIONS), TWO_STEPS)

    asked = []

    def condition(some):
        asked.append(some)
        return tiny_model.condition(CAPTIONS[some])

    def sample():
        return draw(
            tiny_model,
            condition,
            size,
            empty=empty or tiny_model.condition([""]),
            guidance_scale=2.0,
        )

    empty = None
    together = sample()
    empty = lambda cond: tiny_model.condition([""] * len(cond))  # noqa: E731
    assert torch.equal(sample(), together)
    asked.clear()
    sample()
    monkeypatch.setattr(plan, "CELLS_PER_BATCH", 1)
    alone = sample()
    assert asked == [slice(0, 3), slice(0, 1), slice(1, 2), slice(2, 3)]
    assert together.shape == (3, 3, 8, 16)
    assert (together - alone).abs().max() <= 2 / 127.5
    assert (together[0] - together[1]).abs().max() > 0.1


def test_seeds_choose_the_noise(tiny_model):
    size = Size(1, 8, 8, 2, TWO_STEPS)

    def sample(seeds):
        condition = tiny_model.condition(["a house", "a house"])
        return draw(tiny_model, lambda some: condition, size, seeds=seeds)

    images = sample([5, 5])
    assert torch.equal(images[0], images[1])
    assert not torch.equal(sample([5, 6])[1], images[1])


def test_pictures_are_made_as_the_preset_says(tiny_model):
    model = copy.copy(tiny_model)
    model.trained_size = (8, 8)
    condition = model.condition(["a house", "a house"])

    def sample(**changes):
        size = Size(2, 16, 16, 2, replace(TWO_STEPS, sampler="ddim", **changes))
        return draw(model, lambda some: condition, size)

    cold = sample(temperature=0.0)
    assert torch.equal(cold[0], cold[1])
    assert not torch.equal(sample()[0], sample()[1])
    assert not torch.equal(sample(coarse=0.5), sample())  # a small picture first
