"""How a painted canvas becomes a request's fields, and back."""

from types import SimpleNamespace

import numpy as np
import pytest

from ldm.canvas.plan import Canvas, Resources, plan
from ldm.catalog.registry import load_preset
from ldm.errors import MemoryBudgetError, RequestError
from ldm.requests import EncodedImage, Inpaint, Semantic
from tests.test_canvas_plan import FACTS, MIB
from ui.painting import Painting
from ui.prompt import Reader
from ui.tabs import inpaint, semantic

PICTURE = EncodedImage.from_array(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
MASK = np.eye(5, 7, dtype=np.uint8)

TEXT = "demo-text-to-image"


def test_a_painting_is_picture_and_mask():
    given = Inpaint(image=PICTURE, mask=EncodedImage.from_array(255 * MASK), seed=1)
    values = inpaint.to_values(given)
    np.testing.assert_array_equal(values["painting"].labels, MASK)
    assert values["working_size"] == ""
    names = {"painting", "mask_grow", "mask_feather", "seed"}
    fields = inpaint.to_fields({name: values[name] for name in names})
    assert Inpaint(**fields | {"seed": 1}) == given


def test_an_empty_mask_is_none_and_no_picture_a_sentence():
    empty = Painting(np.zeros((5, 7), np.uint8), PICTURE)
    sides = dict.fromkeys(inpaint.SIDES, 0)
    assert inpaint.to_fields({"painting": empty} | sides | {"outpaint_top": 16})["mask"] is None
    with pytest.raises(RequestError, match="Nothing is marked yet"):
        inpaint.to_fields({"painting": empty} | sides)
    for painting in (None, Painting(MASK)):
        with pytest.raises(RequestError, match="There is no picture yet"):
            inpaint.to_fields({"painting": painting})


def test_before_is_as_large_as_after(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    plain = Inpaint(image=PICTURE, mask=EncodedImage.from_array(255 * MASK))
    assert EncodedImage.from_file(inpaint.before(plain)) == EncodedImage.from_array(PICTURE.array())
    grown = Inpaint(image=PICTURE, outpaint_left=3, outpaint_top=2, outpaint_bottom=1)
    shown = EncodedImage.from_file(inpaint.before(grown)).array()
    assert shown.shape == (8, 10, 3)
    np.testing.assert_array_equal(shown[2:7, 3:], PICTURE.array())
    assert (shown[:2] == inpaint.BEYOND).all() and (shown[:, :3] == inpaint.BEYOND).all()


def test_a_received_picture_has_nothing_painted_on_it(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(PICTURE.png)
    values = inpaint.received(path, load_preset("demo-inpaint"))
    got = values.pop("painting")
    # the last picture's canvas may have grown, and words said what to draw in its hole
    last = dict.fromkeys(inpaint.SIDES, 0) | {"prompt": "", "negative_prompt": ""}
    assert {name: values[name] for name in last} == last
    assert (values["preset"], values["steps"]) == ("demo-inpaint", 20)
    assert got.labels.shape == (5, 7) and not got.labels.any()
    np.testing.assert_array_equal(got.picture.array(), PICTURE.array())


def test_a_painting_is_a_label_map():
    given = Semantic(label_map=EncodedImage.from_array(3 * MASK), seed=2)
    values = semantic.to_values(given)
    assert Semantic(**semantic.to_fields({"label_map": values["label_map"]}), seed=2) == given
    with pytest.raises(RequestError, match="no label map yet"):
        semantic.to_fields({"label_map": None})


@pytest.mark.parametrize(
    ("room", "asked", "says"),
    [
        (8, "auto", "; take more memory or set Working size to 640 px."),
        (0.01, "auto", "; take more memory."),
        (16, "whole", "; in bands it is the same picture in less."),
    ],
)
def test_an_area_that_does_not_fit_is_told_by_what_is_set(room, asked, says):
    with pytest.raises(MemoryBudgetError) as caught:
        plan(Canvas(rows=128, columns=256, encodes=True), FACTS, Resources(int(room * MIB)), asked)
    told = inpaint.about_the_area(str(caught.value))
    assert told.startswith("the area around the mask, at 1024 x 512 px, ")
    assert told.endswith(says), told


def test_words_choose_a_model_and_its_defaults_but_no_one_elses():
    usual, reads = load_preset("demo-inpaint"), load_preset("demo-inpaint-words")
    reader = Reader(usual, reads)
    values = {"prompt": "a house", "negative_prompt": "", "seed": "3", "steps": 7}
    values |= {"preset": "demo-inpaint"}
    values |= {"temperature": usual.defaults.temperature}
    suited = reader.suited(values)
    assert suited == values | {
        "preset": "demo-inpaint-words", "temperature": reads.defaults.temperature}  # fmt: skip
    assert reader.suited(suited) == suited
    silent = suited | {"prompt": " "}
    assert reader.suited(silent) == silent
    assert reader.suited(silent, back=True) == values | {"prompt": " "}
    without = silent | {"negative_prompt": "fog"}
    assert reader.suited(without, back=True) == without
    assert reader.suited(without | {"preset": "demo-inpaint"})["preset"] == "demo-inpaint-words"
    other = values | {"preset": "inpainting-big"}
    assert reader.suited(other) == other
    assert Reader(usual, None).suited(values) == values


def test_words_choose_a_model_that_was_trained_on_holes():
    usual, reads, text = map(load_preset, ("demo-inpaint", "demo-inpaint-words", TEXT))
    made = SimpleNamespace(task="inpaint", start=usual, presets=[usual, text, reads])
    assert Reader.of(made) == Reader(usual, reads)
    made.presets.remove(reads)
    assert Reader.of(made) == Reader(usual, None)


def test_the_divider_stands_left_of_what_was_filled():
    image = EncodedImage.from_array(np.zeros((10, 100, 3), np.uint8))

    def at(**how):
        return inpaint.left_of(Inpaint(image=image, **how))

    def marked(columns):
        some = np.zeros((10, 100), np.uint8)
        some[3, columns] = 255
        return {"mask": EncodedImage.from_array(some)}

    assert at(**marked(slice(40, 60))) == 36
    assert at(**marked(slice(2, 60))) == 0
    assert at(**marked(slice(5, 95))) == 50
    assert at(outpaint_right=100) == 46
    assert at(outpaint_left=50) == 0
    assert at(outpaint_top=8) == 50


def test_a_picture_from_before_there_was_guidance_has_the_models_own():
    image = EncodedImage.from_array(np.zeros((64, 64, 3), np.uint8))
    values = inpaint.to_values(Inpaint(image=image, outpaint_top=8, seed=1, steps=3))
    assert (values["guidance_scale"], values["steps"]) == (1.0, 3)
