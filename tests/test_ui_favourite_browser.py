"""The star on a picture that was just made, and in the history."""

import pytest
from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, open_tab, press_generate, set_steps, wait_done

pytestmark = IN_A_BROWSER
TAB, TASK = "#text-to-image", "text-to-image"
NONE, ONE = "☆ Favourite", "★ Favourite"


@pytest.mark.opens("/?width=128&height=128")
def test_a_picture_on_show_becomes_a_favourite(page, data_dir):
    star = page.locator(f"{TAB}-star")
    set_steps(page, TASK, 1)
    for words in ("a lake at night", "snow by day"):
        page.locator(f"{TAB}-prompt textarea").fill(words)
        press_generate(page, TASK)
        expect(page.locator(f"{TAB}-plate .title")).to_have_text(words)
        expect(star).to_have_text(NONE)
    wait_done(page, TASK)
    expect(star).to_be_enabled()
    expect(star).to_have_attribute("aria-pressed", "false")
    star.click()
    expect(star).to_have_text(ONE)
    expect(star).to_have_attribute("aria-pressed", "true")
    assert len((data_dir / "favourites.txt").read_text().split()) == 1
    page.locator(f"{TAB}-results img").nth(1).click()
    expect(star).to_have_text(NONE)
    page.locator(f"{TAB}-results img").first.click()
    expect(star).to_have_text(ONE)
    page.reload()
    page.locator("body[data-ready]").wait_for()
    expect(star).to_have_text(ONE)

    # an equal picture is another file
    page.locator(f"{TAB}-seed :is(input, textarea)").fill("5")
    for _ in range(2):
        press_generate(page, TASK)
        expect(page.locator(f"{TAB}-plate")).to_contain_text("seed 5")
        wait_done(page, TASK)
        expect(star).to_have_text(NONE)
        star.click()
        expect(star).to_have_text(ONE)
    star.click()
    expect(star).to_have_text(NONE)
    page.locator(f"{TAB}-results img").nth(1).click()
    expect(star).to_have_text(ONE)

    open_history = page.locator("#tab-history-button")
    open_history.click()
    page.locator("#history-results button.thumbnail-lg").nth(1).click()
    expect(page.locator("#history-plate .title")).to_have_text("snow by day")
    expect(page.locator("#history-star")).to_have_text(ONE)
    page.locator("#history-star").click()
    expect(page.locator("#history-star")).to_have_text(NONE)
    expect(page.locator("#history-star")).to_have_text(NONE)

    open_tab(page, "layout")  # nothing is on show, or an example that was not made here
    page.locator("#layout-examples button.thumbnail-lg").first.click()
    expect(page.locator("#layout-star")).to_be_hidden()
    open_tab(page, "semantic")
    page.locator("#semantic-examples button.thumbnail-lg").first.click()
    expect(page.locator("#semantic-plate .title")).to_be_visible()
    expect(page.locator("#semantic-star")).to_be_disabled()
