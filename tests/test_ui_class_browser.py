"""The class tab of the real page with the shipped model."""

import re

import pytest
from playwright.sync_api import expect

from ldm.catalog.registry import load_preset
from ldm.outputs import metadata
from tests.browser import IN_A_BROWSER, newest, open_tab, press_generate, set_steps, wait_done

PRESET = load_preset("demo-class-conditional")
pytestmark = [
    *IN_A_BROWSER,
    pytest.mark.skipif(not PRESET.is_on_disk, reason=f"{PRESET.name} has no weights yet"),
]


def test_a_class_any_class_and_a_thousand(page, tmp_path):
    open_tab(page, "class-conditional")
    tiles = page.locator("#class-conditional-class-index .tile")
    expect(tiles).to_have_count(17)
    tiles.first.focus()  # any class, on a row of its own
    for key, checked in (("ArrowDown", 1), ("ArrowRight", 2), ("ArrowDown", 6), ("ArrowUp", 2)):
        page.keyboard.press(key)
        expect(tiles.nth(checked)).to_have_attribute("aria-checked", "true")
    for key, checked in (("ArrowUp", 0), ("End", 16), ("Home", 0)):
        page.keyboard.press(key)
        expect(tiles.nth(checked)).to_have_attribute("aria-checked", "true")
    tiles.filter(has_text="snow at night").click()
    set_steps(page, "class-conditional", 2)
    press_generate(page, "class-conditional")
    wait_done(page, "class-conditional")
    results = page.locator("#class-conditional-results img")
    expect(results).to_have_count(4)
    expect(page.locator("#class-conditional-plate")).to_contain_text("Snow at night")
    path = newest(page, "class-conditional", tmp_path / "result.png")
    assert metadata.load(path).request.class_index == PRESET.classes.index("snow at night")

    tiles.first.click()  # any class
    press_generate(page, "class-conditional")
    wait_done(page, "class-conditional")
    expect(results).to_have_count(8)
    expect(page.locator("#class-conditional-plate")).to_contain_text("Any class")
    page.locator("#class-conditional-tools input[type=file]").first.set_input_files(path)
    expect(tiles.filter(has_text="snow at night")).to_have_attribute("aria-checked", "true")
    expect(page.locator("#class-conditional-plate")).to_contain_text("Snow at night")  # on show

    page.locator("#class-conditional-preset input").click()
    page.get_by_role("option", name=re.compile("CelebA")).click()
    expect(tiles).to_have_count(1)
    expect(tiles).to_have_attribute("aria-checked", "true")
    expect(tiles).to_have_text("This model knows no classes")
    expect(page.locator("#class-conditional-class-index .note")).to_be_hidden()
    page.locator("#class-conditional-preset input").click()
    page.get_by_role("option", name=re.compile("LDM-4-G")).click()
    search = page.locator("#class-conditional-class-index input[type=search]")
    search.fill("volcano")
    search.press("Enter")
    expect(tiles.filter(has_text="980 volcano")).to_have_attribute("aria-checked", "true")
