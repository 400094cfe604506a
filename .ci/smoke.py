"""Make one picture through the running app's HTTP endpoint and one through its page."""

import os
import sys
import time
import urllib.request

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from gradio_client import Client
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM

URL = "http://127.0.0.1:7860"


def wait_for_page(seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(URL, timeout=5).read()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"the page did not answer within {seconds:.0f} s")


def picture_over_http() -> None:
    client = Client(URL, verbose=False, analytics_enabled=False)
    result = client.predict(prompt="a calm lake at sunset", seed=1, api_name="/text_to_image")
    path = result[-1] if isinstance(result, (list, tuple)) else result
    print("HTTP:", Image.open(path).size)


def picture_in_browser() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(URL)
        page.locator("#text-to-image-prompt textarea").fill("a red house in the snow at night")
        page.get_by_role("button", name="Generate", exact=True).click()
        page.locator("#text-to-image-results img").first.wait_for(timeout=120_000)
        print("browser: a picture is in the gallery")
        browser.close()


wait_for_page()
picture_over_http()
picture_in_browser()
