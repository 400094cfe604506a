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
    views, labels = close_views(np.random.default_rng(0), 64, 2.0)
    assert views.shape == (CROPS, 64, 64, 3)
    assert labels.shape == (CROPS, 64, 64)
    assert views.dtype == labels.dtype == np.uint8
    assert not np.array_equal(views[0], views[1])


def test_labels_are_cropped_where_the_picture_is():
    """Each pair of a view and its labels is found at one place of the drawn scene."""
    views, labels = close_views(np.random.default_rng(3), 64, 1.5)
    again = np.random.default_rng(3)
    drawn = render(enlarge(scenes.sample(again, 64, 64), again.uniform(1, 1.5)))
    spare = len(drawn.image) - 64 + 1
    places = [(y, x) for y in range(spare) for x in range(spare)]
    for view, label in zip(views, labels, strict=True):
        y, x = next(p for p in places if np.array_equal(_crop(drawn.image, *p), view))
        np.testing.assert_array_equal(_crop(drawn.labels, y, x), label)


def _crop(whole: np.ndarray, y: int, x: int) -> np.ndarray:
    return whole[y : y + 64, x : x + 64]
