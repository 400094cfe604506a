import hashlib
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ldm.errors import RequestError
from ldm.images import EncodedImage
from ldm.outputs import metadata
from ldm.requests import REQUESTS, TextToImage, Upscale
from ldm.requests.fields import field_types

IMAGE = np.zeros((2, 3, 3), np.uint8)
REQUEST = TextToImage(
    prompt="a red house", negative_prompt="fog", width=128, height=64, steps=20, seed=7
)


def write(path, **chunks):
    """A PNG with these text chunks."""
    info = PngImagePlugin.PngInfo()
    for key, text in chunks.items():
        info.add_itxt(key, text)
    Image.fromarray(IMAGE).save(path, "PNG", pnginfo=info)
    return path


def record(**changes):
    values = {"schema": 1, "request": {"task": "text-to-image", "prompt": "a lake"}}
    return json.dumps(values | changes)


def test_the_longest_request_survives(tmp_path):
    request = replace(REQUEST, prompt="\U0001f3d4" * 2000, negative_prompt="\t\n" * 1000)
    metadata.save(tmp_path / "a.png", IMAGE, request)
    assert metadata.load(tmp_path / "a.png").request == request


def test_a_record_says_what_made_the_picture(tmp_path):
    path = tmp_path / "a.png"
    metadata.save(path, IMAGE, REQUEST, "abc")
    loaded = metadata.load(path)
    assert loaded.weights_sha256 == "abc"
    assert {"python", "torch", "numpy"} <= set(loaded.versions)
    assert json.loads(Image.open(path).text[metadata.KEY])["application"] == "Latent Canvas"


def test_a_request_of_an_older_version_takes_todays_defaults_but_not_for_its_picture(tmp_path):
    path = write(tmp_path / "a.png", **{metadata.KEY: record()})
    assert metadata.load(path).request == TextToImage(prompt="a lake", temperature=1.0, coarse=0)
    metadata.save(path, IMAGE, replace(REQUEST, temperature=0.3))
    assert metadata.load(path).request.temperature == 0.3


def test_another_picture_in_the_place_of_the_one_it_was_made_of_is_not_taken(tmp_path):
    ours, other = (EncodedImage.from_array(IMAGE + i) for i in (0, 1))
    path = tmp_path / "a.png"
    metadata.save(path, IMAGE, Upscale(image=ours))
    chunk = metadata.PICTURE_CHUNK + hashlib.sha256(ours.png).digest()
    assert metadata.load(path).request.image == ours
    start = path.read_bytes().index(chunk) - 4
    end = start + 4 + len(chunk) + len(ours.png) + 4
    content = chunk + other.png
    length, checksum = (
        number.to_bytes(4, "big") for number in (len(content) - 4, zlib.crc32(content))
    )
    data = path.read_bytes()
    path.write_bytes(data[:start] + length + content + checksum + data[end:])
    with pytest.raises(RequestError, match="image that it was made of was taken out"):
        metadata.load(path)


def test_the_pixels_are_the_pictures(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    metadata.save(tmp_path / "a.png", image, REQUEST)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == image).all()


def test_other_programs_can_show_the_parameters(tmp_path):
    metadata.save(tmp_path / "a.png", IMAGE, REQUEST)
    first, second, third = Image.open(tmp_path / "a.png").text["parameters"].split("\n")
    assert (first, second) == ("a red house", "Negative prompt: fog")
    assert "steps: 20" in third
    assert "seed: 7" in third


def test_no_half_file_is_left_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metadata, "put_in_place", full)
    with pytest.raises(OSError, match="No space left"):
        metadata.save(tmp_path / "a.png", IMAGE, REQUEST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (record(schema=2), "a newer version .schema 2, this one reads up to 1"),
        (record(schema=10**50), "a newer version"),
        (record(schema=0), "damaged parameters"),
        (record(schema="1"), "damaged parameters"),
        (record(schema=None), "damaged parameters"),
        (record(request="a lake"), "damaged parameters"),
        (record(request=None), "damaged parameters"),
        (record(versions=5), "damaged parameters"),
        ("[]", "damaged parameters"),
        ("null", "damaged parameters"),
        ("{", "damaged parameters"),
        ("[" * 100_000, "damaged parameters"),
        ('{"schema": 1' + "0" * 5000 + "}", "damaged parameters"),
        (record(request={"prompt": "a lake"}), "task must be one of text-to-image, .*, got None"),
        (record(request={"task": ["text-to-image"]}), "task must be one of"),
        (record(request={"task": "text-to-image"}), "needs the field 'prompt'"),
        (record(request={"task": "text-to-image", "prompt": 3}), "prompt must be text, got 3"),
        (record(request={"task": "text-to-image", "prompt": "x", "cfg": 3}), "no field 'cfg'"),
        (record(request={"task": "text-to-image", "prompt": "x", "steps": 0}), "steps must be 1"),
        (record(request={"task": "text-to-image", "prompt": "x", "seed": 1.5}), "seed must be"),
        (record(request={"task": "text-to-image", "prompt": "\ud800"}), "prompt must be text"),
    ],
)
def test_parameters_that_cannot_be_restored(tmp_path, text, says):
    with pytest.raises(RequestError, match=says) as caught:
        metadata.load(write(tmp_path / "a.png", latent_canvas=text))
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 300


def test_a_picture_that_was_taken_out_of_the_file_is_named(tmp_path):
    values = {"task": "upscale", "image": "sha256:" + "ab" * 32}
    path = write(tmp_path / "a.png", **{metadata.KEY: record(request=values)})
    with pytest.raises(RequestError, match="the image that it was made of was taken out"):
        metadata.load(path)


def test_a_png_without_parameters(tmp_path):
    with pytest.raises(RequestError, match="a.png carries no parameters"):
        metadata.load(write(tmp_path / "a.png", parameters="a lake"))


def test_a_jpeg(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.jpg")
    with pytest.raises(RequestError, match="a.jpg is JPEG; only a PNG made here has parameters"):
        metadata.load(tmp_path / "a.jpg")


@pytest.mark.parametrize("content", [b"", b"words", b"\x89PNG\r\n\x1a\n"])
def test_no_picture_at_all(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(RequestError, match="a.png is no readable PNG"):
        metadata.load(tmp_path / "a.png")


def test_a_missing_file(tmp_path):
    with pytest.raises(RequestError, match="none.png is not in its folder any more"):
        metadata.load(tmp_path / "none.png")


def test_a_huge_png_is_not_decoded(png_of_size):
    with pytest.raises(RequestError, match="big.png is 30000 x 30000 px; up to 40 megapixels work"):
        metadata.load(png_of_size(30_000, 30_000))


def test_every_picture_of_a_request_has_a_chunk_of_its_own():
    """As text it would be longer than what is read back."""
    kinds = [about for kind in REQUESTS.values() for about in field_types(kind).items()]
    assert set(metadata.PICTURE_FIELDS) == {n for n, of in kinds if of.kind is EncodedImage}
