"""Pictures of the history by keyboard, and several at once: saved, starred, removed, put back."""

import zipfile

import numpy as np
import pytest
from playwright.sync_api import expect

from ldm.outputs import metadata
from ldm.requests import TextToImage
from tests.browser import IN_A_BROWSER, open_page, until, visit
from tests.test_ui_history_browser import COMMON, FOUND, PICTURE, TAB, names, search

pytestmark = IN_A_BROWSER
BAR = f"{TAB}-several"


@pytest.fixture(scope="module")
def folder(data_dir):
    """Six pictures of one day; the search finds "yak 6" first."""
    folder = data_dir / "outputs" / "2001-03-04"
    folder.mkdir(parents=True)
    for number in range(1, 7):
        about = {"seed": number, "width": 64, "height": 64, "coarse": 0.0}
        wide, high = (3200, 800) if number == 1 else (64, 64)  # too large to be enlarged, and long
        pixels = np.full((high, wide, 3), 30 * number, np.uint8)
        if number == 1:  # too much for a thumbnail of its own
            pixels ^= np.random.default_rng(0).integers(16, size=pixels.shape, dtype=np.uint8)
        request = TextToImage(prompt=f"yak {number}", **about, **COMMON)
        metadata.save(folder / f"{number}.png", pixels, request)
    return folder


def marked(page):
    return page.locator(f"{FOUND}[aria-pressed=true] img").evaluate_all(
        "all => all.map((one) => one.alt.split(',')[0])"
    )


def starred(page):
    return page.locator(f"{FOUND}[data-star]").count()


ALL = [f"yak {n}" for n in (6, 5, 4, 3, 2, 1)]


def find_all(page, url):
    open_page(page, f"{url}/?tab=history")
    search(page, "yak")
    until(page, lambda: names(page) == ALL)


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label')?.split(',')[0]")


def test_keys_turn_to_other_pictures_and_take_one_away(chromium, url, folder):
    with visit(chromium, url) as page:
        find_all(page, url)
        page.locator(FOUND).first.focus()
        title = page.locator(f"{TAB}-plate .title")
        # five of them are side by side
        for key, name in (("ArrowRight", 5), ("ArrowRight", 4), ("Home", 6), ("ArrowDown", 1)):
            page.keyboard.press(key)
            expect(title).to_have_text(f"yak {name}")
            assert focused(page) == f"yak {name}"
        page.keyboard.press("ArrowRight")  # there is no other
        page.keyboard.press("ArrowUp")
        expect(title).to_have_text("yak 6")
        page.keyboard.press("Delete")
        expect(title).to_have_text("yak 5")
        until(page, lambda: focused(page) == "yak 5")
        page.locator(f"{TAB}-back").click()
        until(page, lambda: names(page) == ALL)


def test_delete_takes_away_what_has_the_focus_and_held_down_no_more(chromium, url, folder):
    with visit(chromium, url) as page:
        find_all(page, url)
        page.locator(FOUND).first.focus()
        for _ in range(3):  # faster than they come on show
            page.keyboard.press("ArrowRight")
        page.keyboard.down("Delete")
        for _ in range(3):
            page.keyboard.down("Delete")  # repeats
        page.keyboard.up("Delete")
        left = [name for name in ALL if name != "yak 3"]
        until(page, lambda: names(page) == left)
        page.wait_for_timeout(500)
        assert names(page) == left
        page.locator(f"{BAR}-begin").click()
        for place in (0, 1):
            page.locator(FOUND).nth(place).click()
        page.keyboard.press("Delete")
        until(page, lambda: names(page) == left[2:])
        for there in (left, ALL):
            page.locator(f"{TAB}-back").click()
            until(page, lambda there=there: names(page) == there)


def test_a_large_wide_picture_is_not_enlarged_and_stands_above_another(chromium, url, folder):
    with visit(chromium, url) as page:
        find_all(page, url)
        enlarge = page.locator(f"{TAB}-to-upscale")
        page.locator(FOUND).nth(4).click()
        expect(enlarge).to_be_visible()
        wide = page.locator(FOUND).nth(5)
        expect(wide).to_have_attribute("data-long", "across")
        assert wide.locator("img").bounding_box()["height"] < wide.bounding_box()["height"] / 2
        wide.click()
        expect(enlarge).to_be_hidden()
        page.locator(FOUND).nth(4).click()
        expect(enlarge).to_be_visible()
        page.locator(f"{TAB}-closer").click()
        page.keyboard.press("ArrowRight")
        page.locator(".closer .hold").click()  # before more than its thumbnail is there
        expect(page.locator(".closer .held")).to_have_js_property("naturalWidth", 3200)
        held, stand = (
            page.locator(f".closer .{name}").bounding_box() for name in ("held", "stand")
        )
        assert held["y"] + held["height"] < stand["y"] and held["width"] > 1000


def test_arrow_keys_turn_to_other_tabs(chromium, url):
    with visit(chromium, url) as page:
        open_page(page, url)
        page.locator("#tab-text-to-image-button").focus()
        for key, tab in (("ArrowRight", "inpaint"), ("End", "history"), ("ArrowLeft", "class-")):
            page.keyboard.press(key)
            expect(page.locator(f"[id^='{tab}'][id$='-studio']")).to_be_visible()
            assert tab in page.evaluate("document.activeElement.id")


def test_several_are_chosen_and_used_at_once(chromium, url, folder):
    with visit(chromium, url) as page:
        find_all(page, url)
        choose(page)
        save(page, folder)
        star(page)
        remove_and_put_back(page, folder)


def choose(page):
    """A click shows a picture; while several are chosen it marks one, and Shift all up to it."""
    found = page.locator(FOUND)
    expect(page.locator(BAR)).to_be_hidden()
    found.nth(5).click()
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("yak 1")
    page.locator(f"{BAR}-begin").click()
    expect(page.locator(BAR)).to_contain_text("Click on pictures")
    found.nth(1).click()
    found.nth(3).click(modifiers=["Shift"])
    assert marked(page) == ["yak 5", "yak 4", "yak 3"]
    found.nth(2).press("Enter")
    assert marked(page) == ["yak 5", "yak 3"]
    expect(page.locator(BAR)).to_contain_text("2 chosen")
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("yak 1")
    page.keyboard.press("Escape")
    assert marked(page) == []
    expect(page.locator(BAR)).to_be_hidden()
    found.nth(0).click(modifiers=["Control"])  # begins by itself
    found.nth(5).click()
    assert marked(page) == ["yak 6", "yak 1"]


def save(page, folder):
    with page.expect_download() as download:
        page.locator(f"{BAR}-save").click()
    with zipfile.ZipFile(download.value.path()) as packed:
        assert packed.namelist() == [f"{folder.name}/6.png", f"{folder.name}/1.png"]


def star(page):
    """All become favourites, unless all are; the one on show is told of."""
    button = page.locator(f"{BAR}-star")
    button.click()
    until(page, lambda: starred(page) == 2)
    expect(page.locator(f"{TAB}-star")).to_have_text("★ Favourite")
    assert marked(page) == ["yak 6", "yak 1"]
    page.locator(FOUND).nth(1).click()
    button.click()
    until(page, lambda: starred(page) == 3)
    button.click()
    until(page, lambda: starred(page) == 0)
    expect(page.locator(f"{TAB}-star")).to_have_text("☆ Favourite")


def remove_and_put_back(page, folder):
    """Several are removed together and come back together."""
    page.locator(f"{BAR}-remove").click()
    until(page, lambda: names(page) == ["yak 4", "yak 3", "yak 2"])
    expect(page.locator(PICTURE)).to_be_hidden()  # it was one of them
    expect(page.locator(BAR)).to_be_hidden()
    assert sorted(path.name for path in folder.glob("*.png")) == ["2.png", "3.png", "4.png"]
    page.locator(FOUND).nth(0).click()
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("yak 4")
    page.locator(f"{TAB}-take-out").click()
    until(page, lambda: names(page) == ["yak 3", "yak 2"])
    back = page.locator(f"{TAB}-back")
    expect(back).to_contain_text("(4)")
    back.click()
    until(page, lambda: names(page) == ["yak 4", "yak 3", "yak 2"])
    back.click()
    until(page, lambda: names(page) == ALL)
    expect(back).to_be_hidden()
    page.locator(f"{BAR}-begin").click()
    page.locator(f"{BAR}-all").click()
    expect(page.locator(BAR)).to_contain_text("6 chosen")
    (folder / "3.png").unlink()
    page.locator(f"{BAR}-remove").click()
    expect(page.locator(".toast-body")).to_contain_text("3.png")  # it was gone, the others go
    until(page, lambda: names(page) == [])
    expect(back).to_contain_text("(5)")
    back.click()
    until(page, lambda: names(page) == [name for name in ALL if name != "yak 3"])
