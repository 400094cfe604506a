from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ldm.data.scenes import IDS, OBJECTS
from ldm.errors import TrainingError
from ldm.training import world
from ldm.training.config import DataConfig, TrainConfig
from ldm.training.pictures import open_worlds
from ldm.training.world import World, half_close_world, open_world, stretched_world

in_parallel = world._in_parallel  # `small_shards` takes its place


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Four scenes per file, drawn in this process."""
    monkeypatch.setattr(world, "SHARD", 4)
    monkeypatch.setattr(world, "_in_parallel", lambda work, jobs: [work(job) for job in jobs])


def things(labels):
    return np.isin(labels, [IDS[name] for name in OBJECTS])


def test_scenes_are_drawn_once_and_more_can_be_added(tmp_path, monkeypatch):
    three = open_world(tmp_path, "train", count=3, size=64, captions=2)
    assert len(three) == 3
    six = open_world(tmp_path, "train", count=6, size=64, captions=2)
    assert np.array_equal(six.images[:3], three.images)
    assert six.about[:3] == three.about
    monkeypatch.setattr(world, "_render_shard", None)
    again = open_world(tmp_path, "train", count=6, size=64, captions=2)
    assert np.array_equal(again.images, six.images)


def test_splits_share_no_scene(tmp_path):
    splits = [open_world(tmp_path, name, count=4, size=64).images for name in ("train", "held-out")]
    assert not np.array_equal(*splits)


def test_pairs_differ_in_their_things_alone(tmp_path):
    pairs = open_world(tmp_path, "pairs", count=8, size=64)
    first, second = pairs.images[::2].astype(int), pairs.images[1::2].astype(int)
    bare = ~(things(pairs.labels[::2]) | things(pairs.labels[1::2]))
    changed = np.abs(first - second).max(axis=-1) > 8
    # shadows, reflections and the smooth edges of things are not labelled
    assert changed[bare].mean() < 0.05
    assert changed[~bare].mean() > 0.3
    for one, other in zip(pairs.about[::2], pairs.about[1::2], strict=True):
        for name in ("time", "weather", "ground", "lake", "mountains"):
            assert one["attributes"][name] == other["attributes"][name]
    objects = [about["attributes"]["objects"] for about in pairs.about]
    assert objects[::2] != objects[1::2]


def test_half_of_a_world_can_be_close_views(tmp_path):
    both = half_close_world(tmp_path, "pairs", count=12, size=64, captions=3, zoom=1.5)
    far = open_world(tmp_path, "pairs", count=6, size=64, captions=3)
    near = open_world(tmp_path, "pairs", count=6, size=64, captions=3, zoom=1.5)
    for name in ("images", "labels"):
        got, want = getattr(both, name), [getattr(world, name) for world in (far, near)]
        assert np.array_equal(got, np.concatenate(want))
    assert both.about == far.about + near.about
    assert [len(about["captions"]) for about in both.about] == [3] * 12
    assert (both.group, both.key) == (2, "close-1.5-pairs-12-of-64-px")
    assert list(both.is_close(np.arange(12))) == 6 * [False] + 6 * [True]
    assert not far.is_close(np.arange(6)).any()
    first, second = near.labels[::2], near.labels[1::2]
    bare = ~(things(first) | things(second))
    assert (first[bare] == second[bare]).all()


def test_scenes_of_a_pair_are_drawn_together():
    blank = np.zeros((10, 8, 8), np.uint8)
    rows = World(blank, blank, [], group=2).draw(np.random.default_rng(0), 8)
    assert np.array_equal(rows[:4] + 1, rows[4:])
    assert (rows[:4] % 2 == 0).all() and rows.max() < 10
    alone = World(blank, blank, []).draw(np.random.default_rng(0), 8)
    assert alone.max() < 10 and len(set(alone % 2)) == 2


def test_worlds_that_differ_in_size_or_captions_share_no_file(tmp_path):
    small, large, wordy = (
        open_world(tmp_path, "train", count=2, size=size, captions=captions)
        for size, captions in ((32, 8), (64, 8), (32, 3))
    )
    assert small.key != large.key
    assert np.array_equal(small.images, wordy.images)
    assert [len(world.about[0]["captions"]) for world in (small, wordy)] == [8, 3]


def test_stretched_scenes_have_boxes_of_any_shape_and_their_things_in_them(tmp_path):
    world = stretched_world(tmp_path, "train", count=60, size=64, captions=1, stretch=2.0)
    plain = open_world(tmp_path, "train", count=60, size=64, captions=1)
    assert world.key != plain.key
    assert not np.array_equal(world.images, plain.images)
    shapes = [ratios(of, ("pine", "tree", "boat")) for of in (world, plain)]
    assert np.ptp(np.log(shapes[0])) > 1.3 * np.ptp(np.log(shapes[1]))
    for labels, about in zip(world.labels, world.about, strict=True):
        for box in about["boxes"]:
            inside = labels[box["y0"] : box["y1"], box["x0"] : box["x1"]]
            assert (inside == IDS[box["label"]]).any()


def ratios(world, names):
    """Width by height of the boxes of these things."""
    boxes = (box for about in world.about for box in about["boxes"] if box["label"] in names)
    return [(box["x1"] - box["x0"]) / (box["y1"] - box["y0"]) for box in boxes]


def test_a_run_is_given_the_scenes_that_its_configuration_asks_for(tmp_path):
    about = {"scenes": 4, "size": 64, "captions": 1, "folder": tmp_path}
    run = {"kind": "latent_diffusion", "preset": "demo-layout", "steps": 1, "batch_size": 2}
    plain, _ = open_worlds(TrainConfig(**run, data=DataConfig(**about)))
    world, held_out = open_worlds(TrainConfig(**run, data=DataConfig(**about, stretch=2.0)))
    stretched = stretched_world(tmp_path, "train", count=4, size=64, captions=1, stretch=2.0)
    assert np.array_equal(world.images, stretched.images)
    assert not np.array_equal(world.images, plain.images)
    assert len(held_out) > 4  # as they are
    with pytest.raises(TrainingError, match=r"data\.zoom does not go with data\.stretch"):
        DataConfig(**about, stretch=2.0, zoom=2.0)


def test_processes_are_no_more_than_windows_can_wait_for(monkeypatch):
    asked = []

    def pool(count, **_):
        asked.append(count)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(world, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(world.os, "cpu_count", lambda: 128)
    for jobs in (3, 500):
        in_parallel(int, list(range(jobs)))
    assert asked == [3, 61]
