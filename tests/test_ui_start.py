"""A picture to start from, and what is made of one, where it is no picture or is gone."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ldm.catalog.registry import load_preset
from ldm.images import EncodedImage
from ldm.images.files import TITLE
from ldm.outputs import metadata
from ldm.outputs.titles import settings, subject, title
from ldm.requests import Inpaint, Semantic, TextToImage, Upscale
from ui.run import Picture
from ui.start import Judged, _settle, judge, sides_like
from ui.tabs.text_to_image import received
from ui.vary import varied

NAME = "demo-text-to-image"


def test_a_file_that_is_no_usable_picture_is_told_when_it_comes(tmp_path):
    Image.effect_noise((64, 64), 60).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    cut, large, text = (tmp_path / name for name in ("cut.jpg", "large.png", "no.png"))
    cut.write_bytes(whole[: len(whole) // 2])
    Image.new("1", (9000, 5000)).save(large)
    text.write_text("no picture")
    for path, says in (
        (text, "no.png is no readable picture"),
        (cut, "cut.jpg is no readable picture"),
        (large, "9000 x 5000 px; up to 40 megapixels work"),
    ):
        about = judge(SimpleNamespace(path=str(path)))
        assert says in about.fault and about.shown is None


def test_what_browsers_do_not_show_becomes_a_png(tmp_path):
    picture = Image.effect_noise((64, 48), 60).convert("RGB")
    for name, kind in (("a.png", "PNG"), ("a.tiff", "TIFF"), ("b.png", "TIFF")):
        picture.save(tmp_path / name, kind)
        about = judge(SimpleNamespace(path=str(tmp_path / name)))
        assert about.fault == ""
        if kind == "PNG":
            assert about.shown is None
            continue
        made = Path(about.shown)
        assert made.suffix == ".png" and made.parent != tmp_path
        assert np.array_equal(np.asarray(Image.open(made)), np.asarray(picture))


def test_what_came_while_a_picture_was_read_stays(monkeypatch):
    told = []
    monkeypatch.setattr(gr, "Warning", lambda message, **_: told.append(message))
    for there in (None, SimpleNamespace(path="new.png")):
        for about in (Judged("old.tiff", "old.png"), Judged("old.png", fault="is <bad>"), None):
            assert _settle(there, about) == gr.skip()
    here = SimpleNamespace(path="old.tiff")
    assert _settle(here, Judged("old.tiff", "old.png")) == "old.png"
    assert _settle(here, Judged("old.tiff")) == gr.skip()
    assert told == []
    assert _settle(here, Judged("old.tiff", fault="is <bad>")) is None
    assert told == ["is &lt;bad&gt;"]


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


def test_a_picture_brings_the_words_that_it_was_made_of(tmp_path):
    request = TextToImage(prompt="a lake", negative_prompt="fog", seed=1)
    metadata.save(tmp_path / "told.png", np.zeros((64, 64, 3), np.uint8), request)
    about = PngImagePlugin.PngInfo()
    about.add_text(TITLE, "water and sand")
    for name, more in (("painted", {"pnginfo": about}), ("plain", {})):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png", **more)
    words = {"prompt": "a lake", "negative_prompt": "fog"}
    for there in ("", "a desert"):
        brought = received(tmp_path / "told.png", NAME, there)
        assert {name: brought[name] for name in words} == words
    assert received(tmp_path / "painted.png", NAME, "")["prompt"] == "water and sand"
    for name, there in (("painted", "a desert"), ("plain", "")):
        assert "prompt" not in received(tmp_path / f"{name}.png", NAME, there)
