"""The conditions of training batches: what is drawn is true of the scenes it is drawn for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ldm.data.scenes import CLASSES
from ldm.training.conditions import EXAMPLES, LabelMaps, LowResolution
from ldm.training.config import DataConfig, TrainConfig
from ldm.training.world import World


def world(count, side=8):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, side, side, 3), dtype=np.uint8)
    labels = rng.integers(len(CLASSES), size=(count, side, side), dtype=np.uint8)
    return World(images, labels, [{} for _ in range(count)])


def test_label_maps_are_the_scenes_own():
    scenes = world(EXAMPLES + 4)
    condition = LabelMaps(SimpleNamespace(), None, scenes, scenes)
    rows = np.array([3, 17, 3])
    maps = condition.draw(np.random.default_rng(1), rows)
    assert maps.shape == (3, len(CLASSES), 8, 8)
    assert torch.equal(maps.sum(1), torch.ones(3, 8, 8))
    assert np.array_equal(maps.argmax(1).numpy(), scenes.labels[rows])
    shown = (condition.examples.shown[5, :, 2, 3] + 1) * 127.5
    colour = list(CLASSES.values())[scenes.labels[5, 2, 3]]
    assert torch.allclose(shown, torch.tensor(colour, dtype=torch.float32))


@pytest.mark.parametrize("degradation", ["bicubic", "bsr"])
def test_low_resolution_pictures_are_those_of_their_scenes(degradation):
    """A flat picture stays its own flat colour, whatever is done to it."""
    colours = np.arange(0, 240, 12, dtype=np.uint8)
    images = np.broadcast_to(colours[:, None, None, None], (20, 16, 16, 3)).copy()
    scenes = World(images, images[..., 0], [])
    config = TrainConfig("latent_diffusion", "x", 1, 1, data=DataConfig(degradation=degradation))
    condition = LowResolution(config, None, scenes, scenes)
    rows = np.array([3, 17, 3, 0])
    small = condition.draw(np.random.default_rng(0), rows)
    assert small.shape == (4, 3, 4, 4)
    expected = torch.from_numpy(colours[rows].astype(np.float32)) / 127.5 - 1
    assert (small.mean((1, 2, 3)) - expected).abs().max() < 0.03
    assert condition.examples.shown.shape == (EXAMPLES, 3, 16, 16)
