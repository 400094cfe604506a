"""The conditions of training batches: what is drawn is true of the scenes it is drawn for."""

import copy
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldm.catalog.layout_tokens import LayoutTokens
from ldm.catalog.registry import list_presets, load_preset
from ldm.data.captions import GROUNDS, NOUNS
from ldm.data.classes import NAMES, NO_CLASS
from ldm.data.scenes import CLASSES, IDS
from ldm.errors import TrainingError
from ldm.images import to_tensor
from ldm.training.boxes import corner_waves
from ldm.training.condition import EXAMPLES, Material
from ldm.training.conditions import (
    CONDITIONS,
    OUTSIDE_WEIGHT,
    LabelMaps,
    Layouts,
    LowResolution,
    PictureClasses,
    cell_weights,
)
from ldm.training.config import DataConfig, LossConfig, TrainConfig
from ldm.training.holes import AROUND_SHARE, KNOWN_WEIGHT, holes_of, said_of
from ldm.training.pictures import NO_LABELS
from ldm.training.world import World


def world(count, side=8):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, side, side, 3), dtype=np.uint8)
    labels = rng.integers(len(CLASSES), size=(count, side, side), dtype=np.uint8)
    return World(images, labels, [{} for _ in range(count)])


def material(scenes, model=None, **config):
    about = TrainConfig("latent_diffusion", "x", 1, 1, **config)
    return Material(about, load_preset("demo-class-conditional"), model, scenes, scenes, "weights")


def test_label_maps_are_the_scenes_own():
    scenes = world(EXAMPLES + 4)
    condition = LabelMaps(material(scenes, SimpleNamespace(factor=4)))
    rows = np.array([3, 17, 3])
    maps = condition.prepared(condition.draw(np.random.default_rng(1), rows))
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
    condition = pickle.loads(pickle.dumps(condition))  # as it comes to a worker that is spawned
    small = condition.draw(np.random.default_rng(0), rows)
    assert small.shape == (4, 3, 4, 4)
    expected = torch.from_numpy(colours[rows].astype(np.float32)) / 127.5 - 1
    assert (small.mean((1, 2, 3)) - expected).abs().max() < 0.03
    assert condition.examples.shown.shape == (EXAMPLES, 3, 16, 16)


def test_holes_are_encoded_once_and_are_those_of_their_scenes(tmp_path, tiny_model, monkeypatch):
    """A draw equals `condition_hole` of the scene itself, up to the cache's half precision."""
    monkeypatch.setattr(tiny_model, "conditioning", "concat")  # all tests share it
    scenes = world(EXAMPLES + 2, side=16)
    given = material(scenes, tiny_model, data=DataConfig(holes=2, folder=tmp_path))
    condition = holes_of(given)
    rows = np.array([0, 5, 17])
    drawn = condition.draw(np.random.default_rng(0), rows)
    factor = tiny_model.factor
    assert drawn.shape == (3, 4, 16 // factor, 16 // factor)
    mask = F.interpolate((drawn[:, 3:] + 1) / 2, scale_factor=float(factor))
    again = tiny_model.condition_hole(to_tensor(scenes.images[rows]), mask).concat
    assert (again - drawn).abs().max() < 0.02 * again.abs().max()
    written = next(tmp_path.glob("holes-*.npy"))
    before = written.stat().st_mtime_ns
    assert torch.equal(holes_of(given).draw(np.random.default_rng(0), rows), drawn)
    assert written.stat().st_mtime_ns == before
    more = replace(given.config, data=DataConfig(holes=3, folder=tmp_path))
    for number, other in enumerate((replace(given, weights="b"), replace(given, config=more)), 2):
        holes_of(other)
        assert len([*tmp_path.glob("holes-*.npy")]) == number
    monkeypatch.setattr(tiny_model, "smooth_holes", True)
    holes_of(given)
    assert len([*tmp_path.glob("holes-*.npy")]) == 4


def test_new_holes_are_encoded_as_the_model_does_itself(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(tiny_model, "conditioning", "concat")  # all tests share it
    scenes = world(EXAMPLES, side=16)
    condition = holes_of(material(scenes, tiny_model, data=DataConfig(holes=0, folder=tmp_path)))
    rows = np.array([0, 5, 5, 13])
    drawn = condition.draw(np.random.default_rng(0), rows)
    assert torch.equal(drawn[:, :3], torch.from_numpy(scenes.images[rows]).permute(0, 3, 1, 2))
    prepared = condition.prepared(drawn)
    again = tiny_model.condition_hole(to_tensor(scenes.images[rows]), drawn[:, 3:].float()).concat
    assert (again - prepared).abs().max() < 0.02 * again.abs().max()
    in_hole = prepared[:, -1:] == 1
    assert 0 < in_hole.float().mean() < 1
    assert ((condition.weight(rows, drawn) == 1) == in_hole).all()
    assert not torch.equal(drawn[1], drawn[2])  # the same scene, another hole
    assert not list(tmp_path.iterdir())


class FakeModel:
    """A model of which only the tokenizer is asked."""

    tokenizer = LayoutTokens(1040, 62)
    factor = 4


def scenes_with(about, side=128):
    images = np.zeros((len(about), side, side, 3), np.uint8)
    return World(images, images[..., 0], about)


BOXES = [
    {"label": "sun", "x0": 10, "y0": 4, "x1": 26, "y1": 20},
    {"label": "house", "x0": 64, "y0": 60, "x1": 128, "y1": 120},
]


def test_layouts_are_the_scenes_boxes_in_any_order():
    about = [{"boxes": []}, {"boxes": BOXES}] * EXAMPLES
    given = material(scenes_with(about), FakeModel, loss=LossConfig(condition_dropout=0.0))
    condition = Layouts(given)
    drawn = condition.draw(np.random.default_rng(0), np.arange(32))
    grid = FakeModel.tokenizer
    sun = [0, grid.corner(10 / 128, 4 / 128), grid.corner(26 / 128, 20 / 128)]
    house = [4, grid.corner(0.5, 60 / 128), grid.corner(1.0, 120 / 128)]
    orders = {tuple(row[:6].tolist()) for row in drawn[1::2]}
    assert orders == {(*sun, *house), (*house, *sun)}
    assert (drawn[::2] == grid([[]])).all()
    # the picture of a layout has the box's outline at the box and its colour
    shown = (condition.examples.shown[1] + 1) * 127.5
    assert torch.allclose(shown[:, 4, 12], torch.tensor(CLASSES["sun"], dtype=torch.float32))
    assert torch.allclose(shown[:, 12, 18], torch.full((3,), 90.0))


def test_objects_weigh_in_latent_cells_by_their_kind_and_share():
    labels = np.full((2, 8, 8), IDS["sky"], np.uint8)
    labels[1, :4, :3] = IDS["house"]
    labels[1, 4:, :2] = IDS["boat"]
    labels[1, 4:, 2:4] = IDS["pine"]
    weights = cell_weights(labels, 2, {"house": 3, "boat": 9})
    assert weights.shape == (2, 1, 4, 4)
    assert (weights[0] == 1).all()
    assert weights[1, 0].tolist() == [[3, 2, 1, 1]] * 2 + [[9, 1, 1, 1]] * 2


def test_the_cells_in_boxes_count_in_the_loss_of_layouts():
    about = [{"boxes": BOXES}, {"boxes": []}] * 8
    condition = Layouts(material(scenes_with(about), FakeModel))
    ids = condition.tokenizer([[(2, 0.0, 16 / 31, 16 / 31, 1.0)], []])  # corners of the grid
    weights = condition.weight(np.arange(2), ids)
    assert torch.allclose(weights[0, 0, 17:, :16], torch.tensor(1.0))
    assert torch.allclose(weights[0, 0, :16], torch.tensor(OUTSIDE_WEIGHT))
    assert torch.allclose(weights[0, 0, :, 17:], torch.tensor(OUTSIDE_WEIGHT))
    assert (weights[1] == OUTSIDE_WEIGHT).all()


def test_corners_that_are_near_start_alike():
    """Their vectors are told apart, and the nearer two corners, the more alike they are."""
    waves = corner_waves(8, 56)
    apart = torch.cdist(waves, waves).view(8, 8, 8, 8)[3, 3]
    assert apart[3, 4] < apart[3, 5] < apart[3, 7]
    assert (apart.flatten().sort().values[1:] > 0.1).all()


def test_some_layouts_and_classes_are_dropped():
    about = [{"boxes": BOXES, "attributes": {"ground": "snow", "time": "night"}}] * 500
    given = material(scenes_with(about), FakeModel, loss=LossConfig(condition_dropout=0.2))
    rows = np.arange(500)
    layouts = Layouts(given).draw(np.random.default_rng(0), rows)
    ids = PictureClasses(given).draw(np.random.default_rng(0), rows)
    for dropped in ((layouts == FakeModel.tokenizer.none).all(1), ids == NO_CLASS):
        assert 0.1 < dropped.float().mean() < 0.3
    assert set(ids.tolist()) == {NAMES.index("snow at night"), NO_CLASS}


def test_every_task_with_a_demo_preset_can_be_trained():
    tasks = {preset.task for preset in list_presets() if preset.name.startswith("demo-")}
    assert tasks == {*CONDITIONS, "first-stage"}


def scenes_with_a_house(count, **about):
    """Green scenes, each with a house in the middle, and its label map."""
    labels = np.full((count, 32, 32), IDS["grass"], np.uint8)
    labels[:, 12:20, 12:20] = IDS["house"]
    box = {"label": "house", "x0": 12, "y0": 12, "x1": 20, "y1": 20}
    about |= {"boxes": [box], "attributes": {"time": "night", "weather": "fog"}}
    images = np.random.default_rng(0).integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    return World(images, labels, [about for _ in range(count)])


def test_words_say_what_lies_in_a_hole():
    scenes, rng = scenes_with_a_house(1), np.random.default_rng(0)
    cells = torch.zeros(8, 8, dtype=torch.bool)
    cells[3:5, 3:5] = True
    for said in (said_of(scenes, 0, cells, rng) for _ in range(50)):
        assert any(name in said for name, _ in NOUNS["house"])
    cells[3], cells[5] = False, True  # half of the house is outside
    for said in (said_of(scenes, 0, cells, rng) for _ in range(50)):
        assert any(name in said for name in GROUNDS["grass"])
        assert not any(name in said for name, _ in NOUNS["house"])


def test_of_a_hole_within_an_object_the_land_of_the_picture_is_said():
    scenes, rng = scenes_with_a_house(1), np.random.default_rng(0)
    cells = torch.zeros(8, 8, dtype=torch.bool)
    cells[4, 3:5] = True
    for said in (said_of(scenes, 0, cells, rng) for _ in range(20)):
        assert any(name in said for name in GROUNDS["grass"])


def test_a_model_that_reads_words_needs_holes_that_are_encoded_once(tmp_path, tiny_model):
    model = copy.copy(tiny_model)
    model.conditioning = "hybrid"
    about = DataConfig(holes=0, folder=tmp_path)
    with pytest.raises(TrainingError, match="data.holes must be 1 or more .*, got 0"):
        holes_of(material(scenes_with_a_house(EXAMPLES), model, data=about))


def test_words_of_a_hole_in_an_own_picture_are_its_sentences():
    own = World(np.zeros((1, 32, 32, 3), np.uint8), NO_LABELS, [{"captions": ["a", "b"]}])
    rng, cells = np.random.default_rng(0), torch.ones(8, 8, dtype=torch.bool)
    assert {said_of(own, 0, cells, rng) for _ in range(20)} == {"a", "b"}


@pytest.mark.parametrize("grey", [False, True])  # as in Stable Diffusion: the mask comes first
def test_holes_with_words_are_around_objects_and_lose_some_of_their_words(
    tmp_path, tiny_model, grey
):
    model = copy.copy(tiny_model)
    model.conditioning, model.grey_holes = "hybrid", grey
    scenes = scenes_with_a_house(EXAMPLES)
    about = {"data": DataConfig(holes=2, folder=tmp_path, captions=3)}
    condition = holes_of(material(scenes, model, **about, loss=LossConfig(condition_dropout=0.3)))
    drawn = condition.draw(np.random.default_rng(0), np.arange(EXAMPLES).repeat(40))
    assert drawn.concat.shape == (len(drawn), 4, 16, 16)
    assert drawn.context.shape == (len(drawn), 16)
    holes = drawn.concat[:, 0] == 1 if grey else drawn.concat[:, -1] == 1
    weights = condition.weight(np.arange(EXAMPLES), drawn)
    assert torch.equal(weights[:, 0] == 1, holes)
    assert torch.allclose(weights[:, 0][~holes], torch.tensor(KNOWN_WEIGHT))
    around = holes[:, 6:10, 6:10].all(-1).all(-1)
    assert around.float().mean() > AROUND_SHARE
    silent = (drawn.context == condition.empty).all(1).float().mean()
    assert 0.2 < silent < 0.4
    whole = [said_of(scenes, 0, hole, np.random.default_rng(0)) for hole in holes]
    named = torch.tensor([any(name in said for name, _ in NOUNS["house"]) for said in whole])
    assert (named[around]).all()
    assert len(condition.examples.inputs) == len(condition.examples.empty) == EXAMPLES
