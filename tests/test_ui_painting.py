"""What was painted, as numbers: runs, files, and what the browser may send."""

import base64
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ldm.errors import RequestError
from ldm.requests import EncodedImage
from ui import labels, painting
from ui.painting import Painter, Painting, painting_of

COLOURS = ["#86bee8", "#ffd640", "#3c78b4"]
PALETTE = [("sky", COLOURS[0]), ("sun", COLOURS[1]), ("water", COLOURS[2])]


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 3)
    )
)
def test_runs_bring_back_every_label(drawn):
    height, width = drawn.shape
    np.testing.assert_array_equal(
        labels.decode_runs(labels.encode_runs(drawn), width, height), drawn
    )


def test_runs_of_known_labels():
    drawn = np.array([[0, 0, 1], [1, 1, 2]], np.uint8)
    assert base64.b64decode(labels.encode_runs(drawn)) == bytes(
        [0, 2, 0, 0, 0, 1, 3, 0, 0, 0, 2, 1, 0, 0, 0]
    )


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "AAAA",
        "not base64!",
        labels.encode_runs(np.zeros((2, 3), np.uint8)),
        "AAAAAAA=",
    ],
)
def test_damaged_runs_are_refused(text):
    with pytest.raises(RequestError, match="painting"):
        labels.decode_runs(text, 3, 3)


def test_runs_beyond_the_classes_are_refused():
    with pytest.raises(RequestError, match="below 2, got 5"):
        labels.decode_runs(labels.encode_runs(np.full((2, 2), 5, np.uint8)), 2, 2, classes=2)


def test_scaling_takes_the_class_at_the_centre():
    drawn = np.array([[1, 2], [3, 4]], np.uint8)
    twice = labels.scaled(drawn, 4, 6)
    np.testing.assert_array_equal(twice, drawn.repeat(3, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(labels.scaled(twice, 2, 2), drawn)


def test_colours_are_snapped_and_counted():
    rgb = np.array(
        [[[0x86, 0xBE, 0xE8], [0xFF, 0xD0, 0x40]], [[0x3C, 0x78, 0xB4], [0xFF, 0xD0, 0x40]]]
    )
    found, unknown, pixels = labels.snapped(rgb.astype(np.uint8), COLOURS)
    np.testing.assert_array_equal(found, [[0, 1], [2, 1]])
    assert (unknown, pixels) == (1, 2)


def test_snapping_many_colours_agrees_with_the_plain_way():
    rgb = np.random.default_rng(0).integers(0, 256, (90, 110, 3), np.uint8)
    known = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS])
    plain = ((rgb[:, :, None].astype(int) - known) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(labels.snapped(rgb, COLOURS)[0], plain)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def saved(cache, array, name="map.png"):
    Image.fromarray(np.asarray(array, np.uint8)).save(cache / name)
    return {"path": str(cache / name)}


def test_a_map_file_may_hold_colours_or_class_numbers(cache):
    numbers = saved(cache, [[0, 1], [2, 2]])
    answer = painting.map_of_file(numbers | {"colours": COLOURS})
    np.testing.assert_array_equal(labels.decode_runs(answer["labels"], 2, 2), [[0, 1], [2, 2]])
    assert "class numbers" in answer["note"]
    colours = saved(cache, [[[0x3C, 0x78, 0xB4], [0, 0, 0]]])
    answer = painting.map_of_file(colours | {"colours": COLOURS})
    np.testing.assert_array_equal(labels.decode_runs(answer["labels"], 2, 1), [[2, 2]])
    assert answer["note"].startswith("1 unknown colour in 1 of 2 px (50.0 %) was taken")


def test_a_mask_file_is_scaled_only_in_proportion(cache):
    file = saved(cache, [[255, 0], [0, 0]])
    answer = painting.mask_of_file(file | {"width": 6, "height": 6})
    mask = labels.decode_runs(answer["labels"], 6, 6)
    assert mask.sum() == 9 and mask[:3, :3].all()
    assert "Scaled from 2 × 2 px" in answer["note"]
    answer = painting.mask_of_file(file | {"width": 6, "height": 3})
    assert "as large as the picture, 6 x 3 px" in answer["error"]


def picture(kind, path):
    image = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3))
    if kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path, "JPEG", exif=exif)
    elif kind == "cmyk":
        image.convert("CMYK").save(path, "JPEG")
    elif kind == "animated":
        frames = [image, Image.new("RGB", image.size)]
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    elif kind == "tiny":
        Image.new("RGB", (1, 1), "red").save(path, "PNG")


@pytest.mark.parametrize(
    ("kind", "size"),
    [("rotated", (4, 6)), ("cmyk", (6, 4)), ("animated", (6, 4)), ("tiny", (1, 1))],
)
def test_any_picture_is_decoded_once_and_shown_as_it_is_computed_with(cache, kind, size):
    picture(kind, cache / "photo")
    answer = painting.picture_of_file({"path": str(cache / "photo")})
    assert (answer["width"], answer["height"]) == size
    drawn = np.zeros(size[::-1], np.uint8)
    sent = {"width": size[0], "height": size[1], "labels": labels.encode_runs(drawn)}
    got = painting_of(sent | {"picture": answer["file"]}, "mask", cache)
    assert got.picture == EncodedImage.from_file(cache / "photo")


def test_what_is_transparent_comes_marked(cache):
    pixels = np.full((4, 6, 4), 200, np.uint8)
    pixels[1:3, 2:5, 3] = (0, 100, 160)  # the last is more there than not
    Image.fromarray(pixels).save(cache / "cut.png")
    answer = painting.picture_of_file({"path": str(cache / "cut.png")})
    marked = labels.decode_runs(answer["labels"], 6, 4, 2)
    assert np.argwhere(marked).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    assert answer["note"] == painting.TRANSPARENT
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(cache / "whole.png")
    assert "labels" not in painting.picture_of_file({"path": str(cache / "whole.png")})


def test_a_text_file_named_png_is_one_sentence(cache):
    (cache / "note.png").write_text("hello")
    for ask in (painting.picture_of_file, painting.mask_of_file, painting.map_of_file):
        asked = {"path": str(cache / "note.png"), "width": 4, "height": 4, "colours": COLOURS}
        assert ask(asked)["error"] == "note.png is no readable picture; PNG and JPEG work."


def test_a_damaged_file_of_any_format_is_one_sentence(cache, monkeypatch):
    image = saved(cache, [[0, 1]])

    def fail(*_, **__):
        raise RuntimeError("Failed to decode image")  # as for an AVIF whose picture is empty

    monkeypatch.setattr("PIL.Image.open", fail)
    asked = image | {"colours": COLOURS}
    assert "is no readable picture" in painting.map_of_file(asked)["error"]


def test_one_file_is_read_at_a_time(cache, monkeypatch):
    reading, most = [], []

    def read(path):
        reading.append(path)
        time.sleep(0.02)
        most.append(len(reading))
        reading.pop()
        raise RequestError("read")

    monkeypatch.setattr(painting.EncodedImage, "from_file", read)
    asked = [saved(cache, [[0, 1]])] * 4
    with ThreadPoolExecutor(4) as pool:
        assert all(answer["error"] for answer in pool.map(painting.picture_of_file, asked))
    assert most == [1] * 4


@pytest.mark.parametrize(
    "asked",
    [None, 3, [], {}, {"path": "/etc/hostname"}, {"path": "\0"}, {"path": 4}, {"path": "../x"}],
)
def test_only_uploaded_files_are_opened(cache, asked):
    assert "uploaded here" in painting.picture_of_file(asked)["error"]


def test_a_server_function_checks_what_it_is_told(cache):
    file = saved(cache, [[0, 1], [2, 2]])
    for size in ({}, {"width": 10**6, "height": 10**6}, {"width": -1, "height": 2}, {"width": "3"}):
        assert "width and height" in painting.mask_of_file(file | size)["error"]
    for colours in (None, [], ["red"], ["#00000g"], ["#000000"] * 257, [3]):
        assert "palette" in painting.map_of_file(file | {"colours": colours})["error"]


def sent(**changes):
    drawn = labels.encode_runs(np.zeros((2, 3), np.uint8))
    return {"width": 3, "height": 2, "labels": drawn, "picture": None} | changes


@pytest.mark.parametrize(
    ("payload", "kind", "sentence"),
    [
        ("hello", "mask", "width and a height"),
        (sent(width=None), "mask", "width and a height"),
        (sent(width=True), "mask", "width and a height"),
        (sent(width=3.5), "mask", "width and a height"),
        (sent(width=-3), "map", "width and a height"),
        (sent(width=10**9), "mask", "the painting is 1000000000 x 2 px; up to 40 megapixels"),
        (sent(width=20_000), "map", "40 megapixels and 16384 px a side, got 20000 x 2 px"),
        (sent(width=4), "mask", "4 x 2 px, got 6 px"),
        (sent(labels=labels.encode_runs(np.full((2, 3), 2, np.uint8))), "mask", "below 2"),
        (sent(picture={"path": "/etc/hostname"}), "mask", "uploaded here"),
        (sent(picture="picture.png"), "mask", "uploaded here"),
    ],
)
def test_whatever_is_sent_is_checked(cache, payload, kind, sentence):
    with pytest.raises(RequestError, match=sentence):
        painting_of(payload, kind, cache)


def test_a_picture_that_is_gone_or_of_another_size_is_a_sentence(cache):
    with pytest.raises(RequestError, match="no longer on the server"):
        painting_of(sent(picture={"path": str(cache / "gone.png")}), "mask", cache)
    file = saved(cache, np.zeros((5, 5, 3)))
    with pytest.raises(RequestError, match="5 x 5 px, got 3 x 2 px"):
        painting_of(sent(picture=file), "mask", cache)


def test_a_painting_comes_back_as_it_was_set(cache):
    drawn = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    below = EncodedImage.from_array(np.random.default_rng(1).integers(0, 256, (2, 3, 3), np.uint8))
    painter = Painter()
    got = painter.preprocess(painter.postprocess(Painting(drawn, below)))
    np.testing.assert_array_equal(got.labels, drawn)
    assert got.picture == below
    assert painter.preprocess(painter.postprocess(None)) is None
    kept = Painter(kind="map", palette=PALETTE).postprocess(Painting(drawn))
    assert kept["picture"] is None


def test_a_noisy_map_of_the_largest_size_is_taken():
    drawn = np.random.default_rng(2).integers(0, 2, (1024, 1024), np.uint8)
    text = labels.encode_runs(drawn)
    got = labels.decode_runs(text, 1024, 1024)
    assert hashlib.sha256(got.tobytes()).digest() == hashlib.sha256(drawn.tobytes()).digest()
