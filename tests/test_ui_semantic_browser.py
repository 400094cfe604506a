"""The semantic tab on the real page: three classes, a fill, undo, and the map in the result."""

import base64

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm.catalog.registry import load_preset
from ldm.outputs import metadata
from tests.browser import IN_A_BROWSER, RUN_MS, press_generate, until, wait_done
from tests.painting_hand import Hand
from ui.run import load_request
from ui.tab import example_paths

pytestmark = IN_A_BROWSER
CANVAS = "semantic-label-map"
NAMES = load_preset("demo-semantic").classes


def carrying(page, path):
    """What a hand that drags this file carries."""
    return page.evaluate_handle(
        """([data, name]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], name, { type: "image/png" }));
          return transfer;
        }""",
        [base64.b64encode(path.read_bytes()).decode(), path.name],
    )


@pytest.mark.opens("/?tab=semantic&steps=2&seed=3")
def test_a_painted_map_is_what_the_picture_is_made_of(page, tmp_path):
    hand = Hand(page)
    hand.take(CANVAS)
    for side, value in zip(("Width", "Height"), ("112", "80"), strict=True):
        box = page.get_by_label(f"{side} of the map in px")
        box.fill(value)
        box.press("Tab")

    def choose(name):
        page.locator(f"#{CANVAS} .classes").get_by_role("button", name=name, exact=True).click()
        return NAMES.index(name)

    choose("sky")
    hand.do("all")
    expect(page.locator(f"#{CANVAS} .about")).to_contain_text("112 × 80 px · 1 class")
    hand.labels = np.zeros((80, 112), np.uint8)
    grass = choose("grass")
    hand.tool("line")
    hand.line((0.001, 0.6), (0.999, 0.55), label=grass)
    water = choose("water")
    hand.tool("fill")
    hand.fill((0.5, 0.9), label=water)
    before = hand.labels.copy()
    hand.fill((0.5, 0.1), label=water)
    hand.do("undo")
    hand.labels = before
    sun = choose("sun")
    hand.tool("brush")
    hand.brush((0.7, 0.2), (0.72, 0.2), label=sun)
    press_generate(page, "semantic")
    wait_done(page, "semantic")
    with page.expect_download() as download:
        page.locator("#semantic-picture [aria-label*='ownload']").first.click()
    path = tmp_path / "result.png"
    download.value.save_as(path)
    request = metadata.load(path).request
    assert np.argwhere(request.label_map.array() != hand.labels).tolist() == []
    assert set(np.unique(hand.labels)) == {NAMES.index("sky"), grass, water, sun}
    assert Image.open(path).size == (112, 80)

    hand.do("all")
    changes = page.locator(f"#{CANVAS} .painter").get_attribute("data-changes")
    page.locator(f"#{CANVAS} .board").dispatch_event("drop", {"dataTransfer": carrying(page, path)})
    hand.changed(changes)
    page.locator("#semantic-examples button").first.click()
    about = page.locator(f"#{CANVAS} .about")
    expect(about).not_to_contain_text("112 × 80 px")
    page.locator("#semantic-undo").click()
    expect(about).to_contain_text("112 × 80 px")
    made = page.locator("#semantic-results img")
    first = made.get_attribute("src")
    press_generate(page, "semantic")
    until(
        page, lambda: made.get_attribute("src") != first, RUN_MS
    )  # it takes the first one's place
    wait_done(page, "semantic")
    with page.expect_download() as download:
        page.locator("#semantic-picture [aria-label*='ownload']").first.click()
    download.value.save_as(tmp_path / "again.png")
    assert metadata.load(tmp_path / "again.png").request == request  # seed 3 and the map are back


@pytest.mark.opens("/?tab=semantic")
def test_the_first_map_goes_with_its_model_until_it_is_painted_on(page):
    about = page.locator(f"#{CANVAS} .about")

    def choose_model(**text):
        page.locator("#semantic-preset input").click()
        page.get_by_role("option").filter(**text).first.click()

    first = load_request(example_paths("semantic")[0]).label_map.array()
    count = len(np.unique(first))
    expect(about).to_contain_text(f"{first.shape[1]} × {first.shape[0]} px · {count} classes")
    choose_model(has_not_text="Landscapes")  # knows 182 other classes, and has no examples
    expect(about).to_contain_text("1 class")
    page.wait_for_timeout(600)  # longer than it takes to be remembered
    page.reload()
    expect(about).to_contain_text("1 class")  # it opens as it is built, then with what was chosen
    choose_model(has_text="Landscapes")
    expect(about).to_contain_text("7 classes")
    page.emulate_media(forced_colors="active")  # each class has its colour still, and one is chosen
    palette = page.locator(f"#{CANVAS} [data-class]")
    drawn = "all => all.map((one) => getComputedStyle(one).backgroundColor)"
    assert len(set(palette.locator("i").evaluate_all(drawn))) == len(NAMES)
    assert len(set(palette.evaluate_all(drawn))) == 2
    page.emulate_media(forced_colors="none")
    hand = Hand(page)
    hand.take(CANVAS)
    hand.do("all")
    expect(about).to_contain_text("256 × 160 px · 1 class")
    choose_model(has_not_text="Landscapes")
    expect(page.locator(f"#{CANVAS} input[type=search]")).to_be_visible()
    expect(about).to_contain_text("256 × 160 px · 1 class")
    assert page.locator(f"#{CANVAS} [data-class]").count() == 182
    page.locator(f"#{CANVAS} [data-across='1'][data-down='1']").click()  # as this one is trained
    expect(about).to_contain_text("512 × 512 px · 1 class")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
