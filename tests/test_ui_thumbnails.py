"""Which pictures have a thumbnail, and when it is made anew."""

import os

import numpy as np
import pytest
from PIL import Image

from ui import thumbnails
from ui.thumbnails import SIDE, Thumbnails


@pytest.fixture
def heavy(tmp_path):
    """A picture of 600 x 300 px that cannot be packed."""
    path = tmp_path / "heavy.png"
    pixels = np.random.default_rng(0).integers(256, size=(300, 600, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_light_picture_is_its_own(tmp_path):
    path = tmp_path / "light.png"
    Image.new("RGB", (600, 300)).save(path)
    assert Thumbnails(tmp_path / "small").of(path) == path
    assert not (tmp_path / "small").exists()


def test_of_a_sheet_its_beginning_is_seen(tmp_path, heavy):
    small = Thumbnails(tmp_path / "small")
    assert Image.open(small.of(heavy, "sheet")).size == (
        SIDE,
        round(SIDE / thumbnails.WIDEST_SHEET),
    )
    assert small.of(heavy, "sheet") != small.of(heavy)


@pytest.mark.parametrize("size", [(800, 300), (300, 800)])
def test_of_a_long_picture_its_middle_is_seen(tmp_path, monkeypatch, size):
    monkeypatch.setattr(thumbnails, "LIGHT", 0)
    path, middle = tmp_path / "long.png", Image.new("RGB", [min(600, side) for side in size], "red")
    picture = Image.new("RGB", size)
    picture.paste(middle, [(side - 600) // 2 if side > 600 else 0 for side in size])
    picture.save(path)
    with Image.open(Thumbnails(tmp_path / "small").of(path)) as small:
        assert sorted(small.size) == [SIDE // 2, SIDE]
        assert np.asarray(small).reshape(-1, 3).min(axis=0)[0] > 240


def test_a_heavy_one_is_made_once_and_again_when_it_changed(tmp_path, heavy):
    small = Thumbnails(tmp_path / "small")
    first = small.of(heavy)
    assert Image.open(first).size == (SIDE, SIDE // 2)
    assert first.stat().st_size < thumbnails.LIGHT
    made = first.stat().st_mtime_ns
    assert small.of(heavy) == first
    assert first.stat().st_mtime_ns == made
    os.utime(heavy, ns=(1, 1))
    assert small.of(heavy) != first
    assert len(list((tmp_path / "small").iterdir())) == 2


def test_what_cannot_be_made_is_the_picture_itself(tmp_path, heavy, monkeypatch, png_of_size):
    (tmp_path / "file").touch()
    assert Thumbnails(tmp_path / "file").of(heavy) == heavy
    assert Thumbnails(tmp_path).of(tmp_path / "none.png") == tmp_path / "none.png"
    monkeypatch.setattr(thumbnails, "LIGHT", 0)
    for size in ((40_000, 40_000), (10, 10)):  # too many pixels, and too few in the file
        path = png_of_size(*size)
        assert Thumbnails(tmp_path / "small").of(path) == path
