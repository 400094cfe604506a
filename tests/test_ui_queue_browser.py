"""Runs that are asked for while another one works: they wait in the tab's queue."""

import re

from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, RUN_MS, TWICE_MS, press_generate, set_steps

pytestmark = IN_A_BROWSER
TAB, TASK = "#text-to-image", "text-to-image"
LONG = 400  # steps: long enough for a hand to ask for more


def ask(page, words):
    page.locator(f"{TAB}-prompt textarea").fill(words)
    press_generate(page, TASK)


def discard(page):
    """Let go of what was stopped, if it took long enough to be kept: other tests count it."""
    if page.locator(f"{TAB}-discard").is_visible():
        page.locator(f"{TAB}-discard").click()
        expect(page.locator(f"{TAB}-discard")).to_be_hidden()


def titles(page):
    page.wait_for_timeout(300)
    return [img.get_attribute("alt") for img in page.locator(f"{TAB}-results img").all()]


def test_what_is_asked_for_meanwhile_is_made_after_it(page):
    go, told = page.locator(f"{TAB}-go"), page.locator(f"{TAB}-waiting")
    set_steps(page, TASK, LONG)
    page.locator(f"{TAB}-prompt textarea").fill("a lake at night")
    go.dblclick()  # is one click
    expect(go).to_have_text("Add to queue")
    expect(page.locator(f"{TAB}-drop")).to_be_hidden()
    set_steps(page, TASK, 2)
    ask(page, "two houses at dawn")
    expect(told).to_have_text("1 more in the queue, next: two houses at dawn")
    ask(page, "snow by day")
    expect(told).to_contain_text("2 more in the queue")
    expect(told.locator("li span")).to_have_text(["two houses at dawn", "snow by day"])
    page.locator(f"{TAB}-seed input").fill("words")
    press_generate(page, TASK)  # what is wrong is told and disturbs nothing
    expect(page.locator(".toast-body")).to_contain_text("words")
    expect(told).to_contain_text("2 more in the queue")
    page.locator(f"{TAB}-seed input").fill("")

    page.reload()  # the queue is found again
    page.locator("body[data-ready]").wait_for()
    expect(told).to_contain_text("2 more in the queue")
    expect(told.locator("li span")).to_have_text(["two houses at dawn", "snow by day"])
    expect(go).to_have_text("Add to queue")
    page.locator(f"{TAB}-stop").click()  # ends the one that runs
    expect(go).to_have_text("Generate", timeout=RUN_MS)
    expect(told).to_be_hidden()
    expect(page.locator(f"{TAB}-results img")).to_have_count(2)
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("snow by day")
    assert [re.sub(",.*", "", name) for name in titles(page)] == [
        "snow by day",
        "two houses at dawn",
    ]
    discard(page)


def test_the_queue_is_emptied(page):
    """By keys, which what goes passes on to what is beside it."""
    set_steps(page, TASK, LONG)
    ask(page, "a lake at night")
    expect(page.locator(f"{TAB}-go")).to_have_text("Add to queue")
    set_steps(page, TASK, 1)
    ask(page, "snow by day")
    ask(page, "sand by day")
    ask(page, "a lake in fog")
    listed = page.locator(f"{TAB}-waiting li span")
    expect(listed).to_have_text(["snow by day", "sand by day", "a lake in fog"])
    page.get_by_label("Take sand by day out of the queue").press("Enter")
    expect(listed).to_have_text(["snow by day", "a lake in fog"])
    expect(page.locator(f"{TAB}-waiting")).to_contain_text("2 more")
    expect(page.get_by_label("Take snow by day out of the queue")).to_be_focused()
    page.locator(f"{TAB}-drop").click()
    expect(page.locator(f"{TAB}-waiting")).to_be_hidden()
    expect(page.locator(f"{TAB}-drop")).to_be_hidden()
    expect(page.locator(f"{TAB}-strip [aria-valuetext^='Step ']")).to_be_visible()  # it goes on
    page.locator(f"{TAB}-stop").press("Enter")
    expect(page.locator(f"{TAB}-strip .what")).to_contain_text(re.compile("Stopped|Cancelled"))
    expect(page.locator(f"{TAB}-go")).to_have_text("Generate")
    expect(page.locator(f"{TAB}-go")).to_be_focused()
    page.wait_for_timeout(1500)  # a run that was not dropped would be over
    assert not titles(page)
    discard(page)


def test_another_picture_can_be_looked_at_while_a_run_works(page):
    set_steps(page, TASK, 2)
    ask(page, "sand by day")
    expect(page.locator(f"{TAB}-results img")).to_have_count(1, timeout=RUN_MS)
    set_steps(page, TASK, LONG)
    ask(page, "a lake at night")
    page.locator(f"{TAB}-strip .strip.previewed").wait_for()
    page.locator(f"{TAB}-results img").first.click()
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("sand by day")
    expect(page.locator(f"{TAB}-plate")).to_be_visible()
    shown = page.locator(f"{TAB}-picture img").get_attribute("src")
    page.wait_for_timeout(1500)  # a preview would have come meanwhile
    assert page.locator(f"{TAB}-picture img").get_attribute("src") == shown
    expect(page.locator(f"{TAB}-strip")).to_contain_text("Step ")
    page.locator(f"{TAB}-stop").click()
    expect(page.locator(f"{TAB}-go")).to_have_text("Generate")
    expect(page.locator(f"{TAB}-plate .title")).to_have_text("sand by day")
    discard(page)


def test_two_taps_and_a_key_that_is_held_are_one_run(page):
    """Both taps of a finger say that they are the first, and a key repeats itself."""
    set_steps(page, TASK, LONG)
    page.locator(f"{TAB}-prompt textarea").fill("a lake at night")
    go = page.locator(f"{TAB}-go")
    go.scroll_into_view_if_needed()
    box = go.bounding_box()
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(*at)
    page.mouse.click(*at)  # at once
    expect(go).to_have_text("Add to queue")
    page.wait_for_timeout(TWICE_MS)
    expect(page.locator(f"{TAB}-waiting")).to_be_hidden()
    go.focus()
    for _ in range(8):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    expect(page.locator(f"{TAB}-waiting")).to_contain_text("1 more in the queue")
    page.wait_for_timeout(500)
    expect(page.locator(f"{TAB}-waiting")).to_contain_text("1 more in the queue")
    page.locator(f"{TAB}-drop").click()
    page.locator(f"{TAB}-stop").click()
    expect(go).to_have_text("Generate")
    discard(page)
