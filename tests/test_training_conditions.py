"""The conditions of training batches: what is drawn is true of the scenes it is drawn for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldm.data.scenes import CLASSES
from ldm.training.autoencoder import to_tensor
from ldm.training.conditions import EXAMPLES, Holes, LabelMaps, LowResolution, Material
from ldm.training.config import DataConfig, TrainConfig
from ldm.training.world import World


def world(count, side=8):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, side, side, 3), dtype=np.uint8)
    labels = rng.integers(len(CLASSES), size=(count, side, side), dtype=np.uint8)
    return World(images, labels, [{} for _ in range(count)])


def material(scenes, model=None, **config):
    about = TrainConfig("latent_diffusion", "x", 1, 1, **config)
    return Material(about, model, scenes, scenes, "weights")


def test_label_maps_are_the_scenes_own():
    scenes = world(EXAMPLES + 4)
    condition = LabelMaps(material(scenes))
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
    condition = LowResolution(material(scenes, data=DataConfig(degradation=degradation)))
    rows = np.array([3, 17, 3, 0])
    small = condition.draw(np.random.default_rng(0), rows)
    assert small.shape == (4, 3, 4, 4)
    expected = torch.from_numpy(colours[rows].astype(np.float32)) / 127.5 - 1
    assert (small.mean((1, 2, 3)) - expected).abs().max() < 0.03
    assert condition.examples.shown.shape == (EXAMPLES, 3, 16, 16)


def test_holes_are_encoded_once_and_are_those_of_their_scenes(tmp_path, tiny_model):
    """A draw equals `condition_hole` of the scene itself, up to the cache's half precision."""
    scenes = world(EXAMPLES + 2, side=16)
    given = material(scenes, tiny_model, data=DataConfig(holes=2, folder=tmp_path))
    condition = Holes(given)
    rows = np.array([0, 5, 17])
    drawn = condition.draw(np.random.default_rng(0), rows)
    factor = tiny_model.factor
    assert drawn.shape == (3, 4, 16 // factor, 16 // factor)
    mask = F.interpolate((drawn[:, 3:] + 1) / 2, scale_factor=float(factor))
    again = tiny_model.condition_hole(to_tensor(scenes.images[rows]), mask).concat
    assert (again - drawn).abs().max() < 0.02 * again.abs().max()
    written = next(tmp_path.glob("holes-*.npy"))
    before = written.stat().st_mtime_ns
    assert torch.equal(Holes(given).draw(np.random.default_rng(0), rows), drawn)
    assert written.stat().st_mtime_ns == before
