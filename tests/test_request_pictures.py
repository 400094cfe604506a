"""What may stand for a picture where code makes a request, and what may not from outside."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.errors import RequestError
from ldm.requests import REQUESTS, EncodedImage, Inpaint, Semantic, TextToImage, Upscale, controls
from ldm.requests.as_json import from_dict, from_lines, to_dict
from ldm.requests.fields import Box, field_types
from ui.controls import from_files
from ui.values import make_request

RGB = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
LABELS = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24) % 7


@pytest.fixture
def file(tmp_path):
    """A picture with a transparent half, as a file."""
    alpha = np.full((16, 24, 1), 255, np.uint8)
    alpha[:, :12] = 0
    Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_every_field_of_a_picture_converts_what_stands_for_one():
    for kind in REQUESTS.values():
        for name, about in field_types(kind).items():
            assert (about.kind is EncodedImage) == (controls(kind)[name].converts is not None)


def test_a_path_a_pillow_image_and_an_array_are_pictures(file):
    want = EncodedImage.from_file(file)
    with Image.open(file) as image:
        for given in (file, image, image.convert("RGBA"), want.array(), want):
            request = TextToImage(prompt="x", image=given)
            assert isinstance(request.image, EncodedImage)
            assert (request.image.array() == want.array()).all()
    assert (want.array()[:, :12] == 255).all()
    assert from_dict(json.loads(json.dumps(to_dict(request)))) == request


def test_a_pillow_image_is_turned_upright(tmp_path):
    turned = Image.fromarray(RGB).getexif()
    turned[0x112] = 6  # the right side of the file is the bottom of the picture
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=turned)
    with Image.open(tmp_path / "a.png") as image:
        request = Upscale(image=image)
    assert (request.image.array() == np.rot90(RGB, -1)).all()
    assert request == Upscale(image=tmp_path / "a.png")


def test_what_is_transparent_in_a_mask_is_not_marked(file):
    marked = RGB.mean(axis=2) >= 128
    marked[:, :12] = False
    for given in (file, Image.open(file)):
        mask = Inpaint(image=RGB, mask=given).mask
        assert (mask.marked() == marked).all()
    assert (Inpaint(image=RGB, mask=marked).mask.marked() == marked).all()


def test_label_maps_keep_their_numbers(tmp_path):
    indexed = Image.fromarray(LABELS)
    indexed.putpalette([255 - i % 256 for i in range(768)])
    indexed.save(tmp_path / "map.png")
    for given in (tmp_path / "map.png", indexed, Image.fromarray(LABELS), LABELS):
        assert (Semantic(label_map=given).label_map.array() == LABELS).all()
    for given in (LABELS > 3, Image.fromarray(LABELS > 3)):
        assert (Semantic(label_map=given).label_map.array() == (LABELS > 3)).all()
    for given in (Image.fromarray(RGB), RGB):
        with pytest.raises(RequestError, match="must have one channel of class numbers, got "):
            Semantic(label_map=given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Path("none.png"), "there is no file 'none.png'."),
        (
            Image.new("F", (4, 4)),
            "the picture has numbers of 32 bits .mode F.; save it with 8 or 16",
        ),
        (Image.new("RGB", (0, 0)), "and not empty, got uint8 of shape"),
        (Image.new("1", (9000, 9000)), "the picture is 9000 x 9000 px; up to 40 megapixels work."),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(given, says):
    with pytest.raises(RequestError, match=says):
        Upscale(image=given)


def test_a_damaged_file_that_pillow_has_opened_is_refused(file):
    file.write_bytes(file.read_bytes()[:-60])
    with Image.open(file) as image, pytest.raises(RequestError, match="cannot be used"):
        Upscale(image=image)


NEEDED = {
    "text-to-image": {"prompt": "x"},
    "inpaint": {"image": EncodedImage.from_array(RGB), "outpaint_left": 8},
    "semantic": {"label_map": EncodedImage.from_array(LABELS)},
    "layout": {"boxes": [Box("tree", 0.1, 0.1, 0.5, 0.5)]},
    "upscale": {"image": EncodedImage.from_array(RGB)},
    "class-conditional": {},
}
PICTURES = [
    pytest.param(kind, name, id=f"{task} {name}")
    for task, kind in REQUESTS.items()
    for name, about in field_types(kind).items()
    if about.kind is EncodedImage
]


@pytest.mark.parametrize("start", ["", "file://", "data:image/png;base64,"])
@pytest.mark.parametrize(("kind", "name"), PICTURES)
def test_text_never_names_a_file(monkeypatch, file, kind, name, start):
    """A client of the page could read any picture of this machine."""

    def opened(*_, **__):
        raise AssertionError("a file was read")

    monkeypatch.setattr(Image, "open", opened)
    monkeypatch.setattr(Path, "open", opened)
    values = NEEDED[kind.task] | {name: f"{start}{file}"}
    for make in (lambda: kind(**values), lambda: make_request(kind, from_files(kind, values))):
        with pytest.raises(RequestError, match=f"{name} must be a picture: .*, got '"):
            make()
    plain = to_dict(kind(**NEEDED[kind.task])) | {name: f"{start}{file}"}
    says = "a picture must be a data URL of a PNG, got '"
    with pytest.raises(RequestError, match=says):
        from_dict(plain)
    with pytest.raises(RequestError, match=f"line 1: {says}"):
        from_lines(json.dumps(plain), {"task": kind.task})
