import errno
import struct
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from ldm.errors import RequestError
from ldm.images import MAX_TITLE, EncodedImage, flattened, open_image, to_arrays, to_tensor
from ldm.request_json import read_file
from ldm.tasks.denoising import EMPTY, grid


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_arrays_to_tensor_and_back_is_the_identity():
    arrays = [noise(5, 7), noise(5, 7)[::-1]]
    back = to_arrays(to_tensor(arrays))
    assert all((a == b).all() for a, b in zip(arrays, back, strict=True))


def test_tensor_convention_is_rgb_nchw_minus_one_to_one():
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 2] = (255, 0, 0)
    tensor = to_tensor([image])
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor[0, :, 0, 2].tolist() == [1, -1, -1]


def test_to_arrays_clamps_and_rounds():
    values = torch.tensor([-3.0, -1.0, 1.2 / 127.5 - 1, 1.8 / 127.5 - 1, 3.0])
    image = values.view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_arrays(image)[0][0, :, 0].tolist() == [0, 0, 1, 2, 255]


def test_to_arrays_takes_half_precision():
    assert to_arrays(torch.ones(1, 3, 2, 2, dtype=torch.bfloat16))[0].min() == 255


def test_grid_places_pictures_row_by_row():
    sheet = grid([np.full((2, 3, 3), i, np.uint8) for i in (1, 2, 3)])
    assert sheet.shape == (4, 6, 3)
    assert sheet[::2, ::3, 0].tolist() == [[1, 2], [3, EMPTY]]


def test_grid_of_one_is_the_picture():
    assert (grid([noise(4, 4)]) == noise(4, 4)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_every_mode_is_opened_as_rgb(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.fromarray(noise(6, 4)).convert(mode).save(path)
    image = open_image(path)
    assert image.mode == "RGB"
    assert image.size == (4, 6)


def test_what_is_transparent_is_white_in_a_picture_and_unmarked_in_a_mask(tmp_path):
    strokes = np.zeros((4, 6, 4), np.uint8)
    strokes[1, 2] = 255
    Image.fromarray(strokes).save(tmp_path / "a.png")
    assert EncodedImage.from_file(tmp_path / "a.png").array().min() == 255
    for mask in (EncodedImage.mask_from_file, partial(read_file, "mask")):
        assert np.argwhere(mask(tmp_path / "a.png").marked()).tolist() == [[1, 2]]


def test_a_turned_photograph_is_opened_upright(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(noise(6, 4)).save(path, exif=exif)
    assert open_image(path).size == (6, 4)


def test_a_picture_with_a_second_header_is_damaged(png_of_size):
    small, other = (png_of_size(*size).read_bytes() for size in ((8, 8), (64, 32)))
    image = EncodedImage(small[:33] + other[8:])  # the signature and a header are 33 bytes
    assert image.size == (8, 8)
    with pytest.raises(RequestError, match="the picture is damaged"):
        image.array()
    with pytest.raises(RequestError, match="the picture is damaged"):
        EncodedImage(small[:33] + png_of_size(30_000, 30_000).read_bytes()[8:]).array()


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
    monkeypatch.setattr("ldm.images.MAX_PIXELS", 2000)
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
    for name in ("image", "label_map", "boxes"):
        with pytest.raises(RequestError, match=f"{tmp_path.name} cannot be read: Is a directory."):
            read_file(name, tmp_path)

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
    with pytest.raises(RequestError, match=r"float.tif is no readable picture"):
        EncodedImage.from_file(tmp_path / "float.tif")
    with pytest.raises(RequestError, match=r"there is no file '.*missing.png'"):
        EncodedImage.from_file(tmp_path / "missing.png")


@pytest.mark.parametrize("level", [0, 1, 127, 128, 253, 254])
def test_grey_of_16_bits_is_rounded_to_the_nearest_grey(level):
    middle = level * 257 + 128  # the last value that is nearer to this level than to the next
    values = np.array([[middle - 128, middle, middle + 1, middle + 129]], np.uint16)
    array = np.asarray(flattened(Image.fromarray(values), "white"))
    assert array[0, :, 0].tolist() == [level, level, level + 1, level + 1]


def test_the_title_of_a_png_is_kept(tmp_path):
    def titled(text):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("Title", text)
        Image.fromarray(noise(3, 4)).save(tmp_path / "a.png", pnginfo=info)
        return EncodedImage.from_file(tmp_path / "a.png")

    assert titled("a lake\n at night").title == "a lake at night"
    assert titled("Übung 山 <b>").title == "Übung 山 <b>"
    assert titled("x" * 10_000).title == "x" * (MAX_TITLE - 1) + "…"
    assert titled("a\u202e lake\x1b[31m\u200b").title == "a lake[31m"
    assert titled("\u200b").title == ""
    again = EncodedImage.from_data_url(titled("a lake").data_url())
    assert (again.title, (again.array() == noise(3, 4)).all()) == ("a lake", True)
    assert EncodedImage.from_array(noise(3, 4)).title == ""
    Image.fromarray(noise(3, 4)).save(tmp_path / "a.jpg")
    assert EncodedImage.from_file(tmp_path / "a.jpg").title == ""
    damaged = again.png.replace(b"Title\0\0", b"Title\0\7", 1)
    assert EncodedImage(damaged).title == ""


def test_a_mask_asks_for_new_pixels_from_middle_grey_on():
    grey = np.array([[0, 127], [128, 255]], np.uint8)
    colour = np.stack([grey, grey, np.full_like(grey, 128)], axis=2)
    want = [[False, False], [True, True]]
    assert EncodedImage.from_array(grey).marked().tolist() == want
    assert EncodedImage.from_array(colour).marked().tolist() == want


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
