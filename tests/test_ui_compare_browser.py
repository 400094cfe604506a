"""Several values of a setting side by side: a sheet, and its pictures in the row."""

import pytest
from playwright.sync_api import expect

from ldm.outputs import metadata
from tests.browser import (
    IN_A_BROWSER,
    RUN_MS,
    newest,
    open_tab,
    press_generate,
    set_steps,
    wait_done,
)

pytestmark = IN_A_BROWSER
TAB, TASK = "#text-to-image", "text-to-image"


def compare_two_seeds(page, task):
    page.locator(f"#{task}-comparing button").first.press("Enter")
    page.wait_for_timeout(500)  # what opens is drawn anew
    page.locator(f"#{task}-across input").click()
    page.get_by_role("option", name="Seed", exact=True).click()
    values = page.locator(f"#{task}-across-values :is(input, textarea)")
    expect(values).to_have_value("1, 2, 3, 4")
    values.fill("1, 2")
    values.press("Tab")
    page.wait_for_timeout(200)  # as long as a hand takes to the next button
    press_generate(page, task, "comparing-go")
    wait_done(page, task)


def expect_offered(page, of_one: bool):
    """What is for one picture is not offered for a sheet."""
    for name in ("vary", "see", "to-inpaint", "to-upscale", "to-text-to-image"):
        expect(page.locator(f"{TAB}-{name}")).to_be_visible(visible=of_one)
    for name in ("use", "closer"):
        expect(page.locator(f"{TAB}-{name}")).to_be_visible()


@pytest.mark.opens("/?width=128&height=128")
def test_settings_are_compared(page, tmp_path):
    told = page.locator(f"{TAB}-comparing-estimate")
    page.locator(f"{TAB}-comparing button").first.press("Enter")
    expect(told).to_contain_text("4 pictures, about", timeout=RUN_MS)
    assert "never seen" not in told.text_content()  # of the text that stands for none
    page.locator(f"{TAB}-prompt textarea").fill("snow at night")
    across = page.locator(f"{TAB}-across-values input, {TAB}-across-values textarea")
    page.wait_for_timeout(500)  # what opens is drawn anew; typing before that is lost
    expect(across).to_have_value("5, 10, 20, 40")
    page.locator(f"{TAB}-down input").click()
    page.get_by_role("option", name="Sampler", exact=True).click()
    down = page.locator(f"{TAB}-down-values input, {TAB}-down-values textarea")
    expect(down).to_have_value("ddim, dpmpp_2m, unipc, plms, ddpm")  # all there are
    down.fill("ddim, plms")
    across.fill("2, 0")
    expect(told).to_have_text("Steps must be 1 to 1000, got 0.")
    press_generate(page, TASK, "comparing-go")
    strip = page.locator(f"{TAB}-strip")
    expect(strip).to_contain_text("Steps must be 1 to 1000, got 0.")

    across.fill("2, 3, 4")
    expect(told).to_contain_text("6 pictures, about")
    across.fill("2, 3")
    across.press("Tab")
    expect(told).to_contain_text("4 pictures, about")
    page.wait_for_timeout(200)  # as long as a hand takes to the next button
    press_generate(page, TASK, "comparing-go")
    expect(page.locator(f"{TAB}-go")).to_have_text("Add to queue")
    expect(strip).to_contain_text("4 pictures and a sheet of them", timeout=RUN_MS)
    wait_done(page, TASK)
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("snow at night")
    expect(page.locator(f"{TAB}-plate")).to_contain_text("Steps 2, 3 · Sampler DDIM, PLMS · seed")
    pictures = page.locator(f"{TAB}-results img")
    expect(pictures).to_have_count(5)
    sheet = metadata.load(newest(page, TASK, tmp_path / "sheet.png"))
    assert sheet.compared == {"steps": [2, 3], "sampler": ["ddim", "plms"]}
    pictures.nth(3).click()
    expect(page.locator(f"{TAB}-plate")).to_contain_text("2 steps of PLMS")

    # what is compared comes back with the sheet, and stays across a reload
    across.fill("7, 8")
    page.locator(f"{TAB}-down input").click()
    page.get_by_role("option", name="Nothing", exact=True).click()
    expect(down).to_have_value("")
    page.locator(f"{TAB}-comparing button").first.press("Enter")
    expect(across).to_be_hidden()
    page.locator(f"{TAB}-tools input[type=file]").first.set_input_files(tmp_path / "sheet.png")
    expect(page.locator(f"{TAB}-plate")).to_contain_text("Steps 2, 3 · Sampler DDIM, PLMS · seed")
    for _ in range(2):
        expect(across).to_have_value("2, 3")
        expect(down).to_have_value("ddim, plms")
        expect(page.locator(f"{TAB}-down input")).to_have_value("Sampler")
        page.reload()
        page.locator("body[data-ready]").wait_for()
    expect(pictures).to_have_count(5)

    expect_offered(page, of_one=False)
    pictures.nth(3).click()
    expect_offered(page, of_one=True)
    pictures.first.click()
    expect_offered(page, of_one=False)
    expect(page.locator(f"{TAB}-go")).to_have_text("Generate")


def test_a_sheet_of_layouts_is_seen_and_has_no_boxes(page):
    open_tab(page, "layout")
    page.locator("#layout-examples button.thumbnail-lg").first.click()
    expect(page.locator("#layout-boxes li")).to_have_count(4)
    set_steps(page, "layout", 1)
    compare_two_seeds(page, "layout")
    expect(page.locator("#layout-plate")).to_contain_text("Seed 1, 2")
    expect(page.locator("#layout-picture img")).to_be_visible()
    expect(page.locator("#layout-boxes .picture")).to_be_hidden()
    page.locator("#layout-results button.thumbnail-lg").nth(1).click()
    expect(page.locator("#layout-boxes .picture")).to_be_visible()
    expect(page.locator("#layout-picture img")).to_be_hidden()


def test_a_sheet_stands_where_others_are_seen_beside_what_was(page):
    open_tab(page, "upscale")
    page.locator("#upscale-examples button.thumbnail-lg").first.click()
    expect(page.locator("#upscale-image img")).to_be_visible()
    set_steps(page, "upscale", 2)
    compare_two_seeds(page, "upscale")
    expect(page.locator("#upscale-plate")).to_contain_text("Seed 1, 2")
    expect(page.locator("#upscale-picture img")).to_be_visible()
    expect(page.locator("#upscale-compare")).to_be_hidden()
    page.locator("#upscale-results button.thumbnail-lg").nth(1).click()
    expect(page.locator("#upscale-compare")).to_be_visible()
    expect(page.locator("#upscale-picture img")).to_be_hidden()
