"""A browser that lets the page remember nothing, as in a frame of another site, or no more."""

import pytest
from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, open_page, open_tab

pytestmark = IN_A_BROWSER
REFUSED = """
  const refuse = () => { throw new DOMException("Access is denied", "SecurityError"); };
  for (const name of ["sessionStorage", "localStorage", "indexedDB"]) {
    Object.defineProperty(window, name, { get: refuse });
  }"""
FULL = """
  const refuse = () => { throw new DOMException("It is full", "QuotaExceededError"); };
  Storage.prototype.setItem = refuse;"""


@pytest.mark.opens(None)
@pytest.mark.parametrize("storage", [REFUSED, FULL], ids=["refused", "full"])
def test_the_page_works_where_nothing_can_be_kept(page, url, storage):
    page.add_init_script(storage)
    open_page(page, f"{url}/?tab=layout&steps=3")
    expect(page.locator("#layout-boxes .chip").first).to_be_visible()
    prompt, undo = page.locator("#text-to-image-prompt textarea"), "#text-to-image-undo"
    open_tab(page, "text-to-image")
    prompt.fill("my own words")
    page.locator("#text-to-image-examples button").first.click()
    page.locator(undo).click()
    expect(prompt).to_have_value("my own words")
    open_tab(page, "semantic")
    painter = page.locator("#semantic-label-map .painter")
    expect(painter).to_have_attribute("data-ready", "yes")
    expect(painter.locator(".note")).to_be_empty()
    painter.get_by_role("button", name="Fill all").click()
    page.wait_for_function("painter => painter.dataset.kept", arg=painter.element_handle())
    page.go_back()
    expect(prompt).to_be_visible()
