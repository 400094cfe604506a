"""What the tabs do between the page's values and a request's fields, without a page."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from ldm.catalog.registry import list_presets, load_preset
from ldm.errors import RequestError
from ldm.images import EncodedImage
from ldm.outputs import metadata
from ldm.outputs.titles import class_name, title
from ldm.requests import Box, ClassConditional, Inpaint, Layout, Semantic, Upscale
from ldm.requests.canvas import MAX_PIXELS, MAX_SIDE_PX
from ui import prompt
from ui.boxes import BoxEditor, read_boxes, sketch
from ui.classes import ANY, ClassPicker, class_index
from ui.controls import unchecked
from ui.form import about_model, sides_of
from ui.tabs import class_conditional, layout, upscale
from ui.thumbnails import WIDEST
from ui.values import make_request

BOXES = (Box("pine", 0.1, 0.2, 0.4, 0.9), Box("house", 0.5, 0.5, 0.75, 1))


def test_a_layout_goes_to_the_page_and_back():
    request = Layout(boxes=BOXES, width=192, height=128, steps=20, seed=3)
    values = layout.to_values(request)
    shown = BoxEditor().postprocess(values["boxes"])
    assert (shown["width"], shown["height"]) == (192, 128)
    assert make_request(Layout, layout.to_fields(values | {"boxes": shown})) == request


def test_every_scene_is_a_layout_for_the_shipped_model():
    preset = load_preset("demo-layout")
    assert 4 <= len(layout.scenes()) <= 6
    for scene in layout.scenes().values():
        boxes = read_boxes(scene)
        size = {side: scene[side] for side in ("width", "height")}
        assert not any(side % preset.size_multiple for side in size.values())
        assert {box.label for box in Layout(boxes=boxes, **size).boxes} <= set(preset.classes)
        picture = np.asarray(sketch(scene, preset.palette))
        assert picture.shape[1] / picture.shape[0] == scene["width"] / scene["height"]
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2


@pytest.mark.parametrize("preset", list_presets(tasks=["layout"]), ids=lambda preset: preset.name)
def test_the_editor_knows_every_layout_model(preset):
    about = layout.about_classes(preset)
    assert about["limit"] == preset.max_boxes > 0
    assert bool(about["classes"]) != bool(about["numbers"])
    assert len(about["classes"]) == len(preset.classes)


@pytest.mark.parametrize(("value", "index"), [("any", None), ("", None), (None, None), ("0", 0),
                                              ("15", 15), (7, 7)])  # fmt: skip
def test_a_chosen_class(value, index):
    assert class_index(value) == index
    values = class_conditional.to_fields({"class_index": value})
    assert make_request(ClassConditional, values) == ClassConditional(class_index=index)


@pytest.mark.parametrize("value", ["-1", "1e3", "99999999999999", "grass", "²", [1], 10000])
def test_what_is_no_class_is_refused_in_a_sentence(value):
    with pytest.raises(RequestError, match="class_index must be"):
        make_request(ClassConditional, {"class_index": class_index(value)})


@pytest.mark.parametrize("index", [None, 0, 12])
def test_a_class_goes_to_the_page_and_back(index):
    request = ClassConditional(class_index=index, width=128, height=128, steps=20, seed=3)
    values = class_conditional.to_values(request)
    assert make_request(ClassConditional, class_conditional.to_fields(values)) == request


def test_the_picker_offers_any_class_only_where_the_model_can():
    with_null = class_conditional.about_classes(load_preset("demo-class-conditional"))
    without_classes = class_conditional.about_classes(load_preset("celeba256"))
    assert without_classes == {"classes": [], "any": True, "value": ANY}
    without = class_conditional.about_classes(load_preset("cin256"))
    assert (with_null["any"], len(with_null["classes"])) == (True, 16)
    assert (without["any"], len(without["classes"])) == (False, 1000)
    assert ClassPicker(**with_null).value == "any"


def test_a_plate_names_the_class():
    assert class_name(ClassConditional(class_index=3)) == "Grass at night"
    assert class_name(ClassConditional(class_index=980, preset="cin256-v2")) == "Volcano"
    assert class_name(ClassConditional(class_index=None)) == "Any class"
    assert class_name(ClassConditional(preset="demo-ddpm")) == "Small landscapes in pixels"
    assert class_name(ClassConditional(class_index=9999)) == "Class 9999"
    assert class_name(ClassConditional(class_index=1, preset="gone")) == "Class 1"


def test_a_plate_says_what_was_filled_in_and_what_was_painted():
    picture = EncodedImage.from_array(np.zeros((10, 20, 3), np.uint8))
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :5] = 255
    filled = Inpaint(image=picture, mask=EncodedImage.from_array(mask))
    assert title(filled) == "25 % filled in"
    assert (
        title(dataclasses.replace(filled, outpaint_top=6)) == "25 % filled in, grown to 20 × 16 px"
    )
    assert title(dataclasses.replace(filled, mask=None, outpaint_left=4)) == "Grown to 24 × 10 px"
    known = EncodedImage.from_array(picture.array(), "a beach")
    of_known = dataclasses.replace(filled, image=known, outpaint_top=6)
    assert title(of_known) == "a beach, 25 % filled in, grown to 20 × 16 px"
    assert title(Upscale(image=known, passes=2)) == "a beach, 16 times as large"
    lake = load_preset("demo-semantic").classes.index("water")
    labels = np.full((10, 20), lake, np.uint8)
    labels[0] = np.arange(20) % 8
    names = title(Semantic(label_map=EncodedImage.from_array(labels))).split(", ")
    assert names[0] == "Water" and names[-1].endswith("more")


@pytest.fixture
def sent(tmp_path):
    """(array, name) -> the file as the page sends it."""

    def send(array, name="low.png"):
        path = tmp_path / name
        Image.fromarray(array).save(path)
        return SimpleNamespace(path=str(path))

    return send


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_an_enlargement_goes_to_the_page_and_back(sent):
    request = Upscale(image=EncodedImage.from_array(noise(9, 13, 3)), passes=2, steps=9, seed=1)
    values = upscale.to_values(request)
    back = upscale.to_fields(values | {"image": sent(values["image"])})
    again = make_request(Upscale, back)
    assert np.array_equal(again.image.array(), request.image.array())
    assert (again.passes, again.steps, again.seed) == (2, 9, 1)


def test_the_note_says_the_size_or_the_limit(sent, tmp_path, png_of_size):
    assert "up to 2.5 megapixels and 4096 px a side for 4 times" in upscale.size_note(None, 1)
    assert "up to 0.15 megapixels and 1024 px a side for 16 times" in upscale.size_note(None, 2)
    assert "13 × 9 px becomes 52 × 36 px" in upscale.size_note(sent(noise(9, 13, 3)), 1)
    assert "16 × 16 px becomes 256 × 256 px" in upscale.size_note(sent(noise(16, 16)), 2)
    assert "got 401 x 400 px; 395 x 394 would" in upscale.size_note(sent(noise(400, 401, 3)), 2)
    (tmp_path / "text.png").write_text("no picture")
    wrong = SimpleNamespace(path=str(tmp_path / "text.png"))
    assert "no readable picture" in upscale.size_note(wrong, 1)
    huge = SimpleNamespace(path=str(png_of_size(6000, 6000)))
    limit = "2.5 megapixels and 4096 px a side for 4 times the size, got 6000 x 6000 px; 1581 x"
    assert limit in upscale.size_note(huge, 1)
    with pytest.raises(RequestError, match=limit):
        upscale.to_fields({"image": huge, "passes": 1})
    beyond = SimpleNamespace(path=str(png_of_size(30000, 30000)))
    told = upscale.size_note(beyond, 2)
    assert "big.png is 30000 x 30000 px; up to 40 megapixels work." in told


def test_no_picture_is_a_sentence():
    with pytest.raises(RequestError, match="There is no picture yet"):
        upscale.to_fields({"image": None, "passes": 1})


@pytest.mark.parametrize("name", upscale.PLAIN)
def test_what_it_is_compared_with_has_the_results_size(name):
    for shape in ((5, 7, 3), (5, 7)):
        for passes in (1, 2):
            image = EncodedImage.from_array(noise(*shape))
            plain = upscale.enlarged(Upscale(image=image, passes=passes), name)
            assert (plain.size, plain.mode) == ((7 * 4**passes, 5 * 4**passes), "RGB")


def test_every_example_brings_its_tab_back():
    from ui.app import TABS  # noqa: PLC0415  (the whole page)
    from ui.run import load_request  # noqa: PLC0415
    from ui.tab import EXAMPLES  # noqa: PLC0415

    paths = [path for path in Path(EXAMPLES).glob("*/*.png") if path.parent.name in TABS]
    assert {path.parent.name for path in paths} >= {"text-to-image"}
    for path in paths:
        assert load_request(path).task == path.parent.name
        assert path.stat().st_size < 200_000, path


def test_a_damaged_mask_is_told_when_it_is_restored(tmp_path):
    from ui.run import load_request  # noqa: PLC0415

    png = bytearray(EncodedImage.from_array(noise(9, 13)).png)
    png[60:90] = bytes(30)
    request = Inpaint(image=EncodedImage.from_array(noise(9, 13, 3)), mask=EncodedImage(bytes(png)))
    metadata.save(tmp_path / "a.png", noise(9, 13, 3), request, "0" * 64)
    with pytest.raises(gr.Error, match="damaged"):
        load_request(tmp_path / "a.png")


def test_a_model_is_told_by_sizes_that_its_tab_has():
    names = ("inpaint", "semantic")
    told = {name: about_model(load_preset(f"demo-{name}"), name) for name in names}
    assert all("Trained at 128 × 128 px." in text for text in told.values())
    assert "multiples" not in "".join(told.values())
    assert "in multiples of 16" in about_model(load_preset("demo-layout"), "layout")
    text = load_preset("demo-text-to-image")
    assert "in multiples of 16" in about_model(text, "text-to-image")
    assert "not trained on holes" in about_model(text, "inpaint")


def test_gradio_takes_the_components():
    with gr.Blocks() as page:
        BoxEditor(classes=[("sun", "#ffd640")], limit=20)
        ClassPicker(classes=[("sun", "#ffd640", None)], any=True)
    assert page.get_config_file()["components"]


def test_words_of_a_preset_are_text_and_its_ratios_begin_at_its_usual_size():
    demo = load_preset("demo-text-to-image")
    hostile = dataclasses.replace(demo, words=("<b>: <img src=x onerror=alert(1)>, fog",))
    shown = prompt.vocabulary(hostile)
    assert "&lt;img" in shown
    assert "<img" not in shown
    assert "<b>" not in shown
    assert ">fog</button>" in shown
    assert prompt.vocabulary(load_preset("demo-layout")) == ""
    assert sides_of(demo, 3, 2) == (384, 256)
    assert sides_of(load_preset("demo-layout"), 3, 2) == (192, 128)


def test_what_an_event_leaves_as_it_is_stays_unchecked():
    """Gradio makes such a widget anew, for this visitor: the uploaded picture came as a path then,
    which no run could take, and a wrong number had Gradio's sentence instead of the request's."""
    made = unchecked(gr.Slider(0, 10))
    assert type(made)(**made.constructor_args).preprocess(99) == 99
    assert made.get_config()["name"] == "slider"


def test_the_scripts_of_the_page_say_the_same_numbers():
    zoom, row = (Path(upscale.__file__).parents[1] / name for name in ("zoom.js", "row.js"))
    pixels, side = MAX_PIXELS // 4**2, MAX_SIDE_PX // 4
    assert f"w * h > {pixels:_} || Math.max(w, h) > {side};" in zoom.read_text("utf-8")
    assert f"const LONGEST = {WIDEST:g};" in row.read_text("utf-8")
