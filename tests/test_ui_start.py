"""A picture to start from, where it is no picture or is gone."""

from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from ldm.catalog.registry import load_preset
from ui.run import Picture
from ui.start import _shape, sides_like, varied

NAME = "demo-text-to-image"


def test_a_file_that_is_no_picture_is_told_when_it_comes(tmp_path):
    path = tmp_path / "no.png"
    path.write_text("no picture")
    with pytest.raises(gr.Error, match=r"no\.png is no readable picture; PNG and JPEG work"):
        _shape(SimpleNamespace(path=str(path)), NAME)


def test_a_photograph_on_its_side_is_upright(tmp_path):
    path = tmp_path / "photo.jpg"
    image = Image.new("RGB", (288, 208))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    assert sides_like(path, load_preset(NAME)) == {"width": 208, "height": 288}


def test_of_a_picture_that_is_gone_its_name_alone_is_told(tmp_path):
    picture = Picture(str(tmp_path / "secret" / "gone.png"), "", "", "")
    with pytest.raises(gr.Error, match=r"^.?gone\.png is not in its folder any more"):
        varied(picture, 1, 0.5)
