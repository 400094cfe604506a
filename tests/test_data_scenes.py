import json

import numpy as np
import pytest

from ldm.data import attributes, captions, scenes
from ldm.data.rendering import render
from ldm.data.scenes import ATTRIBUTES, BOX_CLASSES, CLASSES, IDS, OBJECTS, VOCABULARY

COUNT = 60


def draw(index, width=128, height=128):
    rng = np.random.default_rng([9, index])
    scene = scenes.sample(rng, width, height)
    return scene, render(scene)


@pytest.fixture(scope="module")
def world():
    return [draw(i) for i in range(COUNT)]


def test_there_are_classes_enough():
    assert len(CLASSES) >= 12
    assert len(BOX_CLASSES) >= 6
    assert len(set(CLASSES.values())) == len(CLASSES)


def test_the_same_scene_is_the_same_picture(world):
    for scene, sample in world[:5]:
        again = render(scene)
        assert np.array_equal(again.image, sample.image)
        assert np.array_equal(again.labels, sample.labels)
        assert again.caption == sample.caption


@pytest.mark.parametrize("size", [(128, 128), (512, 128), (64, 96), (129, 67), (192, 192)])
def test_any_size(size):
    _, sample = draw(0, *size)
    assert sample.image.shape == (size[1], size[0], 3)
    assert sample.image.dtype == np.uint8
    assert sample.labels.shape == (size[1], size[0])
    assert sample.labels.max() < len(CLASSES)


def test_a_wider_canvas_shows_more_at_the_same_scale():
    def mean_height(width):
        boxes = [box for i in range(30) for box in draw(i, width)[1].boxes if box.label == "pine"]
        return np.mean([box.y1 - box.y0 for box in boxes]), len(boxes)

    (small, few), (large, many) = mean_height(128), mean_height(512)
    assert abs(small / large - 1) < 0.25
    assert many > 2 * few


def test_boxes_are_tight_and_lie_on_their_class(world):
    seen = set()
    for _, sample in world:
        for box in sample.boxes:
            assert box.label in BOX_CLASSES
            assert 0 <= box.x0 < box.x1 <= 128
            assert 0 <= box.y0 < box.y1 <= 128
            inside = sample.labels[box.y0 : box.y1, box.x0 : box.x1] == IDS[box.label]
            assert inside.any()
            seen.add(box.label)
    assert seen == set(BOX_CLASSES)


def test_what_is_named_can_be_seen(world):
    for scene, sample in world:
        present = {box.label for box in sample.boxes} & set(OBJECTS)
        assert set(sample.attributes["objects"]) == present
        for kind in present:
            assert (sample.labels == IDS[kind]).sum() >= 24
        assert (sample.labels == IDS["water"]).any() == scene.lake
        assert sample.attributes["lake"] == ("yes" if scene.lake else "no")
        for name, values in ATTRIBUTES.items():
            assert sample.attributes[name] in values


def test_attributes_show_in_the_pixels(world):
    def brightness(time):
        return np.mean([s.image.mean() for scene, s in world if scene.time == time])

    assert brightness("night") < 0.6 * brightness("day")
    for scene, sample in world:
        if scene.ground == "snow" and scene.time == "day" and scene.weather == "clear":
            ground = sample.image[sample.labels == IDS["snow"]]
            assert ground.mean() > 190
    nights = [s for scene, s in world if scene.time == "night" and scene.disc]
    assert nights
    assert all((s.labels != IDS["sun"]).all() for s in nights)


def test_captions_use_the_vocabulary_alone(world):
    words = set(VOCABULARY)
    rng = np.random.default_rng(0)
    said = set()
    for _, sample in world:
        for share in (0.5, 0.8, 1.0):
            text = scenes.caption(sample, rng, share)
            said |= set(text.replace(",", " ,").split())
    assert said <= words
    assert len(said) > 0.7 * len(words)


def test_a_full_caption_names_everything(world):
    rng = np.random.default_rng(1)
    for scene, sample in world:
        text = scenes.caption(sample, rng, share=1.0)
        assert any(phrase in text for phrase in captions.TIMES[scene.time])
        assert any(phrase in text for phrase in captions.WEATHERS[scene.weather])
        assert any(phrase in text for phrase in captions.GROUNDS[scene.ground])
        for kind in sample.attributes["objects"]:
            names = [name for pair in captions.NOUNS[kind] for name in pair]
            assert any(name in text for name in [*names, *captions.CROWDS[kind]])


def test_what_is_said_of_a_part_is_true_and_uses_the_vocabulary_alone():
    rng, about = np.random.default_rng(0), {"time": "night", "weather": "fog"}
    for land in CLASSES:
        if land in BOX_CLASSES:
            continue
        for things in ({}, {"house": 2, "moon": 1}, {"boat": 1}):
            said = captions.describe_part(things, land, about, rng)
            assert set(said.replace(",", " ,").split()) <= set(VOCABULARY)
            nouns = {kind for kind, names in captions.NOUNS.items() for pair in names
                     if set(pair) & set(said.replace(",", "").split())}  # fmt: skip
            assert nouns <= set(things)
            assert things or said


def test_the_shipped_vocabulary_is_that_of_the_captions():
    from ldm.catalog.registry import load_preset  # noqa: PLC0415  (only here)

    path = load_preset("demo-text-to-image").architecture.conditioner.vocabulary
    tokens = path.read_text("utf-8").split()
    assert set(VOCABULARY) <= set(tokens)
    assert len(tokens) == len(set(tokens))


def test_attributes_as_numbers(world):
    for _, sample in world:
        code = attributes.encode(json.loads(json.dumps(sample.attributes)))
        assert len(code) == len(attributes.NAMES)
        for name, value in zip(attributes.NAMES, code, strict=True):
            if name in ATTRIBUTES:
                assert ATTRIBUTES[name][value] == sample.attributes[name]
            else:
                assert bool(value) == (name in sample.attributes["objects"])
    where = attributes.slices()
    assert list(where) == list(attributes.NAMES)
    assert max(s.stop for s in where.values()) == attributes.ANSWERS
