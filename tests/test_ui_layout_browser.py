"""The layout tab of the real page with the shipped model, by mouse."""

import dataclasses
import json
import re
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import expect

from ldm.outputs import metadata
from ldm.requests import Box, Layout
from tests.browser import (
    IN_A_BROWSER,
    open_page,
    open_tab,
    press_generate,
    set_steps,
    until,
    wait_done,
)
from tests.hand import Hand

pytestmark = IN_A_BROWSER
PINE, HOUSE = (0.1, 0.3, 0.4, 0.9), (0.5, 0.4, 0.9, 0.8)


@pytest.fixture
def hand(page):
    open_tab(page, "layout")
    hand = Hand(page, "#layout-boxes")
    hand.root.locator("svg g[data-id]").first.wait_for()
    return hand


def edges(box):
    return box.left, box.top, box.right, box.bottom


def test_what_is_drawn_is_what_the_picture_carries(hand, page, url, tmp_path):
    hand.do("clear")
    press_generate(page, "layout")
    page.locator("#layout-strip", has_text="at least one box").wait_for()
    for label, box in (("moon", (0.7, 0.05, 0.8, 0.15)), ("pine", (0.05, 0.2, 0.2, 0.7)),
                       ("boat", HOUSE)):  # fmt: skip
        hand.choose(label)
        hand.drag(box[:2], box[2:])
    hand.drag((0.1, 0.5), (0.15, 0.6))  # moves the pine
    hand.drag((0.25, 0.8), PINE[2:])  # by its corner
    hand.drag((0.7, 0.6), (0.7, 0.6))  # a click selects the boat
    hand.choose("house")
    hand.root.locator("li").first.locator("[data-do=remove]").click()
    set_steps(page, "layout", 3)
    press_generate(page, "layout")
    wait_done(page, "layout")
    save = hand.root.locator("[data-part=save]")
    expect(save).to_be_visible()
    with page.expect_download() as download:
        save.click()
    path = tmp_path / "picture.png"
    download.value.save_as(path)
    request = metadata.load(path).request
    assert [box.label for box in request.boxes] == ["pine", "house"]
    assert edges(request.boxes[0]) == pytest.approx(PINE, abs=0.006)
    assert edges(request.boxes[1]) == pytest.approx(HOUSE, abs=0.006)
    assert hand.root.locator("svg g[data-id]").count() == 2  # still drawn over the result
    picture = hand.root.locator("img.picture")
    expect(picture).to_be_visible()
    hand.do("hide")
    page.locator("#layout-studio button.ratio-4-1").click()  # the picture has another shape
    expect(picture).to_be_hidden()
    expect(hand.root.locator("svg g[data-id]").first).to_be_visible()
    expect(hand.root.locator("svg")).to_have_css("opacity", "1")
    page.locator("#layout-studio button.ratio-1-1").click()
    expect(picture).to_be_visible()
    _comes_back(hand, page, url, path, request)


def _comes_back(hand, page, url, path, request):
    """The layout survives a reload, and a PNG brings back its own."""
    hand.do("duplicate") if hand.button("duplicate").is_enabled() else hand.do("add")
    count = hand.root.locator("li").count()
    page.wait_for_function(
        "n => JSON.parse(localStorage.getItem('latent-canvas-layout')).boxes.boxes.length === n",
        arg=count,
    )
    open_page(page, url)
    expect(hand.root.locator("li")).to_have_count(count)
    page.locator("#layout-tools input[type=file]").first.set_input_files(path)
    expect(hand.root.locator("li")).to_have_count(2)
    assert hand.labels() == [box.label for box in request.boxes]
    shown = [float(hand.edge(row, "right").input_value()) / 100 for row in (1, 2)]
    assert shown == pytest.approx([box.right for box in request.boxes], abs=0.0006)


def test_boxes_on_a_wide_canvas_come_back(hand, page, url, tmp_path):
    """After a reload, from a link, and from a PNG that is opened in another tab of the page."""
    page.locator("#layout-examples img").nth(1).click()
    expect(page.locator("#layout-width input").first).to_have_value("192")
    expect(hand.root.locator("li")).to_have_count(3)
    page.wait_for_function("(localStorage.getItem('latent-canvas-layout') || '').includes('boat')")
    open_page(page, url)
    expect(hand.root.locator("li")).to_have_count(3)
    assert hand.labels() == ["boat"] * 3
    assert_shape(page, 1.5)
    box = Box("house", 0.25, 0.5, 0.5, 0.75)
    sent = quote(json.dumps({"width": 256, "height": 128, "boxes": [dataclasses.asdict(box)]}))
    open_page(page, f"{url}/?tab=layout&width=256&height=128&boxes={sent}")
    expect(hand.root.locator("li")).to_have_count(1)
    assert hand.labels() == ["house"]
    assert_shape(page, 2)
    request = Layout(boxes=(box, box), width=320, height=128, steps=3, seed=1, sampler="ddim",
                     guidance_scale=3.0, eta=0.0, temperature=1.0, coarse=0.0)  # fmt: skip
    metadata.save(tmp_path / "wide.png", np.zeros((128, 320, 3), np.uint8), request, "0" * 64)
    page.evaluate("for (const storage of [sessionStorage, localStorage]) storage.clear()")
    open_page(page, f"{url}/?tab=text-to-image")
    tools = page.locator("#text-to-image-tools input[type=file]").first
    tools.set_input_files(tmp_path / "wide.png")
    expect(page.locator("#layout-width input").first).to_have_value("320")
    expect(hand.root.locator("li")).to_have_count(2)
    assert_shape(page, 2.5)
    assert [hand.edge(row, "right").input_value() for row in (1, 2)] == ["50", "50"]


def assert_shape(page, ratio):
    page.wait_for_function(
        "ratio => { const s = document.querySelector('#layout-boxes svg'); "
        "return s.clientHeight && Math.abs(s.clientWidth / s.clientHeight - ratio) < 0.02; }",
        arg=ratio,
    )


def test_the_canvas_follows_the_size_and_the_model(hand, page):
    page.locator("#layout-studio button.ratio-2-1").click()
    assert_shape(page, 2)
    page.locator("#layout-examples img").nth(1).click()  # a scene
    expect(page.locator("#layout-width input").first).to_have_value("192")
    before = ["boat"] * 3
    until(page, lambda: hand.labels() == before)
    page.locator("#layout-undo").click()
    assert_shape(page, 2)
    expect(hand.root.locator("li")).to_have_count(3)
    until(page, lambda: hand.labels() == ["moon", "pine", "house"])
    page.locator("#layout-examples img").nth(1).click()
    until(page, lambda: hand.labels() == before)
    page.locator("#layout-preset input").click()
    page.get_by_role("option", name=re.compile("OpenImages")).click()
    expect(hand.root.locator("[data-part=count]")).to_have_text(f"{len(before)} of 30 boxes")
    hand.says("does not know")
    page.locator("#layout-preset input").click()
    page.get_by_role("option", name="Landscapes, layout").click()
    expect(hand.root.locator("[data-part=count]")).to_have_text(f"{len(before)} of 20 boxes")
    assert hand.labels() == before
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
