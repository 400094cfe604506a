"""The row of what was made: which one is on show, one taken out and put back, all in one file."""

import re
import zipfile

import pytest
from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, open_page, press_generate, until, visit, wait_done

pytestmark = IN_A_BROWSER
TAB = "#text-to-image"
PICTURE = f"{TAB}-picture img"


@pytest.fixture
def made(chromium, url):
    """A page with three pictures, the newest on show."""
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?prompt=a+lake&width=64&height=64&steps=2&count=3&seed=1")
        press_generate(page, "text-to-image")
        wait_done(page, "text-to-image")
        expect(page.locator(f"{TAB}-results img")).to_have_count(3)
        yield page


def sources(page):
    return page.locator(f"{TAB}-results img").evaluate_all("all => all.map((one) => one.src)")


def expect_shown(page, source):
    """It is on show, and it alone has the ring."""
    expect(page.locator(PICTURE)).to_have_js_property("src", source)
    ringed = page.locator(f"{TAB}-results [aria-current=true] img")
    expect(ringed).to_have_count(1)
    expect(ringed).to_have_js_property("src", source)


def test_one_is_removed_and_comes_back(made, tmp_path):
    first, second, third = sources(made)
    expect_shown(made, first)
    name = made.locator(f"{TAB}-results button").nth(1).get_attribute("aria-label")
    assert name.startswith("a lake, seed 2 ")
    made.locator(f"{TAB}-results button").nth(1).click()
    expect_shown(made, second)

    made.locator(f"{TAB}-remove").click()
    expect_shown(made, third)
    assert sources(made) == [first, third]
    made.reload()
    expect(made.locator(f"{TAB}-results img")).to_have_count(2)
    expect(made.locator(f"{TAB}-strip")).to_contain_text("3 pictures in")
    with made.expect_download() as download:
        made.locator(f"{TAB}-save").click()
    download.value.save_as(tmp_path / "all.zip")
    names = zipfile.ZipFile(tmp_path / "all.zip").namelist()
    days, files = zip(*(name.split("/") for name in names), strict=True)
    assert list(files) == [source.split("/")[-1] for source in (first, third)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in days)

    made.locator(f"{TAB}-back", has_text="(1)").click()
    expect_shown(made, second)
    assert sources(made) == [first, second, third]
    expect(made.locator(f"{TAB}-back")).to_have_count(0)


def test_the_sheet_of_its_steps_joins_the_picture_that_is_there(made):
    first, second, third = sources(made)
    made.locator(f"{TAB}-see").click()
    expect(made.locator(f"{TAB}-results img")).to_have_count(4)
    wait_done(made, "text-to-image")
    names = made.locator(f"{TAB}-results button").evaluate_all(
        "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert [name.startswith("Sheet: a lake") for name in names] == [False, True, False, False]
    assert [name.split(", seed ")[1][0] for name in names if "Sheet" not in name] == ["1", "2", "3"]
    assert sources(made)[2:] == [second, third]
    film = made.request.get(sources(made)[0]).body()
    assert b"acTL" in film  # it plays
    download = made.locator(f"{TAB}-picture a[download]")
    expect(download).to_have_accessible_name("Download")
    expect(download.get_by_role("button")).to_have_count(0)
    sheet = made.locator(f"{TAB}-results [data-sheet] img")
    expect(sheet).to_have_css("object-fit", "cover")
    expect(sheet).to_have_count(1)

    sheet.click()
    expect(made.locator(f"{TAB}-plate")).to_contain_text("its steps")
    made.locator(f"{TAB}-closer").click()
    stand, arrow = (made.locator(f"dialog.closer {part}") for part in (".stand", ".turn.by1"))
    expect(arrow).to_be_visible()
    right = stand.bounding_box()["x"] + stand.bounding_box()["width"]
    assert right <= arrow.bounding_box()["x"]
    made.keyboard.press("Escape")
    made.locator("#tab-history-button").click()
    found = made.locator("#history-results img")
    made.locator("#history-search :is(input, textarea)").fill('today "2 steps of"')

    def names():
        return [url.split("/")[-1] for url in found.evaluate_all("all => all.map((i) => i.src)")]

    until(made, lambda: first.split("/")[-1] in names()[:4])
    assert names()[:4].count(first.split("/")[-1]) == 1  # and no other one was saved
    assert any(name.endswith("-steps-1.png") for name in names()[:2])


def test_the_arrow_keys_turn_to_the_next_picture_close_up(made):
    first, second, third = sources(made)
    made.locator(f"{TAB}-closer").click()
    close = made.locator("dialog.closer .stand img")
    made.keyboard.press("ArrowLeft")  # there is none before the first
    expect(close).to_have_js_property("src", first)
    made.keyboard.press("ArrowRight")
    expect(close).to_have_js_property("src", second)
    for key in ("Right", "Left", "Left", "Right", "Left"):  # faster than the tab follows
        made.keyboard.press(f"Arrow{key}")
    expect(close).to_have_js_property("src", first)
    expect_shown(made, first)
    hold, held = made.locator("dialog.closer .hold"), made.locator("dialog.closer .held")
    hold.click()  # the first one stays while others are turned to beside it
    made.keyboard.press("ArrowRight")
    expect(close).to_have_js_property("src", third)
    expect(held).to_have_js_property("src", first)
    left, right = held.bounding_box(), close.bounding_box()
    assert left["x"] + left["width"] < right["x"]
    assert left["width"] == pytest.approx(right["width"], rel=0.05)
    hold.click()
    expect(held).to_have_count(0)
    made.locator("dialog.closer .turn.by-1").click()  # it goes at the first picture, the keys stay
    expect(close).to_have_js_property("src", second)
    made.locator("dialog.closer .turn.by-1").click()
    expect(close).to_have_js_property("src", first)
    made.keyboard.press("ArrowRight")
    expect(close).to_have_js_property("src", second)
    made.keyboard.press("Escape")
    expect_shown(made, second)
    made.locator(f"{TAB}-to-upscale").press("Enter")
    expect(made.locator("#tab-upscale-button")).to_be_focused()
