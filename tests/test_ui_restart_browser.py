"""An open page and an app that is started anew on its port."""

from playwright.sync_api import expect

from tests.browser import (
    IN_A_BROWSER,
    free_port,
    open_page,
    press_generate,
    running_app,
    set_steps,
    until,
    visit,
    wait_done,
)

pytestmark = IN_A_BROWSER
TAB, TASK = "#text-to-image", "text-to-image"
# the page looks for a new app at most every five seconds
LATER = "(now => { performance.now = () => now() + 5100; })(performance.now.bind(performance))"


def test_an_open_page_finds_its_pictures_after_the_app_was_started_anew(chromium, tmp_path):
    port = free_port()
    with visit(chromium, f"http://127.0.0.1:{port}") as page:
        with running_app(tmp_path, port) as address:
            open_page(page, f"{address}/?width=128&height=128")
            set_steps(page, TASK, 1)
            for words in ("a lake at night", "snow by day", "sand by day"):
                page.locator(f"{TAB}-prompt textarea").fill(words)
                press_generate(page, TASK)
                expect(page.locator(f"{TAB}-plate .title")).to_have_text(words)
            wait_done(page, TASK)
            page.locator(f"{TAB}-remove").click()
            expect(page.locator(f"{TAB}-results img")).to_have_count(2)
            page.evaluate("window.isOld = true")
            page.wait_for_timeout(1000)  # else Gradio itself loads the page again
        with running_app(tmp_path, port):
            page.evaluate(LATER)
            page.locator(f"{TAB}-results img").nth(1).click()
            page.wait_for_function("() => !window.isOld && document.body?.dataset.ready")
            expect(page.locator(f"{TAB}-results img")).to_have_count(2)
            expect(page.locator(f"{TAB}-plate .title")).to_have_text("snow by day")
            expect(page.locator(f"{TAB}-prompt textarea")).to_have_value("sand by day")
            page.locator(f"{TAB}-results img").nth(1).click()
            expect(page.locator(f"{TAB}-plate .title")).to_have_text("a lake at night")
            page.locator(f"{TAB}-back", has_text="(1)").click()  # what was removed before it, too
            expect(page.locator(f"{TAB}-results img")).to_have_count(3)
            page.goto("about:blank")  # before the app ends


def test_another_app_is_taken_for_new_once_and_what_is_none_never(page):
    """A gate in between may answer with a page of its own, and several apps by turns."""
    answers, loads = ["<!DOCTYPE html>", '{"app_id": 1}', '{"app_id": 1}', "{}"], []
    page.route("**/app_id", lambda route: route.fulfill(body=answers.pop(0)))
    page.on("load", lambda: loads.append(len(answers)))
    for left in (3, 2, 1, 0):
        page.evaluate(LATER)
        # not at once: what it does may end the page that it is asked of
        page.evaluate("setTimeout(() => dispatchEvent(new Event('focus')), 50)")
        until(page, lambda left=left: len(answers) == left)
        page.locator("body[data-ready]").wait_for()
    page.wait_for_timeout(500)
    assert loads == [2]
