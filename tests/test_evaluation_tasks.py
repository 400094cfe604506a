"""The measures of each task, on pictures whose quality is known: no model is needed for that."""

import functools
import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from ldm.catalog.layout_tokens import LayoutTokens
from ldm.catalog.registry import load_preset
from ldm.data import attributes
from ldm.data.masks import KINDS
from ldm.data.scenes import ATTRIBUTES, IDS, OBJECTS, Box
from ldm.evaluation import class_conditional, drawing, frechet, inpaint, layout, semantic, upscale
from ldm.evaluation import held_out as scenes
from ldm.evaluation.critic import load_critic
from ldm.evaluation.drawing import Size
from ldm.evaluation.grid import Block, sheet
from ldm.evaluation.held_out import HeldOut
from ldm.evaluation.report import IN_PIECES
from ldm.evaluation.text_to_image import object_shares, times_counted
from ldm.evaluation.upscale import enlarged
from ldm.images import to_tensor
from ldm.tasks.joining import joined

held_out = functools.cache(scenes.held_out)  # to render a scene again takes most of the time


class NoManager:
    """Stands where a model would be loaded."""

    def use(self, name):
        return nullcontext()


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    for module in (class_conditional, inpaint, layout, semantic, upscale):
        monkeypatch.setattr(module, "ModelManager", NoManager)
        monkeypatch.setattr(module, "held_out", held_out)
    monkeypatch.setattr(frechet, "held_out", held_out)


def values(rows, start, size="128 x 128"):
    return [row.value for row in rows if row.measure.startswith(start) and row.size == size]


def small_alone(monkeypatch, module):
    """Measure at the trained size only."""
    monkeypatch.setattr(module, "sizes", lambda *about: drawing.sizes(*about)[:1])


def real_pictures(size):
    return held_out(size.count, size.width, size.height).images


def test_pictures_of_the_painted_maps_score_as_real_ones(monkeypatch):
    preset = load_preset("demo-semantic")
    monkeypatch.setattr(semantic, "draw_maps", lambda model, labels, size: real_pictures(size))
    rows = semantic.measure(preset, 8)
    assert values(rows, "mIoU") == [1.0]
    assert values(rows, "kept", "512 x 128") == [1.0]
    beside = {row.size: row.between_real for row in rows if "Frechet" in row.measure}
    assert len(beside) == 4 and all(distance > 1 for distance in beside.values())
    assert all(row.passed for row in rows)
    monkeypatch.setattr(
        semantic, "draw_maps", lambda model, labels, size: real_pictures(size).roll(1, 0)
    )
    small_alone(monkeypatch, semantic)
    rows = semantic.measure(preset, 8)
    assert values(rows, "mIoU")[0] < 0.7


def test_bicubic_enlargement_is_no_better_than_itself(monkeypatch):
    preset = load_preset("demo-upscale-bsr")
    monkeypatch.setattr(upscale, "draw_low", lambda model, low, size: enlarged(low))
    rows = upscale.measure(preset, 4)
    assert values(rows, "perceptual distance: ") == [1.0]
    assert values(rows, "Frechet distance: ") == [1.0]
    # pieces are the same but for their borders
    assert values(rows, IN_PIECES, "512 x 128") == [pytest.approx(1, rel=0.05)]

    def nearly_true(model, low, size):
        return 0.9 * real_pictures(size) + 0.1 * enlarged(low)

    monkeypatch.setattr(upscale, "draw_low", nearly_true)
    rows = upscale.measure(preset, 4)
    assert values(rows, "perceptual distance: ")[0] > 2
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize("name", ["demo-upscale-bicubic", "demo-upscale-bsr"])
def test_low_resolution_pictures_are_those_of_the_training(name):
    images = real_pictures(Size(1, 128, 128, 2))
    low = upscale.shrunk(images, upscale.degradation(load_preset(name)))
    assert low.shape == (2, 3, 32, 32)
    clean = upscale.shrunk(images, upscale.degradation(load_preset("demo-upscale-bicubic")))
    assert torch.equal(low, clean) == (name == "demo-upscale-bicubic")
    assert enlarged(low).shape == images.shape


def test_a_filling_that_is_nearly_true_beats_opencv(monkeypatch):
    preset = load_preset("demo-inpaint")
    generator = torch.Generator().manual_seed(0)

    def nearly_true(model, images, holes, size):
        return images + holes * 0.01 * torch.randn(images.shape, generator=generator)

    monkeypatch.setattr(inpaint, "draw_filled", nearly_true)
    rows = inpaint.measure(preset, 4)
    assert [row for row in rows if not row.passed] == []
    kinds = dict(re.findall(r"the hole, (\w+) \((\d+)\)", "\n".join(row.measure for row in rows)))
    assert set(kinds) < set(KINDS)
    assert sum(map(int, kinds.values())) == 4
    telea = inpaint.filled_by_opencv
    monkeypatch.setattr(
        inpaint, "draw_filled", lambda model, images, holes, size: telea(images, holes, "Telea")
    )
    small_alone(monkeypatch, inpaint)
    rows = inpaint.measure(preset, 4)
    assert values(rows, "perceptual distance in the hole: ")[0] <= 1.0


def test_only_the_hole_is_filled_and_no_masked_cell_is_known(monkeypatch):
    size = Size(1, 128, 128, 3)
    images, holes = real_pictures(size), inpaint.draw_holes(size)
    assert ((holes == 0) | (holes == 1)).all()
    assert (holes.mean((1, 2, 3)) < 1).all()
    given = []

    class Model:
        factor, fills_by_words = 4, False

        def condition_hole(self, image, mask):
            given.append(mask)

    def draw(model, condition, size):
        condition(slice(0, size.count))
        return torch.full_like(images, 0.25)

    monkeypatch.setattr(inpaint, "draw", draw)
    filled = inpaint.draw_filled(Model(), images, holes, size)
    assert torch.equal(filled[holes.expand_as(images) == 0], images[holes.expand_as(images) == 0])
    assert torch.equal(filled, joined(torch.full_like(images, 0.25), images, holes))
    cells = given[0].reshape(3, 32, 4, 32, 4)
    assert torch.equal(cells.amax((2, 4)), cells.amin((2, 4)))
    assert (given[0] >= holes).all()


def test_objects_that_are_asked_for_are_found_where_the_pictures_are_real(monkeypatch):
    said = []
    monkeypatch.setattr(inpaint, "ASKED", {kind: (kind,) for kind in inpaint.ASKED})

    def draw_filled(model, images, holes, size, words):
        said.append(words)
        assert size.count == len(images) == len(holes) == len(words)
        return images if any(words) else torch.zeros_like(images)

    monkeypatch.setattr(inpaint, "draw_filled", draw_filled)
    rows = inpaint.by_words(load_critic(), None, Size(1, 128, 128, 12))
    shares = {row.measure: row.value for row in rows}
    assert shares["the object in the hole, asked for"] > 0.95
    assert shares["the object in the hole, without a word"] == 0
    assert [row.at_least for row in rows if row.at_least] == [inpaint.ASKED_BAR]
    assert set(said[0]) <= {"a pine tree", "a tree", "a house", "a sailing boat"}
    assert said[1] == [""] * len(said[0])


def test_boxes_are_found_where_the_pictures_are_real(monkeypatch):
    preset = load_preset("demo-layout")
    stretched = layout.stretched_scenes(8, 128)

    def real(p, m, boxes, size):
        if boxes == [sample.boxes for sample in stretched]:
            return to_tensor([sample.image for sample in stretched])
        return real_pictures(size)

    monkeypatch.setattr(layout, "draw_layouts", real)
    rows = layout.measure(preset, 8)
    assert set(values(rows, "boxes found") + values(rows, "boxes of any shape")) == {1.0}
    assert [row.size for row in rows if row.at_least] == ["128 x 128"] * 2
    monkeypatch.setattr(layout, "draw_layouts", lambda *about: real(*about).flip(2))
    small_alone(monkeypatch, layout)
    rows = layout.measure(preset, 8)
    for what in ("boxes found", "boxes of any shape found"):
        assert values(rows, f"{what} at IoU 0.5, share of real: all")[0] < 0.4


def test_a_box_counts_from_half_an_overlap_on():
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels[0, 10:20, 10:20] = IDS["house"]  # px 20 to 40, both ways
    labels[0, 40:60, 40:60] = IDS["tree"]
    cases = {
        (20, 20, 40, 40): 1.0,
        (20, 20, 40, 58): 1.0,  # 20 * 20 / (20 * 38)
        (20, 20, 40, 62): 0.0,
        (80, 80, 120, 120): 0.0,  # there is something, but another thing
    }
    for corners, expected in cases.items():
        assert layout.found(labels, [[Box("house", *corners)]], ("house",)) == expected
    both = [[Box("house", 20, 20, 40, 40), Box("house", 80, 80, 120, 120)]]
    assert layout.found(labels, both, ("house",)) == 0.5
    assert layout.found(labels, both, ("tree",)) == 0.0


def test_boxes_become_fractions_of_the_canvas():
    size = Size(2, 256, 128, 1)
    (box,) = layout.relative([Box("boat", 64, 32, 128, 128)], size)
    assert box == (5, 0.25, 0.25, 0.5, 1.0)
    assert len(LayoutTokens(1040, 62)([[box]])[0]) == 62


def test_pictures_of_the_class_score_as_real_ones(monkeypatch):
    preset = load_preset("demo-class-conditional")
    asked = []

    def draw_classes(preset, model, ids, size):
        asked.append(ids)
        return real_pictures(size)

    monkeypatch.setattr(class_conditional, "draw_classes", draw_classes)
    rows = class_conditional.measure(preset, 8)
    assert values(rows, "attribute accuracy") == [1.0, 1.0]
    about = held_out(8)
    names = [class_conditional.NAMES[i] for i in asked[0]]
    assert all(name.split()[0] in caption_words(about, i) for i, name in enumerate(names))
    monkeypatch.setattr(
        class_conditional, "draw_classes", lambda p, m, ids, size: real_pictures(size).roll(1, 0)
    )
    small_alone(monkeypatch, class_conditional)
    rows = class_conditional.measure(preset, 8)
    assert min(values(rows, "attribute accuracy")) < 0.7


def caption_words(about, row):
    """The ground's name of a held-out scene."""
    column = attributes.NAMES.index("ground")
    return ATTRIBUTES["ground"][int(about.truth[row, column])]


def test_a_sheet_holds_every_picture_of_every_block():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    blocks = [
        Block(f"block {i}", [np.full((16, 24, 3), colour, np.uint8) for colour in colours])
        for i in range(3)
    ]
    pixels = np.asarray(sheet(blocks, columns=2)).reshape(-1, 3)
    for colour in colours:
        assert (pixels == colour).all(1).sum() == 3 * 16 * 24


def test_objects_that_are_named_are_told_from_those_that_are_not():
    held = held_out(6, 64, 64)
    everything = torch.ones_like(held.truth)
    assert object_shares(held.truth, held) == {"named": 1.0, "not named": 0.0}
    assert object_shares(everything, held) == {"named": 1.0, "not named": 1.0}
    assert object_shares(torch.zeros_like(everything), held) == {"named": 0.0, "not named": 0.0}


def test_objects_are_counted_where_a_number_is_named():
    """Four are 'several', touching ones are one, specks none."""
    seen = torch.zeros(3, 64, 64, dtype=torch.int64)
    for scene, across, side in ((0, 4, 8), (0, 30, 8), (1, 4, 8), (1, 12, 8), (2, 4, 2)):
        seen[scene, 20 : 20 + side, across : across + side] = IDS["pine"]
    trees = {name: tuple(Box(name, 0, 0, 9, 9) for _ in range(4)) for name in ("pine", "tree")}
    named = [trees["pine"][:2] + trees["tree"], trees["pine"][:2], trees["pine"][:1]]
    held = HeldOut(torch.empty(0), seen, [], torch.empty(0), named)
    assert times_counted(seen, held) == 1
    real = held_out(24)
    named = sum(len({box.label for box in boxes} & set(OBJECTS)) for boxes in real.boxes)
    assert 0.7 * named < times_counted(real.labels[:, ::2, ::2], real) <= named
