"""The finished picture close up, by mouse, keyboard and fingers."""

import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import (
    IN_A_BROWSER,
    drag_slider,
    open_page,
    open_tab,
    press_generate,
    set_steps,
    visit,
    wait_done,
)

pytestmark = IN_A_BROWSER
PICTURE = "#text-to-image-picture img"
AT = (0.3, 0.4)  # where the pointer is, in shares of the picture


class Eye:
    """Looks at one picture: its box on the screen, and what of it is under a point."""

    def __init__(self, page, selector):
        self.page, self.picture = page, page.locator(selector)

    def box(self):
        return self.picture.bounding_box()

    def point(self, across, down):
        box = self.box()
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def under(self, x, y):
        """What stands at this place of the screen, in shares of the picture."""
        box = self.box()
        return (x - box["x"]) / box["width"], (y - box["y"]) / box["height"]

    def wheel(self, at, by):
        self.page.mouse.move(*at)
        self.page.mouse.wheel(0, by)

    def expect_width(self, width):
        expect(self.picture).to_have_js_property("isConnected", True)
        self.page.wait_for_function(
            "([image, width]) => Math.abs(image.getBoundingClientRect().width - width) < 1.5",
            arg=[self.picture.element_handle(), width],
        )


@pytest.fixture
def made(chromium, url):
    """A page with a finished picture of 96 x 64 px in its first tab."""
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?prompt=a+lake&seed=4&width=96&height=64&steps=2")
        press_generate(page, "text-to-image")
        wait_done(page, "text-to-image")
        expect(page.locator(PICTURE)).to_be_visible()
        page.locator(PICTURE).scroll_into_view_if_needed()
        yield page


def test_wheel_drag_and_keys_in_the_stage(made):
    eye = Eye(made, PICTURE)
    whole = eye.box()
    at = eye.point(*AT)
    eye.wheel(at, -1)  # the page's own, until the person is at work here
    made.mouse.wheel(0, 1)
    eye.expect_width(whole["width"])
    made.mouse.click(*at)
    at = eye.point(*AT)
    eye.wheel(at, -600)
    made.wait_for_function(f"document.querySelector('{PICTURE}').style.transform")
    assert eye.box()["width"] > 2 * whole["width"]
    assert eye.under(*at) == pytest.approx(AT, abs=0.01)

    before = eye.box()
    made.mouse.down()
    made.mouse.move(at[0] + 40, at[1] + 25, steps=4)
    made.mouse.up()
    after = eye.box()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((40, 25), abs=1)
    assert after["width"] == pytest.approx(before["width"], abs=1)
    made.mouse.down()
    made.mouse.move(at[0] + 2500, at[1] + 25, steps=4)  # its edge stays at the edge of its place
    made.mouse.up()
    place = made.locator("#text-to-image-picture").bounding_box()
    assert eye.box()["x"] == pytest.approx(place["x"], abs=1.5)
    made.keyboard.press("ArrowRight")
    assert eye.box()["x"] == pytest.approx(place["x"] - 60, abs=1.5)

    made.keyboard.press("0")
    eye.expect_width(whole["width"])
    made.keyboard.press("+")
    eye.expect_width(1.4 * whole["width"])
    made.keyboard.press("-")
    eye.expect_width(whole["width"])
    made.mouse.dblclick(*eye.point(*AT))
    eye.expect_width(3 * whole["width"])
    made.mouse.dblclick(*at)
    eye.expect_width(whole["width"])
    made.locator("#text-to-image-zoom [data-zoom=actual]").click()
    eye.expect_width(96)
    share = made.locator("#text-to-image-zoom [data-part=share]")
    expect(share).to_have_text("Zoom 100 %")  # and of what, to whom points at it
    expect(share).to_have_attribute("title", re.compile("a pixel of the picture"))
    made.locator("#text-to-image-zoom [data-zoom=fit]").click()
    before = share.text_content()
    made.set_viewport_size({"width": 700, "height": 500})
    expect(share).not_to_have_text(before)
    picture = made.locator("#text-to-image-picture img")
    drawn = picture.evaluate("img => 100 * img.getBoundingClientRect().width / img.naturalWidth")
    expect(share).to_have_text(f"Zoom {round(drawn)} %")


def test_a_window_of_its_own_and_two_fingers(made):
    made.set_viewport_size({"width": 390, "height": 844})
    made.locator("#text-to-image-closer").click()
    eye = Eye(made, "dialog.closer img")
    expect(made.locator("dialog.closer .tile")).to_be_hidden()
    expect(eye.picture).to_have_js_property("naturalWidth", 96)
    whole = eye.box()
    assert (whole["width"], whole["height"]) == pytest.approx((390, 844), abs=1)
    fingers = made.context.new_cdp_session(made)

    def touch(kind, *points):
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (150, 400), (240, 400))
    for spread in range(10, 100, 10):
        touch("touchMove", (150 - spread, 400), (240 + spread, 400))
    touch("touchEnd")
    eye.expect_width(390 * 270 / 90)
    made.keyboard.press("0")
    eye.expect_width(390)
    made.keyboard.press("Escape")
    expect(made.locator("dialog.closer")).to_have_count(0)
    made.wait_for_function("!history.state?.closer")  # Back has nothing of it left to close
    made.locator("#text-to-image-closer").click()
    expect(eye.picture).to_be_visible()
    made.go_back()
    expect(made.locator("dialog.closer")).to_have_count(0)
    expect(made.locator(PICTURE)).to_be_visible()
    made.go_forward()  # to where the window was open
    made.locator("#tab-layout-button").click()
    made.wait_for_function("history.state.tab === 'layout'")
    made.go_back()
    made.wait_for_function("history.state.tab === 'text-to-image'")
    expect(made.locator(PICTURE)).to_be_visible()
    assert made.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_slider_stays_and_its_picture_is_seen_close_up(page, tmp_path):
    Image.effect_mandelbrot((32, 24), (-2, -1, 1, 1), 50).save(tmp_path / "low.png")
    open_tab(page, "upscale")
    page.locator("#upscale-image input[type=file]").set_input_files(tmp_path / "low.png")
    page.get_by_text("32 × 24 px becomes").wait_for()
    set_steps(page, "upscale", 2)
    press_generate(page, "upscale")
    wait_done(page, "upscale")
    slider = page.locator("#upscale-slider img")
    expect(slider.first).to_be_visible()
    page.locator("#upscale-closer").click()
    eye = Eye(page, "dialog.closer img")
    expect(eye.picture).to_be_visible()
    expect(eye.picture).to_have_js_property("naturalWidth", 128)  # loaded, and the enlarged one
    whole = eye.box()
    at = eye.point(*AT)
    eye.wheel(at, -500)
    page.wait_for_function("document.querySelector('dialog.closer img').style.transform")
    assert eye.box()["width"] > 2 * whole["width"]
    assert eye.under(*at) == pytest.approx(AT, abs=0.01)
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("dialog.closer")).to_have_count(0)

    drag_slider(page, "upscale", by=-80)


def test_a_seamless_picture_is_seen_beside_itself(chromium, url):
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?prompt=a+lake&seed=4&width=96&height=64&steps=2&seamless=across")
        press_generate(page, "text-to-image")
        wait_done(page, "text-to-image")
        page.locator("#text-to-image-closer").click()
        picture, tile = page.locator("dialog.closer img"), page.locator("dialog.closer .tile")
        for sides in ((192, 64), (96, 64), (192, 64)):
            tile.click()
            page.wait_for_function(
                "([image, sides]) => image.naturalWidth + ' ' + image.naturalHeight === sides",
                arg=[picture.element_handle(), "{} {}".format(*sides)],
            )
        page.keyboard.press("Escape")
        page.locator("#text-to-image-closer").click()
        expect(picture).to_have_js_property("naturalWidth", 96)
