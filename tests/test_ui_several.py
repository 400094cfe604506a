"""Which pictures a page has marked, as it tells the server."""

import json
from pathlib import Path

import gradio as gr
import pytest

from ldm.history import About, Entry
from ui import several
from ui.words import entry_name


@pytest.fixture(scope="module")
def bar():
    with gr.Blocks():
        return several.create("history")


@pytest.fixture(scope="module")
def found():
    about = [About("text-to-image", f"a <b>lake</b> & {n}", "", "", "", "") for n in range(3)]
    return [Entry(Path(f"{n}.png"), n * 10**9, 0, one) for n, one in enumerate(about)]


def told(found, *indices):
    return json.dumps([[index, entry_name(found[index])] for index in indices])


def test_the_marked_pictures_are_those_that_were_found(bar, found):
    assert bar.of(told(found, 0, 2), found) == [found[0], found[2]]
    for nothing in ("", "[]"):
        with pytest.raises(gr.Error, match="No picture is chosen yet"):
            bar.of(nothing, found)


@pytest.mark.parametrize(
    "marked", ["nope", "[[0]]", '{"a": 1}', '[["0", "x"]]', '[[-1, "x"]]', "5", '[[9, "x"]]']
)
def test_what_no_page_sends_is_told(bar, found, marked):
    with pytest.raises(gr.Error, match="The pictures have changed meanwhile"):
        bar.of(marked, found)


def test_others_in_their_places_are_not_taken_for_them(bar, found):
    with pytest.raises(gr.Error, match="The pictures have changed meanwhile"):
        bar.of(told(found, 0, 1), found[1:])
