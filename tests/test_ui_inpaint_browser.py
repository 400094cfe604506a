"""The inpaint tab on the real page: from a picture and a mouse to a result with its mask inside."""

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm.catalog.registry import load_preset
from ldm.outputs import metadata
from tests.browser import (
    IN_A_BROWSER,
    drag_slider,
    open_tab,
    press_generate,
    until,
    wait_done,
    watch_jumps,
)
from tests.painting_hand import Hand

pytestmark = IN_A_BROWSER
CANVAS = "inpaint-painting"
IS_ON_TOP = """(one) => {
  const { left, right, top, bottom } = one.getBoundingClientRect(), x = (left + right) / 2;
  return [top + 3, bottom - 3].every((y) => one.contains(document.elementFromPoint(x, y)));
}"""

# pictures that the canvas loads come a second late
LATE = """() => {
  const now = window.fetch;
  window.fetch = async (...about) => {
    if (String(about[0]).includes("/file=")) await new Promise((go) => setTimeout(go, 1000));
    return now(...about);
  };
}"""


def teal_picture(page, folder):
    """Load a picture of 96 x 64 px; return the hand over it."""
    hand = Hand(page)
    hand.take(CANVAS)
    Image.new("RGB", (96, 64), "teal").save(folder / "photo.png")
    hand.load(folder / "photo.png")
    return hand


def save_result(page, path):
    with page.expect_download() as download:
        page.locator("#inpaint-slider [aria-label*='ownload']").first.click()
    download.value.save_as(path)
    return metadata.load(path).request


@pytest.mark.opens("/?tab=inpaint&steps=2&seed=5&mask_feather=3")
def test_a_painted_mask_fills_that_part_and_nothing_else(page, tmp_path):
    message = page.locator("#inpaint-strip")
    hand = Hand(page)
    hand.take(CANVAS)
    press_generate(page, "inpaint")
    expect(message).to_contain_text("There is no picture yet")
    before = np.random.default_rng(0).integers(0, 256, (93, 141, 3), np.uint8)
    Image.fromarray(before).save(tmp_path / "photo.png")
    hand.load(tmp_path / "photo.png")
    press_generate(page, "inpaint")
    expect(message).to_contain_text("Nothing is marked yet")

    hand.brush((0.3, 0.3), (0.5, 0.6))
    hand.tool("eraser")
    hand.brush((0.35, 0.2), (0.4, 0.5), label=0)
    hand.tool("rectangle")
    hand.rectangle((0.6, 0.5), (0.7, 0.7))
    open_tab(page, "semantic")
    open_tab(page, "inpaint")
    hand.tool("brush")
    hand.brush((0.55, 0.35), (0.6, 0.4))
    press_generate(page, "inpaint")
    wait_done(page, "inpaint")
    request = save_result(page, tmp_path / "result.png")
    assert np.argwhere(request.mask.array() != 255 * hand.labels).tolist() == []
    np.testing.assert_array_equal(request.image.array(), before)
    assert (request.seed, request.steps, request.mask_feather) == (5, 2, 3)
    after = np.asarray(Image.open(tmp_path / "result.png").convert("RGB"))
    changed = (after != before).any(axis=2)
    assert changed[hand.labels == 1].mean() > 0.9
    assert not changed[far_from(hand.labels, 3)].any()

    drag_slider(page, "inpaint", by=-120)

    hand.do("clear")
    page.locator("#inpaint-seed textarea, #inpaint-seed input").first.fill("77")
    restore = page.locator("#inpaint-restore input[type=file], #inpaint-tools input[type=file]")
    changes = page.locator(f"#{CANVAS} .painter").get_attribute("data-changes")
    restore.first.set_input_files(tmp_path / "result.png")
    hand.changed(changes)
    seed = page.locator("#inpaint-seed textarea, #inpaint-seed input").first
    expect(seed).to_have_value("5")
    changes = page.locator(f"#{CANVAS} .painter").get_attribute("data-changes")
    page.locator("#inpaint-studio").get_by_role("button", name="Inpaint more").click()
    hand.changed(changes)
    hand.do("last")  # the mask that was restored
    page.evaluate(LATE)
    page.locator("#inpaint-examples button").first.click()
    expect(seed).not_to_have_value("5")
    page.locator("#inpaint-undo").click()  # brings back the picture and its mask as well
    expect(seed).to_have_value("5")
    page.wait_for_timeout(2000)  # the example's picture has come, too late
    expect(page.locator(f"#{CANVAS} .about")).to_contain_text("141 × 93 px")
    press_generate(page, "inpaint")
    expect(page.locator("#inpaint-results img")).to_have_count(2)
    wait_done(page, "inpaint")
    again = save_result(page, tmp_path / "again.png")
    np.testing.assert_array_equal(again.image.array(), after)
    assert np.argwhere(again.mask.array() != 255 * hand.labels).tolist() == []


def far_from(labels, distance):
    """Where no pixel of the mask is within so many px, and one more for the corner of a pixel."""
    near = np.argwhere(labels == 1)
    rows, columns = np.indices(labels.shape)
    far = np.ones(labels.shape, bool)
    for y, x in near:
        far &= np.hypot(rows - y, columns - x) > distance + 1
    return far


@pytest.mark.opens("/?tab=inpaint&steps=2&seed=5")
def test_outpainting_is_seen_on_the_canvas_and_a_phone_has_room(page, tmp_path):
    hand = teal_picture(page, tmp_path)
    scale = hand.look()["scale"]
    page.get_by_role("button", name=re.compile("Grow the canvas")).click()
    page.wait_for_timeout(500)
    right = page.locator("#inpaint-outpaint-right input").first
    right.fill("48")
    right.press("Tab")
    page.wait_for_function(
        "(s) => document.querySelector('#inpaint-painting .painter').painter.view.scale < s",
        arg=scale,
    )
    expect(page.locator("#inpaint-painting .about")).to_contain_text("96 × 64 → 144 × 64 px")
    press_generate(page, "inpaint")
    wait_done(page, "inpaint")
    request = save_result(page, tmp_path / "wide.png")
    assert request.mask is None and request.outpaint == (0, 0, 48, 0)
    assert Image.open(tmp_path / "wide.png").size == (144, 64)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("window.scrollTo(0, 0)")
    go, made = page.locator("#inpaint-go:not([disabled])"), page.locator("#inpaint-strip")
    expect(go).to_be_in_viewport(ratio=1)
    expect(made).not_to_be_in_viewport()
    jumped = watch_jumps(page, "inpaint")
    press_generate(page, "inpaint")
    expect(made).to_be_in_viewport(ratio=1)
    wait_done(page, "inpaint")
    expect(page.locator("#inpaint-slider")).to_be_in_viewport(ratio=1)
    assert jumped() < 2  # nothing under it jumps when the run begins or ends
    onward = page.locator("#inpaint-onward button:visible").all()
    assert all(
        button.bounding_box()["x"] + button.bounding_box()["width"] <= 390 for button in onward
    )


@pytest.mark.opens("/?tab=inpaint&steps=2&seed=5")
def test_words_bring_the_model_that_reads_them(page, tmp_path):
    hand = teal_picture(page, tmp_path)
    hand.tool("rectangle")
    hand.rectangle((0.4, 0.4), (0.6, 0.7))
    words, model = page.locator("#inpaint-prompt textarea"), page.locator("#inpaint-preset input")
    words.fill("a pine tree")
    page.locator("#inpaint-go").click()  # at once: the answer to the words is still on its way
    wait_done(page, "inpaint")
    request = save_result(page, tmp_path / "result.png")
    assert (request.prompt, request.preset, request.steps) == (
        "a pine tree", "demo-inpaint-words", 2)  # fmt: skip
    usual = load_preset("demo-inpaint-words").defaults
    assert (request.temperature, request.guidance_scale) == (
        usual.temperature, usual.guidance_scale)  # fmt: skip
    expect(model).to_have_value("Landscapes, inpainting by words")
    expect(page.locator("#inpaint-plate .title")).to_have_text("A pine tree, drawn in")
    page.reload()  # it was the words that brought it, then as now
    page.locator("body[data-ready]").wait_for()
    expect(words).to_have_value("a pine tree")
    expect(page.locator("#inpaint-results img")).to_have_count(1)
    words.fill("")
    page.locator("#inpaint-go").click()  # waits for the model that suits no words, and its settings
    wait_done(page, "inpaint")
    expect(page.locator("#inpaint-results img")).to_have_count(2)
    request = save_result(page, tmp_path / "without.png")
    plain = load_preset("demo-inpaint")
    assert (request.preset, request.temperature) == (plain.name, plain.defaults.temperature)
    expect(model).to_have_value("Landscapes, inpainting")
    page.locator("#inpaint-vocabulary summary").click()
    page.locator("#inpaint-vocabulary button", has_text="a house").click()
    expect(words).to_have_value("a house")


@pytest.mark.opens("/?tab=inpaint&strength=0.6")
def test_a_refusal_is_seen_beside_the_button_and_another_picture_does_not_grow(page, tmp_path):
    """The canvas of a square picture is so tall that the button sticks to the window's end."""
    page.set_viewport_size({"width": 1440, "height": 900})
    hand = Hand(page)
    hand.take(CANVAS)
    Image.new("RGB", (256, 256), "teal").save(tmp_path / "square.png")
    hand.load(tmp_path / "square.png")
    page.locator("#inpaint-outpaint > button").click()
    left = page.locator("#inpaint-outpaint-left input")
    left.fill("128")
    left.blur()
    refused = page.locator("#inpaint-estimate .refused")
    expect(refused).to_contain_text("Strength must be 1 where the canvas grows")
    page.evaluate("scrollTo(0, 0)")
    for seen in (refused, page.locator("#inpaint-go")):
        expect(seen).to_be_in_viewport(ratio=1)
        until(page, lambda seen=seen: seen.evaluate(IS_ON_TOP))
    hand.load(tmp_path / "square.png")
    expect(left).to_have_value("0")
    expect(refused).to_have_count(0)


@pytest.mark.opens("/?tab=inpaint")
def test_a_model_that_was_not_trained_on_holes_has_defaults_for_them(page):
    page.locator("#inpaint-sampling > button").click()
    eta = page.locator("#inpaint-eta :is(input[type=number], textarea)").first

    def choose(what, name):
        page.locator(f"#inpaint-{what} input").click()
        page.get_by_role("option", name=name, exact=True).click()

    choose("preset", "Landscapes, text to image")
    expect(page.locator("#inpaint-trained")).to_contain_text("was not trained on holes")
    expect(eta).to_have_value("1")
    for sampler, value in (("UniPC", "0"), ("DDIM", "1")):  # others refuse that of DDIM
        choose("sampler", sampler)
        expect(eta).to_have_value(value)
