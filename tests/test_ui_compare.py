"""What a tab's widgets compare, and how a sheet is known again."""

from dataclasses import replace

import numpy as np
import pytest

from ldm.outputs import metadata
from ldm.requests import TextToImage
from ldm.requests.comparison import Axis, Comparison, read_axis
from ui import compare
from ui.run import Picture
from ui.words import caption_html, describe

REQUEST = TextToImage(prompt="snow", steps=3, sampler="ddim", width=64, height=64, seed=5)


def test_a_comparison_fills_the_widgets_that_make_it():
    about = compare.added()
    given = Comparison(REQUEST, Axis("steps", (2, 3)), Axis("prompt", ("snow, night", "sun")))
    values = about["to_values"](given)
    assert (values["across"], values["across_values"]) == ("steps", "2, 3")
    assert (values["down"], values["down_values"]) == ("prompt", "snow, night | sun")
    assert about["to_fields"](values).keys() == about["to_values"](REQUEST).keys()
    assert compare.compared_by(REQUEST, values) == given

    one = about["to_values"](Comparison(REQUEST, Axis("eta", (0.5,))))
    assert (one["down"], one["down_values"]) == (compare.NOTHING, "")
    assert not compare.NAMES & about["to_values"](REQUEST).keys()  # what was compared stays


def test_a_sheet_has_the_noise_that_a_link_carries_unless_there_are_several():
    varied = replace(REQUEST, variations="7:0.3")
    alone = caption_html(Picture.of("a.png", varied))
    assert 'data-seed="5" data-variations="7:0.3"' in alone
    sheet = Comparison(varied, Axis("steps", (2, 3)))
    assert 'data-seed="5" data-variations="7:0.3"' in caption_html(Picture.of("a.png", sheet))
    for several in (Axis("seed", (1, 2)), Axis("variations", ("7:0.1", "7:0.3"))):
        sheet = Comparison(varied, Axis("steps", (2, 3)), several)
        assert "data-seed" not in caption_html(Picture.of("a.png", sheet))


@pytest.mark.parametrize(
    "values", [("1",), ("a, b",), ("a", "b, c"), (0.1 + 0.2, 3e-7), ("", "a"), ("a", ""), ("",)]
)
def test_typed_values_are_read_as_they_were(values):
    name = "eta" if isinstance(values[0], float) else "prompt"
    axis = Axis(name, values)
    read = read_axis(TextToImage, name, axis.typed())
    assert read.said() == axis.said()


def test_a_sheet_is_found_by_what_it_compares(tmp_path):
    pixels, path = np.zeros((64, 64, 3), np.uint8), tmp_path / "sheet.png"
    about = {"guidance_scale": 1.0, "temperature": 1.0, "eta": 0.0, "coarse": 0.0}
    request = TextToImage(**vars(REQUEST) | about)
    metadata.save(path, pixels, request)
    assert "3 steps of DDIM" in describe(path).settings
    assert "sheet" not in describe(path).words.split()[:-1]
    metadata.save(path, pixels, request, compared={"steps": [2, 3]})
    assert describe(path).settings == "Steps 2, 3 · seed 5"
    assert "sheet" in describe(path).words.split()[:-1]


def test_compared_prompts_stand_in_for_an_empty_one():
    values = {"prompt": " ", "across": "prompt", "across_values": "a house, a tree", "down": ""}
    assert compare._told(values)["prompt"] == "a house, a tree"
    for kept in (values | {"prompt": "a boat"}, values | {"across": "steps"}):
        assert compare._told(kept) == kept
    without = {name: value for name, value in values.items() if name != "prompt"}
    assert compare._told(without | {"across": "seed"}) == without | {"across": "seed"}
