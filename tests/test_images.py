import re
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from ldm.errors import RequestError
from ldm.images import EncodedImage, to_arrays, to_tensor
from ldm.images.files import MAX_TITLE
from ldm.requests import Inpaint, Semantic
from ldm.requests.as_json import read_file
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


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.ones((2, 3, 3), np.float32), "float32 of shape (2, 3, 3)"),
        (np.zeros((2, 3, 3), int), "int64 of shape (2, 3, 3)"),
        (np.zeros((2, 3), np.uint8), "uint8 of shape (2, 3)"),
        (np.zeros((2, 3, 4), np.uint8), "uint8 of shape (2, 3, 4)"),
    ],
)
def test_only_pixels_become_a_tensor(array, got):
    """Of floats from 0 to 1 it was a black picture."""
    with pytest.raises(TypeError, match=re.escape(f"must be (H, W, 3) uint8, got {got}")):
        to_tensor([array])


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


def test_what_is_transparent_is_white_in_a_picture_and_unmarked_in_a_mask(tmp_path):
    strokes = np.zeros((4, 6, 4), np.uint8)
    strokes[1, 2] = 255
    Image.fromarray(strokes).save(tmp_path / "a.png")
    assert EncodedImage.from_file(tmp_path / "a.png").array().min() == 255
    for mask in (EncodedImage.mask_from_file, partial(read_file, Inpaint, "mask")):
        assert np.argwhere(mask(tmp_path / "a.png").marked()).tolist() == [[1, 2]]


def test_bools_and_a_third_axis_of_one_are_grey():
    mask = np.array([[False, True, True]])
    for array in (mask, mask[:, :, None], 255 * mask.astype(np.uint8)[:, :, None]):
        image = EncodedImage.from_array(array)
        assert (image.mode, image.array().tolist()) == ("L", [[0, 255, 255]])


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((4, 6, 3), np.float32), "float32 of shape (4, 6, 3)"),
        (np.zeros((4, 6), complex), "complex128 of shape (4, 6)"),
        (np.zeros((4, 6, 4), np.uint8), "uint8 of shape (4, 6, 4)"),
        (np.zeros((1, 4, 6, 3), np.uint8), "uint8 of shape (1, 4, 6, 3)"),
        (np.zeros(4, np.uint8), "uint8 of shape (4,)"),
        (np.zeros((0, 0, 3), np.uint8), "uint8 of shape (0, 0, 3)"),
        (np.zeros((0, 6), bool), "bool of shape (0, 6)"),
        ([[0, 1]], "a list"),
    ],
)
def test_other_arrays_are_refused_with_their_type_and_shape(array, got):
    with pytest.raises(RequestError) as caught:
        EncodedImage.from_array(array)
    allowed = "hold whole numbers or bool, be of shape (H, W), (H, W, 1) or (H, W, 3) and not empty"
    assert str(caught.value) == f"an array of a picture must {allowed}, got {got}."


def test_whole_numbers_of_any_type_are_pixels_up_to_255():
    ids = np.array([[0, 7], [181, 255]])
    assert (EncodedImage.from_array(ids).array() == ids).all()
    assert (EncodedImage.from_array(ids.astype(np.uint16)).array() == ids).all()
    for wrong, got in ((ids - 1, "-1 to 254"), (ids + 1, "1 to 256")):
        with pytest.raises(RequestError, match=f"must hold 0 to 255, got {got}"):
            EncodedImage.from_array(wrong)


def test_an_array_that_is_too_large_is_refused_before_it_is_encoded(monkeypatch):
    monkeypatch.setattr(Image, "fromarray", None)
    wide = np.broadcast_to(np.uint8(0), (8000, 8000))
    with pytest.raises(RequestError, match="the picture is 8000 x 8000 px; up to 40 megapixels"):
        EncodedImage.from_array(wide)


def test_a_picture_with_a_second_header_is_damaged(png_of_size):
    small, other = (png_of_size(*size).read_bytes() for size in ((8, 8), (64, 32)))
    image = EncodedImage(small[:33] + other[8:])  # the signature and a header are 33 bytes
    assert image.size == (8, 8)
    with pytest.raises(RequestError, match="the picture is damaged"):
        image.array()
    with pytest.raises(RequestError, match="the picture is damaged"):
        EncodedImage(small[:33] + png_of_size(30_000, 30_000).read_bytes()[8:]).array()


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


def test_an_array_that_is_wrong_is_told_with_its_field():
    with pytest.raises(RequestError, match="^label_map: an array of a picture must hold whole"):
        Semantic(label_map=np.zeros((4, 4), np.float32))
    with pytest.raises(RequestError, match="^mask: an array of a picture must hold 0 to 255"):
        Inpaint(image=np.zeros((4, 4), np.uint8), mask=np.full((4, 4), 256))
