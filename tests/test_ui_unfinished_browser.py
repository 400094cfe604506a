"""A run that is cancelled on the page goes on there, also after a reload; or is let go of."""

import re

from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, RUN_MS, set_steps, until

pytestmark = IN_A_BROWSER
TAB, TASK = "#class-conditional", "class-conditional"


def step_of(page):
    """The step that the strip tells of."""
    found = re.search(r"tep (\d+) of 1000", page.locator(f"{TAB}-strip").inner_text())
    return int(found[1]) if found else 0


def cancel(page):
    page.locator(f"{TAB}-stop").click()
    expect(page.locator(f"{TAB}-strip .what")).to_contain_text("Stopped after step")
    return step_of(page)


def test_it_goes_on_or_is_discarded(page, data_dir):
    page.locator(f"#tab-{TASK}-button").click()
    set_steps(page, TASK, 1000)
    expect(page.locator(f"{TAB}-go-on")).to_be_hidden()
    page.locator(f"{TAB}-go").click()
    until(page, lambda: step_of(page) > 1, RUN_MS)
    page.wait_for_timeout(5500)  # from here on it is worth to be kept
    first = cancel(page)
    assert len([*(data_dir / "unfinished").iterdir()]) == 1

    # a visitor who opens another tab first is told of it in this one
    page.locator("#tab-text-to-image-button").click()
    page.reload()
    page.locator(f"#tab-{TASK}-button").click()
    expect(page.locator(f"{TAB}-strip")).to_contain_text(f"Stopped after step {first} of 1000")
    expect(page.locator(f"{TAB}-strip")).to_contain_text("Any class")
    page.locator(f"{TAB}-go-on").click()
    expect(page.locator(f"{TAB}-go-on")).to_be_hidden()
    seen = []
    until(page, lambda: seen.append(step_of(page)) or seen[-1] > first, RUN_MS)
    assert min(step for step in seen if step) >= first
    assert cancel(page) > first

    page.wait_for_timeout(500)  # that it does not go cannot be waited for
    expect(page.locator(f"{TAB}-picture img")).to_be_visible()  # what there is of it
    expect(page.locator(f"{TAB}-plate .title")).to_have_count(0)
    page.locator(f"{TAB}-discard").click()
    expect(page.locator(f"{TAB}-go-on")).to_be_hidden()
    expect(page.locator(f"{TAB}-strip")).to_contain_text("Nothing is being made")
    expect(page.locator(f"{TAB}-picture img")).to_have_count(0)
    assert not [*(data_dir / "unfinished").glob("*")]
    page.reload()
    page.locator(f"#tab-{TASK}-button").click()
    expect(page.locator(f"{TAB}-go")).to_be_enabled()
    page.wait_for_timeout(500)
    expect(page.locator(f"{TAB}-go-on")).to_be_hidden()
