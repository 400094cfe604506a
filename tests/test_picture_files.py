import errno
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ldm.errors import RequestError
from ldm.images import EncodedImage
from ldm.images.files import flattened, open_image
from ldm.requests import Layout, Semantic, Upscale
from ldm.requests.as_json import read_file


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_every_mode_is_opened_as_rgb(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.fromarray(noise(6, 4)).convert(mode).save(path)
    image = open_image(path)
    assert image.mode == "RGB"
    assert image.size == (4, 6)


def test_a_turned_photograph_is_opened_upright(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(noise(6, 4)).save(path, exif=exif)
    assert open_image(path).size == (6, 4)


@pytest.mark.parametrize(
    ("width", "height", "says"),
    [
        (30_000, 30_000, "big.png is 30000 x 30000 px; up to 40 megapixels work."),
        (10_000, 10_000, "big.png is 10000 x 10000 px; up to 40 megapixels work."),
        (8_000, 6_000, "big.png is 8000 x 6000 px; up to 40 megapixels work."),
    ],
)
def test_too_many_pixels_are_refused_before_decoding(png_of_size, width, height, says):
    with pytest.raises(RequestError) as caught:
        open_image(png_of_size(width, height))
    assert str(caught.value) == says


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
def test_a_size_is_told_that_pillow_does_not_open(tmp_path, monkeypatch, kind):
    path = tmp_path / "big.file"
    Image.new("RGB", (700, 300)).save(path, kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # it refuses twice as many
    monkeypatch.setattr("ldm.images.files.MAX_PIXELS", 2000)
    with pytest.raises(RequestError, match="big.file is 700 x 300 px; up to 0 megapixels work."):
        open_image(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture_is_refused(tmp_path, kind):
    path = tmp_path / "cut"
    Image.fromarray(noise(64, 64)).save(path, kind)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(RequestError, match="cut is no readable picture"):
        open_image(path)


@pytest.mark.parametrize("content", [b"", b"<html>not a picture</html>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(RequestError, match="a.png is no readable picture"):
        open_image(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match="there is no file .*none.png"):
        open_image(tmp_path / "none.png")


def test_what_the_system_refuses_to_read_is_told_in_its_words(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="a{300} cannot be read: File name too long."):
        open_image(tmp_path / ("a" * 300))
    for kind, name in ((Upscale, "image"), (Semantic, "label_map"), (Layout, "boxes")):
        with pytest.raises(RequestError, match=f"{tmp_path.name} cannot be read: Is a directory."):
            read_file(kind, name, tmp_path)

    def closed(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Image, "open", closed)
    with pytest.raises(RequestError, match="a.png cannot be read: Permission denied."):
        open_image(tmp_path / "a.png")


def test_grey_of_16_bits_keeps_its_greys(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(2, 0)
    for name in ("ramp.png", "ramp.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        array = EncodedImage.from_file(tmp_path / name).array()
        assert (array == np.arange(256, dtype=np.uint8)[None, :, None]).all()
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(RequestError, match=r"numbers of 32 bits .mode F.; save it with 8 or 16"):
        EncodedImage.from_file(tmp_path / "float.tif")
    with pytest.raises(RequestError, match=r"there is no file '.*missing.png'"):
        EncodedImage.from_file(tmp_path / "missing.png")


@pytest.mark.parametrize("level", [0, 1, 127, 128, 253, 254])
def test_grey_of_16_bits_is_rounded_to_the_nearest_grey(level):
    middle = level * 257 + 128  # the last value that is nearer to this level than to the next
    values = np.array([[middle - 128, middle, middle + 1, middle + 129]], np.uint16)
    array = np.asarray(flattened(Image.fromarray(values), "white"))
    assert array[0, :, 0].tolist() == [level, level, level + 1, level + 1]


def png(path, values, depth, kind=0, **chunks):
    """Write rows of values as a PNG of any bit depth, byte for byte, with more chunks by name."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    bits = ["".join(f"{value:0{depth}b}" for value in row) for row in values]
    rows = [row.ljust(-len(row) % 8 + len(row), "0") for row in bits]
    raw = b"".join(b"\0" + int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    header = struct.pack(">IIBBBBB", len(values[0]), len(values), depth, kind, 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(raw), "IEND": b""}
    start = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(start + b"".join(chunk(name.encode(), data) for name, data in parts.items()))
    return path


@pytest.mark.parametrize("kind", [0, 3])  # grey, palette
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_numbers_of_a_label_map_are_those_in_the_file(tmp_path, depth, kind):
    values = [[0, 1, 1], [number % 2**depth for number in (3, 14, 200)]]
    more = {"PLTE": bytes(3 * 2**depth)} if kind == 3 else {}
    path = png(tmp_path / "map.png", values, depth, kind, **more)
    assert EncodedImage.labels_from_file(path).array().tolist() == values


def test_a_label_map_of_one_bit_may_be_no_png(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "map.tif")
    assert EncodedImage.labels_from_file(tmp_path / "map.tif").array().tolist() == [[1, 0]]


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_a_turned_label_map_is_read_upright(tmp_path, mode):
    image = Image.fromarray(np.array([[0, 1, 1], [0, 0, 0]], np.uint8)).convert("P")
    image.putpalette([9, 9, 9, 7, 7, 7])
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    numbers = image if mode == "P" else Image.fromarray(np.asarray(image) > 0)
    numbers = numbers.convert("L").point(lambda value: value // 255) if mode == "L" else numbers
    numbers.save(tmp_path / "map.png", exif=exif)
    got = EncodedImage.labels_from_file(tmp_path / "map.png").array()
    assert got.tolist() == [[0, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_the_transparent_grey_of_few_bits_is_white(tmp_path, depth):
    path = png(tmp_path / "a.png", [[0, 1, 2]], depth, tRNS=b"\0\1")
    black, clear, other = EncodedImage.from_file(path).array()[0, :, 0].tolist()
    assert (black, clear, other) == (0, 255, 2 * 255 // (2**depth - 1))


def test_the_transparent_grey_of_16_bits_is_white(tmp_path):
    grey = [[0x1234, 0x1235, 0, 0xFFFF]]  # the first two are the same in 8 bits
    path = png(tmp_path / "a.png", grey, 16, tRNS=b"\x12\x34")
    assert EncodedImage.from_file(path).array()[0, :, 0].tolist() == [255, 18, 0, 255]
    assert EncodedImage.mask_from_file(path).array()[0, :, 0].tolist() == [0, 18, 0, 255]
