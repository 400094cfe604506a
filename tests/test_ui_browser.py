"""The real page with the shipped model, driven in Chromium as a person would."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from ldm import metadata
from ldm.requests import TextToImage

ROOT = Path(__file__).parents[1]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
REQUIRED = os.environ.get("LATENT_CANVAS_REQUIRE_BROWSER") == "1"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists() and not REQUIRED, reason="no browser here"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The app as a person starts it, on a free port."""
    port, data = free_port(), tmp_path_factory.mktemp("data")
    command = [sys.executable, "app.py", "--port", str(port), "--data-dir", str(data)]
    app = subprocess.Popen(command, cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, app)
        yield address
    finally:
        app.terminate()
        app.wait(20)


def _wait_for(address: str, app: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert app.poll() is None, "the app ended"
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the page did not answer")


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (a browser may be missing)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, url):
    """A fresh visitor; any request to another host and any script error is a failure."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(30_000)
    page = context.new_page()
    foreign, errors = [], []
    own = (url, "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else foreign.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_page(page, url)
    yield page
    context.close()
    assert foreign == []
    assert errors == []


def open_page(page, address: str) -> None:
    page.goto(address)
    page.locator("#go").wait_for()
    page.locator("body[data-ready]").wait_for()  # it has recalled its settings


def prompt(page):
    return page.locator("#field-prompt textarea")


def number(page, name: str):
    return page.locator(f"#field-{name} input").first


def set_steps(page, steps: int) -> None:
    if not number(page, "steps").is_visible():
        page.locator("#sampling button").first.click()
        page.wait_for_timeout(500)  # what opens is drawn anew; typing before that is lost
    number(page, "steps").fill(str(steps))
    number(page, "steps").press("Tab")
    page.wait_for_timeout(200)  # as long as a hand takes to the next button


def wait_done(page) -> None:
    page.locator(".strip.done").wait_for()
    page.locator("#go:not([disabled])").wait_for()


def test_generate_with_previews_then_restore_the_png(page, tmp_path):
    prompt(page).fill("a calm lake at sunset")
    page.locator("#field-seed textarea, #field-seed input").first.fill("7")
    set_steps(page, 40)
    page.locator("#go").click()
    previews = set()
    while not page.locator(".strip.done").count():
        source = page.locator("#picture img")
        if source.count():
            previews.add(source.first.get_attribute("src", timeout=5000))
        page.wait_for_timeout(40)
    wait_done(page)
    assert len(previews) >= 3  # at least two previews and the picture itself
    assert page.locator("#results img").count() == 1
    with page.expect_download() as download:
        page.locator("#picture [aria-label*='ownload'], #picture a[download]").first.click()
    path = tmp_path / "picture.png"
    download.value.save_as(path)
    request = metadata.load(path).request
    assert isinstance(request, TextToImage)
    assert (request.prompt, request.seed, request.steps) == ("a calm lake at sunset", 7, 40)

    prompt(page).fill("something else")
    page.locator("#restore input[type=file], input[type=file]").first.set_input_files(path)
    page.wait_for_function(
        "document.querySelector('#field-prompt textarea').value === 'a calm lake at sunset'"
    )
    assert page.locator("#field-seed textarea, #field-seed input").first.input_value() == "7"


def test_cancel_and_go_on(page):
    prompt(page).fill("mountains at night")
    set_steps(page, 250)
    page.locator("#go").click()
    page.get_by_text(re.compile(r"Step \d+ of 250")).wait_for()
    page.locator("#stop").click()
    page.get_by_text("Cancelled").wait_for()
    assert page.locator("#results img").count() == 0
    set_steps(page, 4)
    page.locator("#go:not([disabled])").click()
    wait_done(page)
    assert page.locator("#results img").count() == 1


def test_wrong_input_is_a_sentence_and_loses_nothing(page):
    prompt(page).fill("a beach")
    set_steps(page, 3)
    page.keyboard.press("Control+Enter")
    wait_done(page)
    number(page, "width").fill("130")
    page.locator("#go").click()
    page.get_by_text(re.compile("width must be a multiple of 16 px")).first.wait_for()
    prompt(page).fill("")
    page.locator("#go:not([disabled])").click()
    page.get_by_text(re.compile("prompt must say what to draw")).first.wait_for()
    assert page.locator("#results img").count() == 1


def test_settings_survive_a_reload_and_a_link_wins(page, url):
    prompt(page).fill("two pine trees in the snow")
    number(page, "width").fill("256")
    number(page, "width").press("Tab")
    page.wait_for_function(
        "(localStorage.getItem('latent-canvas-text-to-image')||'').includes('256')"
    )
    page.reload()
    page.wait_for_function(
        "document.querySelector('#field-prompt textarea')?.value === 'two pine trees in the snow'"
    )
    assert number(page, "width").input_value() == "256"
    page.goto(f"{url}/?prompt=a+red+house&seed=5")
    page.wait_for_function(
        "document.querySelector('#field-prompt textarea')?.value === 'a red house'"
    )
    assert page.locator("#field-seed textarea, #field-seed input").first.input_value() == "5"


def test_a_phone_needs_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_picture_made_elsewhere_is_refused(page, tmp_path):
    path = tmp_path / "foreign.png"
    Image.new("RGB", (8, 8)).save(path)
    page.locator("#restore input[type=file], input[type=file]").first.set_input_files(path)
    page.get_by_text(re.compile("carries no parameters")).first.wait_for()


def test_the_endpoint_takes_the_requests_fields(url, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    from gradio_client import Client  # noqa: PLC0415  (after the environment is set)
    from gradio_client.exceptions import AppError  # noqa: PLC0415

    client = Client(url, verbose=False, analytics_enabled=False)
    result = client.predict(prompt="a beach", steps=3, seed=9, api_name="/text_to_image")
    request = metadata.load(Path(result[-1])).request
    assert (request.prompt, request.steps, request.seed) == ("a beach", 3, 9)
    with pytest.raises(AppError, match="steps must be 1 to 1000"):
        client.predict(prompt="a beach", steps=0, api_name="/text_to_image")
