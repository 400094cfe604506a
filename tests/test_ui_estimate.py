import pytest

from ldm.events import Estimate
from ui.estimate import told
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


def test_the_way_is_said_where_it_is_not_the_usual_one():
    assert told(Estimate(2.0, 2**30, "whole, it fits")) == "<p>about 2.0 s, 1.0 GiB of memory</p>"
    in_bands = told(Estimate(2.0, 2**30, "in bands of <64> rows"))
    assert in_bands == "<p>about 2.0 s, 1.0 GiB of memory · in bands of &lt;64&gt; rows</p>"
