"""Picture the page for docs/screenshots: `python docs/screenshots.py` while the app runs.

Needs tests/requirements.txt and Chromium.
"""

import argparse
import os
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "screenshots"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SHOTS = {"light": (1440, 960), "dark": (1440, 960), "phone": (390, 844)}
PROMPTS = (
    ("a snowy field at night, the moon, mountains", 12),
    ("two pine trees, a green meadow, white clouds in the afternoon", 11),
    ("snow covered ground, distant mountains, falling snow by day", 12),
    ("an autumn field, low hills, clear sky at sunrise", 13),
    ("a sandy beach, still water, the sun in the sky at noon", 11),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    url = parser.parse_args().url
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for name, (width, height) in SHOTS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if name == "dark" else "light",
                device_scale_factor=2 if name == "phone" else 1,
            )
            page = context.new_page()
            page.goto(url)
            page.locator("body[data-ready]").wait_for()
            page.locator("button.ratio-3-2").click()
            for prompt, seed in PROMPTS:
                make(page, prompt, seed)
            page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
            page.wait_for_timeout(800)
            page.screenshot(path=FOLDER / f"{name}.png")
            context.close()
        browser.close()


def make(page: Page, prompt: str, seed: int) -> None:
    """Type, press Generate and wait for the picture."""
    page.locator("#text-to-image-prompt textarea").fill(prompt)
    page.locator("#text-to-image-seed textarea, #text-to-image-seed input").first.fill(str(seed))
    page.locator("#text-to-image-go:not([disabled])").click()
    page.locator(".strip.busy").wait_for()
    page.locator(".strip.done").wait_for(timeout=60_000)
    page.locator("#text-to-image-go:not([disabled])").wait_for()


if __name__ == "__main__":
    main()
