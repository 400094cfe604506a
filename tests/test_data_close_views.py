import dataclasses

import cv2
import numpy as np

from ldm.data import captions, scenes
from ldm.data.close_views import CROPS, close_views, enlarge
from ldm.data.rendering import drawn, render


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


def test_close_views_are_the_same_crops_of_every_scene():
    first = scenes.sample(np.random.default_rng(0), 64, 64)
    alike = [first, scenes.with_other_things(first, np.random.default_rng(1))]
    views = close_views(alike, np.random.default_rng(2), 64, 1.5)
    assert len(views) == 2 * CROPS
    large = [render(enlarge(scene, np.random.default_rng(2).uniform(1, 1.5))) for scene in alike]
    for ours, theirs in zip(views[::2], views[1::2], strict=True):
        y, x = place_of(ours.image, large[0].image)
        np.testing.assert_array_equal(ours.labels, crop(large[0].labels, y, x))
        np.testing.assert_array_equal(theirs.image, crop(large[1].image, y, x))


def place_of(view, image):
    """(y, x) of a 64 x 64 view in the picture that it was cut from."""
    spare = len(image) - 64 + 1
    places = ((y, x) for y in range(spare) for x in range(spare))
    return next(place for place in places if np.array_equal(crop(image, *place), view))


def crop(whole, y, x):
    return whole[y : y + 64, x : x + 64]


def test_a_part_tells_of_what_is_in_it_alone():
    """The upper left quarter of a scene with a sun, a lake and one house down on the right."""
    about = {"time": "day", "weather": "clear", "ground": "sand", "lake": True, "mountains": False}
    house = scenes.Thing("house", 96, 120, 36, "red")
    scene = scenes.Scene(
        128,
        128,
        **about,
        horizon=70,
        shore=90,
        disc=(30, 20, 16),
        clouds=(),
        things=(house,),
        seed=1,
    )
    whole, quarter = drawn(scene).whole(), drawn(scene).part(0, 0, 64, 48)
    assert [box.label for box in whole.boxes] == ["sun", "house"]
    assert [box.label for box in quarter.boxes] == ["sun"]
    assert whole.about == {
        "time": "day",
        "weather": "clear",
        "ground": "sand",
        "lake": True,
        "far": "hills",
        "disc": "sun",
        "groups": [("house", 1, "red", "right")],
    }
    assert quarter.about == {
        "time": "day",
        "weather": "clear",
        "ground": None,
        "lake": False,
        "far": None,
        "disc": "sun",
        "groups": [],
    }
    low = drawn(scene).part(64, 100, 64, 28).about
    assert low["groups"] == [("house", 1, "red", "middle")]
    assert (low["weather"], low["disc"]) == (None, None)
    for seed in range(50):
        said = captions.describe(quarter.about, np.random.default_rng(seed))
        assert said and "sand" not in said and "lake" not in said and "hills" not in said


def test_a_cut_off_thing_is_named_where_it_fills_the_picture():
    scene = scenes.sample(np.random.default_rng(0))
    house = scenes.Thing("house", 64, 120, 120, "red")
    large = drawn(dataclasses.replace(scene, things=(house,)))
    corner = large.part(20, 60, 32, 32)  # less than a third of the house
    assert [box.label for box in corner.boxes] == ["house"]
