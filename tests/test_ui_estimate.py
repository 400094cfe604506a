from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from ldm.errors import RequestError
from ldm.events import Estimate
from ldm.requests import TextToImage, Upscale
from ui.estimate import request_of, told
from ui.words import duration, memory


@pytest.mark.parametrize(
    ("seconds", "says"), [(0.42, "0.4 s"), (42.4, "42 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_durations_are_said_as_people_say_them(seconds, says):
    assert duration(seconds) == says


def test_memory_too():
    assert memory(300 * 2**20) == "300 MiB"
    assert memory(3 * 2**29) == "1.5 GiB"


def test_what_is_not_known_is_not_said():
    assert told(None) == told(Estimate(None, 5, "whole")) == ""


def test_what_will_have_no_effect_is_said():
    estimate = Estimate(2.0, 2**30, "whole", ("This model has never seen: <b>.",))
    note = "This model has never seen: &lt;b&gt;."
    assert told(estimate).endswith(f'<p class="unknown" role="status">{note}</p>')
    assert told(estimate, has_notes=False) == told(replace(estimate, notes=()))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"width": 20000}, "Width must be 16 to 16384 px, got 20000."),
        ({"width": 16384, "height": 4096}, "Width and height must be at most 40 megapixels and"),
        ({"steps": "<b>"}, "got &#x27;&lt;b&gt;&#x27;."),
        ({"width": 20000}, '<p class="refused" role="alert" data-field="width">'),
        ({"seed": "abc"}, "seed must be 0 to 4294967295, or empty for a new one, got "),
        ({"width": None, "prompt": " "}, ""),  # what is open is filled in
        ({"image": None}, ""),
    ],
)
def test_what_is_wrong_is_told_and_what_is_missing_is_not(values, says):
    stage = SimpleNamespace(reword=str, labels={"width": "Width"})
    request_type = Upscale if "image" in values else TextToImage
    about = {"request_type": request_type, "to_fields": dict, "inputs": {}}
    tab = SimpleNamespace(stage=stage, **about)
    request, told = request_of(tab, values if "image" in values else {"prompt": "a"} | values)
    assert says in told if says else told == ""
    assert (request is None) == (bool(says) or "image" in values)


def test_an_emptied_number_is_told_as_generate_tells_it():
    stage = SimpleNamespace(reword=str, labels={"width": "Width"})
    inputs = {"width": gr.Number(256)}
    tab = SimpleNamespace(stage=stage, request_type=TextToImage, to_fields=dict, inputs=inputs)
    request, told = request_of(tab, {"prompt": "a", "width": None})
    assert request is None
    assert "Width must be 16 to 16384 px, got nothing." in told


def test_before_anything_is_painted_nothing_is_wrong():
    def to_fields(values):
        raise RequestError("there is no label map yet; paint one.")

    assert request_of(SimpleNamespace(to_fields=to_fields), {}) == (None, "")


def test_the_way_is_said_where_it_is_not_the_usual_one():
    assert told(Estimate(2.0, 2**30, "whole, it fits")) == "<p>about 2.0 s, 1.0 GiB of memory</p>"
    in_bands = told(Estimate(2.0, 2**30, "in bands of <64> rows"))
    assert in_bands == "<p>about 2.0 s, 1.0 GiB of memory · in bands of &lt;64&gt; rows</p>"
