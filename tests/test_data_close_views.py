import cv2
import numpy as np

from ldm.data import scenes
from ldm.data.close_views import CROPS, close_views, enlarge
from ldm.data.rendering import render


def test_an_enlarged_scene_is_the_same_picture_larger():
    """Things and land lie at the same places, whatever the size; the fine waves may differ."""
    for seed in range(4):
        scene = scenes.sample(np.random.default_rng(seed))
        small, large = render(scene), render(enlarge(scene, 2.0))
        assert large.image.shape == (256, 256, 3)
        same = large.labels[::2, ::2] == small.labels
        assert same.mean() > 0.8
        halved = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.abs(halved.astype(int) - small.image).mean() < 12


def test_close_views_are_crops_of_the_asked_size():
    views = close_views(np.random.default_rng(0), 64, 2.0)
    assert views.shape == (CROPS, 64, 64, 3)
    assert views.dtype == np.uint8
    assert not np.array_equal(views[0], views[1])
