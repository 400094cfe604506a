"""A picture to start from, and what is made of one, where it is no picture or is gone."""

from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from ldm.catalog.registry import load_preset
from ldm.images import EncodedImage
from ldm.outputs import metadata
from ldm.outputs.titles import settings, subject, title
from ldm.requests import Inpaint, Semantic, TextToImage, Upscale
from ui.run import Picture
from ui.start import shape_of, sides_like
from ui.vary import varied

NAME = "demo-text-to-image"


def test_a_file_that_is_no_picture_is_told_when_it_comes(tmp_path):
    path = tmp_path / "no.png"
    path.write_text("no picture")
    with pytest.raises(gr.Error, match=r"no\.png is no readable picture; PNG and JPEG work"):
        shape_of(SimpleNamespace(path=str(path)), load_preset(NAME))


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
        varied(picture, 1)


def test_others_like_a_picture_have_its_seed_and_new_ones_beside(tmp_path):
    path, request = tmp_path / "a.png", TextToImage(prompt="a lake", seed=4, steps=5, count=1)
    for before in ("", "7:0.3", "7:0.3, 8:0.2"):
        metadata.save(path, np.zeros((4, 4, 3), np.uint8), replace(request, variations=before))
        others = varied(Picture(str(path), "", "", ""), 3)
        after = ", ".join(filter(None, [before, "new:0.3"]))
        assert others == replace(request, variations=after, count=3)


def test_a_line_says_of_what_a_picture_varies():
    about = {"prompt": "a lake", "seed": 4, "steps": 5, "sampler": "ddim"}
    request = TextToImage(**about, width=64, height=64, guidance_scale=2.0)
    varied = replace(request, variations="7:0.3")
    assert settings(request).startswith("seed 4 · 64 × 64 px")
    assert settings(varied).startswith("seed 4, turned 30 % to seed 7 · 64 × 64 px")
    twice = settings(replace(request, variations="7:0.3, 9:0.25"))
    assert twice.startswith("seed 4, turned 30 % to seed 7, then 25 % to seed 9 · ")


def test_a_picture_of_which_nothing_is_left_does_not_keep_its_title():
    image = EncodedImage.from_array(np.zeros((64, 96, 3), np.uint8), "a lake")
    for marked, says, shows in (
        (48, "a lake, 50 % filled in", "a lake"),
        (96, "All filled in", ""),
    ):
        mask = np.zeros((64, 96), np.uint8)
        mask[:, :marked] = 255
        request = Inpaint(image=image, mask=EncodedImage.from_array(mask))
        assert (title(request), subject(request)) == (says, shows)


def test_every_caption_says_how_large_the_picture_is():
    image = EncodedImage.from_array(np.zeros((64, 96, 3), np.uint8))
    labels = EncodedImage.from_array(np.zeros((32, 48), np.uint8))
    about = {"seed": 4, "steps": 5, "sampler": "ddim"}
    for request, size in (
        (Upscale(image=image, **about), "384 × 256"),
        (Semantic(label_map=labels, **about), "48 × 32"),
        (Inpaint(image=image, outpaint_left=32, outpaint_bottom=16, **about), "128 × 80"),
    ):
        assert settings(request) == f"seed 4 · {size} px · 5 steps of DDIM"
        noisy = replace(request, temperature=0.5, eta=1.0)
        assert settings(noisy).endswith(" · 5 steps of DDIM · temperature 0.5 · eta 1")


def test_the_caption_says_what_is_kept_and_what_meets():
    image = EncodedImage.from_array(np.zeros((8, 8, 3), np.uint8))
    request = TextToImage(
        prompt="a lake", seed=1, image=image, strength=0.9, inversion=0.8, seamless="both"
    )
    assert "from a picture, strength 0.9, shapes kept 0.8 · seamless: all edges" in settings(
        request
    )
    assert "kept" not in settings(replace(request, inversion=0.0))
