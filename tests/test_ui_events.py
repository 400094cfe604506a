"""The page's events and components, without a server."""

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.catalog.registry import load_preset
from ui.form import sides_of
from ui.run import Picture, Visit


@pytest.fixture(scope="module")
def blocks():
    """The whole page, without a server."""
    from ldm.jobs import JobQueue  # noqa: PLC0415
    from ui.app import build  # noqa: PLC0415

    jobs = JobQueue(lambda: None)
    yield build(jobs)
    jobs.close()


def test_an_idle_page_rests(blocks):
    gradios_own = gr.Blocks(analytics_enabled=False).queue()._queue.sleep_when_free
    assert blocks._queue.sleep_when_free > 10 * gradios_own


@pytest.mark.parametrize("name", ["uploaded", "use", "send"])
def test_an_event_may_have_nothing_to_change(blocks, name, tmp_path):
    """No picture on show, or a picture whose model is chosen already."""
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "low.png")
    uploaded = SimpleNamespace(path=str(tmp_path / "low.png"))
    first = uploaded if name == "uploaded" else Visit()
    chosen = [load_preset("demo-upscale-bicubic").name, False]
    for event in (event for event in blocks.fns.values() if event.name == name):
        values = [first, *(chosen if len(event.inputs) > 1 else [])]
        if name == "send":  # one event for the buttons of all tabs
            pressed = gr.EventData(blocks.blocks[event.targets[-1][0]], None)
            values = [pressed, *[first] * len(event.targets), *chosen]
        answer = event.fn(*values)
        with ThreadPoolExecutor() as other:  # a browser that is open has this thread's loop
            told = other.submit(asyncio.run, blocks.postprocess_data(event, answer, None)).result()
        assert len(told) == len(event.outputs) > 1
        assert not any("value" in update for update in told)


def test_one_event_tells_its_buttons_apart(blocks):
    """Of the ratios, and of all tabs the picture that is on show where the button was pressed."""

    def events(name):
        found = [event for event in blocks.fns.values() if event.name == name]
        return [(event, [blocks.blocks[place] for place, _ in event.targets]) for event in found]

    for event, buttons in events("size"):
        chosen = load_preset(event.inputs[0].value)
        for button in buttons:
            ratio = tuple(map(int, button.value.split(":")))
            pressed = gr.EventData(button, None)
            assert event.fn(chosen.name, pressed) == sides_of(chosen, *ratio)
    for event, buttons in events("send"):
        for place, button in enumerate(buttons):
            visits = [Visit(shown=Picture("gone.png", "", "", "")) for _ in buttons]
            visits[place] = Visit()  # nothing on show here, and a file that is gone elsewhere
            answer = event.fn(gr.EventData(button, None), *visits, "", False)
            assert answer == gr.skip()
    assert (len(events("size")), len(events("send"))) == (3, 3)


@pytest.mark.parametrize("typed", ["", " ", "snow at night"])
def test_what_a_picture_shows_fills_only_an_empty_prompt(blocks, typed, tmp_path):
    about = PngInfo()
    about.add_itxt("Title", "a lake at noon")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "lake.png", pnginfo=about)
    event = next(
        event
        for event in blocks.fns.values()
        if event.name == "send"
        and any(box.elem_id == "text-to-image-prompt" for box in event.outputs)
    )
    pressed = gr.EventData(blocks.blocks[event.targets[0][0]], None)
    visits = [Visit(shown=Picture(str(tmp_path / "lake.png"), "", "", "")) for _ in event.targets]
    answer = event.fn(pressed, *visits, "demo-text-to-image", False, typed)
    filled = {getattr(box, "elem_id", ""): value for box, value in answer.items()}
    assert filled.get("text-to-image-prompt") == (None if typed.strip() else "a lake at noon")
    assert filled["text-to-image-image"] == str(tmp_path / "lake.png")


def test_every_run_frees_its_buttons_where_an_update_cannot_be_brought(blocks):
    runs = [number for number, event in blocks.fns.items() if event.name == "generate"]
    after = [e.trigger_after for e in blocks.fns.values() if e.trigger_only_on_failure]
    assert len(runs) > 20
    assert set(runs) <= set(after)


def test_no_component_hangs_the_page_on_itself(blocks):
    """Gradio copies every property for every visitor: a listener among them copies all the page."""
    components = blocks.get_config_file()["components"]
    properties = [pair for about in components for pair in about["props"].items()]
    hung = [name for name, value in properties if isinstance(value, functools.partial)]
    assert hung == []
    scripts = [str(about["props"].get("js_on_load", "")) for about in components]
    assert max(map(len, scripts)) < 1000  # they stand in the head, once


def test_no_event_draws_signs_of_work(blocks):
    """Gradio counts seconds with every frame for each thing that an event changes, seen or not."""
    of_the_page = [event for event in blocks.fns.values() if event.api_visibility == "private"]
    assert len(of_the_page) > 100
    assert all(event.show_progress_on == [] for event in of_the_page)
