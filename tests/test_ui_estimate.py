from types import SimpleNamespace

import gradio as gr
import pytest

from ldm.errors import MemoryBudgetError, PresetError, RequestError
from ldm.events import Estimate
from ui.estimate import refused, told
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
    assert told(estimate).endswith("<p>This model has never seen: &lt;b&gt;.</p>")


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"width": 5000}, RequestError("width must be 16 to 4096 px, got 5000."), "Width must be"),
        ({"width": None}, RequestError("width must be 16 to 4096 px, got nothing."), ""),
        ({"prompt": " "}, RequestError("prompt must be text, got nothing."), ""),
        ({}, MemoryBudgetError("it needs 3 <GiB>."), "it needs 3 &lt;GiB&gt;."),
        ({}, gr.Error("draw something first"), ""),
        ({}, PresetError("demo is gone"), ""),
    ],
)
def test_what_is_wrong_is_told_and_what_is_missing_is_not(fields, error, says):
    stage = SimpleNamespace(reword=str, labels={"width": "Width"})
    told = refused(SimpleNamespace(stage=stage), fields, error)
    assert says in told if says else told == ""


def test_the_way_is_said_where_it_is_not_the_usual_one():
    assert told(Estimate(2.0, 2**30, "whole, it fits")) == "<p>about 2.0 s, 1.0 GiB of memory</p>"
    in_bands = told(Estimate(2.0, 2**30, "in bands of <64> rows"))
    assert in_bands == "<p>about 2.0 s, 1.0 GiB of memory · in bands of &lt;64&gt; rows</p>"
