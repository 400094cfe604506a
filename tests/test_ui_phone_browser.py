"""The page under a finger on a small screen, and with other tools than a mouse."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser import (
    IN_A_BROWSER,
    RUN_MS,
    open_page,
    open_tab,
    press_generate,
    set_steps,
    until,
    visit,
    wait_done,
)

pytestmark = IN_A_BROWSER
LEAST = 32  # px of what a finger presses
PRESSED = {
    "text-to-image": (
        ".label-wrap",
        ".lc-vocabulary summary",
        "input[data-testid=number-input]",
        ".ratios button",
    ),
    "upscale": (".source-selection button",),
    "layout": (".list .swatch", ".list .gone", ".list select", ".list input", ".chip"),
}
SIDES = """(parts) => [...document.querySelectorAll(parts)]
  .map((part) => part.getBoundingClientRect())
  .filter((box) => box.width)
  .map((box) => [box.width, box.height])"""


@pytest.fixture
def phone(chromium, url):
    about = {"viewport": {"width": 390, "height": 844}, "reduced_motion": "reduce"}
    context = chromium.browser.new_context(**about, has_touch=True, is_mobile=True)
    context.set_default_timeout(30_000)
    with visit(context, url) as page:
        yield page
    context.close()


def least(page, task, parts):
    """The least side of what a tab shows of these parts."""
    sides = page.evaluate(SIDES, ", ".join(f"#{task}-studio {part}" for part in parts))
    assert sides, parts
    return min(map(min, sides))


def is_in_window(page, part):
    box = page.locator(part).bounding_box()
    return box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 844


def test_a_finger_meets_what_it_presses_and_a_picture_is_scrolled_to(phone, url):
    open_page(phone, f"{url}/?tab=upscale&passes=1")
    for task, parts in PRESSED.items():
        open_tab(phone, task)
        phone.locator(f"#{task}-studio {parts[0]}").first.wait_for()
        for part in parts:
            until(phone, lambda t=task, p=part: least(phone, t, [p]) >= LEAST)
    open_tab(phone, "upscale")
    field = phone.locator("#upscale-image [data-testid=upload-text]")
    expect(field).to_contain_text("A picture to enlarge")
    after = "getComputedStyle(document.querySelector('#upscale-image h2 + p'), '::after').content"
    assert "Ctrl" not in phone.evaluate(after)
    open_tab(phone, "inpaint")
    empty = phone.locator("#inpaint-painting .empty")
    expect(empty).to_contain_text("Choose a picture")
    expect(empty).not_to_contain_text("Ctrl")
    phone.locator("#tab-history-button").click()
    box = phone.locator("#history-search :is(input, textarea)")
    expect(box).to_be_visible()
    fits = """(box) => {
      const context = document.createElement("canvas").getContext("2d");
      const style = getComputedStyle(box);
      context.font = style.font;
      const room = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      return context.measureText(box.placeholder).width <= room;
    }"""
    assert box.evaluate(fits)

    open_tab(phone, "layout")
    phone.wait_for_timeout(500)  # a tab that is opened is scrolled to its top
    phone.evaluate("scrollTo(0, 0)")
    press_generate(phone, "layout")
    wait_done(phone, "layout")
    until(phone, lambda: is_in_window(phone, "#layout-picture img"))
    assert is_in_window(phone, "#layout-strip")
    assert phone.evaluate("scrollY") > 300

    example = phone.locator("#layout-examples .thumbnail-lg").first
    began = example.evaluate(
        "one => { one.click(); return one.closest('.lc-studio').getBoundingClientRect().top; }"
    )
    assert 0 <= began < 100  # at once, for who wants less to move

    open_tab(phone, "class-conditional")
    phone.wait_for_timeout(500)
    set_steps(phone, "class-conditional", 3)
    press_generate(phone, "class-conditional")
    wait_done(phone, "class-conditional")
    phone.locator("#class-conditional-plate .plate").wait_for()
    phone.wait_for_timeout(300)  # what came under the picture has been placed
    assert is_in_window(phone, "#class-conditional-picture img")


@pytest.mark.opens("/?tab=semantic")
def test_generate_lies_over_nothing_that_is_seen_through_it(page):
    page.set_viewport_size({"width": 1024, "height": 768})
    files = page.locator("#semantic-label-map .actions")
    expect(files).to_be_visible()
    go = page.locator("#semantic-act")

    def apart():
        above = files.bounding_box()
        return go.bounding_box()["y"] - above["y"] - above["height"]

    until(page, lambda: apart() >= 0)
    look = "bar => [getComputedStyle(bar).backgroundImage, getComputedStyle(bar).backgroundColor]"
    image, colour = go.evaluate(look)
    assert image == "none" and re.fullmatch(r"rgb\(.*\)", colour)
    for size in ({"width": 390, "height": 844}, {"width": 1024, "height": 600}):
        page.set_viewport_size(size)
        page.wait_for_timeout(300)  # the board takes its new height
        page.locator("#semantic-label-map .actions button").last.focus()
        until(page, lambda: apart() >= 0)  # the keyboard comes to nothing that is covered


@pytest.mark.opens("/?tab=upscale&passes=1")
def test_names_are_names_and_a_picture_to_enlarge_is_called_what_it_shows(page):
    for name in ("houses below the mountains", "a village in winter"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    text = page.locator("#upscale-image [data-testid=upload-text]")
    expect(text).to_contain_text("A picture to enlarge")
    after = "getComputedStyle(document.querySelector('#upscale-image h2 + p'), '::after').content"
    assert "Ctrl+V" in page.evaluate(after)
    page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(32, 24);
          canvas.getContext("2d").fillRect(0, 0, 32, 24);
          const file = new File([await canvas.convertToBlob()], "a.png", { type: "image/png" });
          const clipboardData = new DataTransfer();
          clipboardData.items.add(file);
          const about = { clipboardData, bubbles: true };
          document.body.dispatchEvent(new ClipboardEvent("paste", about));
        }"""
    )
    expect(page.locator("#upscale-words")).to_contain_text("32 × 24 px becomes 128 × 96 px.")
    open_tab(page, "text-to-image")
    page.locator("#text-to-image-sampling button").first.click()
    box = page.get_by_role("textbox", name="Variations", exact=True)
    expect(box).to_have_attribute("aria-description", re.compile("Turns the noise"))
    expect(page.locator("#text-to-image-sampler input")).to_have_value("DDIM")


@pytest.mark.opens("/?prompt=a+lake&width=512&height=512&steps=250&seed=3&coarse=0")
def test_a_tab_at_work_is_told_in_the_others_even_when_it_was_not_opened(page, url):
    tab = page.get_by_role("tab", name="Text to image, a picture is being made")
    press_generate(page, "text-to-image")
    expect(tab).to_have_count(1)
    open_tab(page, "class-conditional")
    page.wait_for_function("sessionStorage.getItem('latent-canvas-jobs') !== null")
    open_page(page, f"{url}/?tab=class-conditional")
    expect(tab).to_have_count(1)
    open_tab(page, "text-to-image")
    page.locator("#text-to-image-stop").click()
    expect(tab).to_have_count(0, timeout=RUN_MS)
    expect(page.locator("#tabs [data-busy]")).to_have_count(0)
    if page.locator("#text-to-image-discard").is_visible():
        page.locator("#text-to-image-discard").click()
        expect(page.locator("#text-to-image-discard")).to_be_hidden()
