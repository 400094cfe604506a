"""The history in a browser: pictures of other days are found, seen close up, opened and sent on."""

import re
import zipfile
from datetime import datetime

import numpy as np
import pytest
from playwright.sync_api import expect

from ldm.outputs import metadata
from ldm.requests import ClassConditional, TextToImage
from tests.browser import IN_A_BROWSER, open_page, until, visit, wait_kept

pytestmark = IN_A_BROWSER
TAB = "#history"
FOUND = f"{TAB}-results .thumbnail-lg"
PICTURE = f"{TAB}-picture img"
COMMON = {"steps": 2, "sampler": "ddim", "guidance_scale": 1.0, "temperature": 1.0, "eta": 0.0}


@pytest.fixture(scope="module")
def day(data_dir):
    """A folder of one day, with three pictures of zebras and one of a class; the last is large."""
    folder = data_dir / "outputs" / "2001-02-03"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, side in ((1, 64), (2, 64), (3, 512)):
        about = {"seed": number, "width": side, "height": side, "coarse": 0.0}
        request = TextToImage(prompt=f"a zebra & {number}", **about, **COMMON)
        pixels = rng.integers(256, size=(side, side, 3), dtype=np.uint8)
        metadata.save(folder / f"{number}.png", pixels, request)
    about = {"seed": 9, "width": 64, "height": 64, "coarse": 0.0, "class_index": 3}
    request = ClassConditional(**about, **COMMON)
    metadata.save(folder / "9.png", np.zeros((64, 64, 3), np.uint8), request)
    return folder


def search(page, words):
    # what opens is drawn anew, on a busy machine after its first answer, and typing before is lost
    expect(page.locator(f"{TAB}-trained p")).to_be_visible()
    expect(page.locator(f"{TAB}-trained p")).not_to_contain_text(re.compile("Look|to be read"))
    page.locator(f"{TAB}-search :is(input, textarea)").fill(words)


def names(page):
    found = page.locator(f"{FOUND} img").evaluate_all("all => all.map((one) => one.alt)")
    return [name.split(",")[0] for name in found]


def expect_found(page, count, *expected):
    expect(page.locator(f"{TAB}-trained [role=status]")).to_have_text(count)
    until(page, lambda: names(page) == list(expected))


def test_pictures_of_another_day_are_found_and_used(chromium, url, day):
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?tab=history")
        expect(page.locator(".not-taken")).to_have_count(0)
        expect(page.locator(f"{TAB}-trained")).to_contain_text(re.compile("Looking|picture"))
        find_and_use(page)
        send_on(page)
        take_out(page, day)


def test_the_first_picture_of_each_day_says_which_that_is(chromium, url, data_dir):
    folder, request = data_dir / "outputs", TextToImage(prompt="an ibex", seed=1)
    for name in ("2001-11-23/1.png", "2001-11-23/2.png", f"{datetime.now().year}-01-01/3.png"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        metadata.save(folder / name, np.zeros((8, 8, 3), np.uint8), request)
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?tab=history")
        search(page, "ibex")
        expect_found(page, "3 pictures", *["an ibex"] * 3)
        until(page, lambda: re.fullmatch(r"\w{3} 1 Jan\|23 Nov 2001\|", days(page)))
        assert "23 Nov 2001" in page.locator(FOUND).nth(1).evaluate(
            "one => getComputedStyle(one, '::before').content"
        )
        search(page, "ibex 23 november")
        expect_found(page, "2 pictures", *["an ibex"] * 2)
        until(page, lambda: days(page) == "23 Nov 2001|")


def days(page):
    found = page.locator(FOUND).evaluate_all("all => all.map((one) => one.dataset.day ?? '')")
    return "|".join(found)


def test_a_favourite_is_starred_and_found(chromium, url, data_dir):
    folder = data_dir / "outputs" / "2001-05-06"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        request = TextToImage(prompt=f"an okapi {number}", seed=number, **COMMON)
        metadata.save(folder / f"{number}.png", np.zeros((8, 8, 3), np.uint8), request)
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?tab=history")
        search(page, "okapi")
        expect_found(page, "3 pictures", "an okapi 3", "an okapi 2", "an okapi 1")
        star, starred = page.locator(f"{TAB}-star"), page.locator(f"{FOUND}[data-star]")
        page.locator(FOUND).nth(1).click()
        expect(page.locator(f"{TAB}-plate .title")).to_have_text("an okapi 2")
        expect(star).to_have_text("☆ Favourite")
        star.click()
        expect(star).to_have_text("★ Favourite")
        expect(starred).to_have_count(1)
        assert "★" in starred.evaluate("one => getComputedStyle(one, '::after').content")
        choose_shown(page, "Favourites")
        expect_found(page, "1 picture", "an okapi 2")
        page.locator(FOUND).first.click()
        star.click()
        expect(star).to_have_text("☆ Favourite")
        expect(starred).to_have_count(0)
        choose_shown(page, "All pictures")
        expect_found(page, "3 pictures", "an okapi 3", "an okapi 2", "an okapi 1")
        expect(starred).to_have_count(0)


def choose_shown(page, name):
    page.locator(f"{TAB}-task input").click()
    page.get_by_role("option", name=name, exact=True).click()


def find_and_use(page):
    search(page, "2001-02-03")
    expect_found(page, "4 pictures", "Grass at night", "a zebra & 3", "a zebra & 2", "a zebra & 1")
    search(page, "ZEBRA")
    expect_found(page, "3 pictures", "a zebra & 3", "a zebra & 2", "a zebra & 1")
    with page.expect_download() as event:
        page.locator(f"{TAB}-save", has_text="Download these 3").click()
    with zipfile.ZipFile(event.value.path()) as archive:
        assert archive.namelist() == [f"2001-02-03/{number}.png" for number in (3, 2, 1)]

    # the large one has a small picture in the row, and is itself on show and close up
    page.locator(FOUND).nth(1).click()
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("a zebra & 2")
    expect(page.locator(f"{TAB}-plate")).to_contain_text("Text to image, 20")
    page.locator(f"{TAB}-closer").click()
    page.keyboard.press("ArrowLeft")
    close = page.locator("dialog.closer img")
    until(page, lambda: close.get_attribute("src").endswith("/3.png"))
    page.locator("dialog.closer .close").click()
    expect(page.locator(f"{FOUND}[aria-current] img")).to_have_attribute(
        "src", re.compile(r"\.jpg$")
    )
    assert page.locator(PICTURE).evaluate("img => img.naturalWidth") == 512

    page.locator(FOUND).nth(2).click()
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("a zebra & 1")
    page.locator(f"{TAB}-reopen").click()
    expect(page.locator("#text-to-image-prompt textarea")).to_have_value("a zebra & 1")
    expect(page.locator("#text-to-image-plate .title")).to_have_text("a zebra & 1")
    page.locator("#text-to-image-undo").click()
    expect(page.locator("#text-to-image-prompt textarea")).to_have_value("")

    page.locator("#tab-history-button").click()
    page.locator(f"{TAB}-to-upscale").click()
    expect(page.locator("#upscale-image img")).to_be_visible()


def send_on(page):
    """Into a tab that was not open since the page was loaded: what was there can be had back."""
    page.locator("#tab-history-button").click()
    page.locator(f"{TAB}-to-inpaint").click()
    expect(page.locator("#inpaint-painting .about")).to_contain_text("64 × 64 px")
    wait_kept(page, "inpaint-painting")
    open_page(page, page.url.split("?")[0])
    opened = page.locator("#tab-inpaint-button")  # the tab it was sent to, by no click on that
    expect(opened).to_have_attribute("aria-selected", "true")
    page.locator("#tab-history-button").click()
    search(page, "ZEBRA")
    expect_found(page, "3 pictures", "a zebra & 3", "a zebra & 2", "a zebra & 1")
    page.locator(FOUND).nth(0).click()
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("a zebra & 3")
    page.locator(f"{TAB}-to-inpaint").click()
    expect(page.locator("#inpaint-painting .about")).to_contain_text("512 × 512 px")
    page.locator("#inpaint-painting [data-do=undo]").click()
    expect(page.locator("#inpaint-painting .about")).to_contain_text("64 × 64 px")
    page.locator("#tab-history-button").click()
    page.locator(FOUND).nth(2).click()
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("a zebra & 1")


def take_out(page, day):
    """The one on show is removed, its neighbour comes on show, and it comes back."""
    page.locator("#tab-history-button").click()
    page.locator(f"{TAB}-take-out").click()
    expect_found(page, "2 pictures", "a zebra & 3", "a zebra & 2")
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("a zebra & 2")
    page.reload()  # also in another visit
    page.locator("body[data-ready]").wait_for()
    page.locator("#tab-history-button").click()
    search(page, "zebra")
    expect_found(page, "2 pictures", "a zebra & 3", "a zebra & 2")
    page.locator(f"{TAB}-back", has_text="(1)").click()
    expect_found(page, "3 pictures", "a zebra & 3", "a zebra & 2", "a zebra & 1")
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("a zebra & 1")
    expect(page.locator(f"{TAB}-back")).to_be_hidden()

    # a file that is taken out of the folder is gone from here too
    (day / "1.png").unlink()
    page.locator("#tab-upscale-button").click()
    page.locator("#tab-history-button").click()
    expect_found(page, "2 pictures", "a zebra & 3", "a zebra & 2")
    (day / "2.png").unlink()
    page.locator(FOUND).nth(1).click()
    expect(page.locator(".toast-body")).to_contain_text("2.png is not in its folder any more.")
    search(page, "zebra unicorn")
    expect(page.locator(f"{TAB}-trained")).to_contain_text("No picture has all of this")
    for part in (PICTURE, f"{TAB}-take-out", f"{TAB}-plate", f"{TAB}-results .empty"):
        expect(page.locator(part)).to_be_hidden()
