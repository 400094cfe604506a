"""Picture the page for docs/screenshots, while the app runs.

`PYTHONPATH=. python docs/screenshots.py` needs tests/requirements.txt and Chromium; with
`--only layout upscale` it makes some of the pictures.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import CHROMIUM

FOLDER = Path(__file__).parent / "screenshots"
WIDTH, HEIGHT = 384, 256  # px, of the pictures from prompts
SHOTS = {"light": (1440, 960), "dark": (1440, 960), "phone": (390, 844)}
PROMPTS = (
    ("several conifers, a snowy field at night, the moon, mountains", 12),
    ("a sandy beach, still water, the sun in the sky at noon", 11),
    ("several oaks, an autumn field, low hills, clear sky at noon", 11),
    ("several pines, a green meadow, white clouds in the afternoon", 13),
    ("a village in a snowy landscape, mountains, clear sky in the afternoon", 17),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    flags = parser.parse_args()
    url = flags.url
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for name, use in TABS.items():
            if name in flags.only:
                picture_tab(browser, url, name, use)
        for name, (width, height) in SHOTS.items():
            if name not in flags.only:
                continue
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if name == "dark" else "light",
                device_scale_factor=2 if name == "phone" else 1,
            )
            context.set_default_timeout(120_000)
            page = context.new_page()
            page.goto(url)
            page.locator("body[data-ready]").wait_for()
            for side, length in (("width", WIDTH), ("height", HEIGHT)):
                page.locator(f"#text-to-image-{side} input").first.fill(str(length))
            # one alone for the others, or the history would show each three times
            for prompt, seed in PROMPTS if name == "light" else PROMPTS[-1:]:
                make(page, prompt, seed)
            page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
            page.wait_for_timeout(800)
            page.screenshot(path=FOLDER / f"{name}.png")
            context.close()
        for name, use in LAST.items():
            if name in flags.only:
                picture_tab(browser, url, name, use)
        browser.close()


def picture_tab(browser: Browser, url: str, name: str, use: Callable[[Page], None]) -> None:
    """Open the page, use a tab and take its screenshot."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(url)
    page.locator("body[data-ready]").wait_for()
    use(page)  # the first run is what the next one's estimate learns from
    page.reload()
    page.locator("body[data-ready]").wait_for()
    use(page)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.wait_for_timeout(1200)
    page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


def generate(page: Page, task: str, seed: int) -> None:
    """Press Generate on a tab and wait for its picture."""
    page.locator(f"#{task}-seed textarea, #{task}-seed input").first.fill(str(seed))
    page.locator(f"#{task}-go:not([disabled])").click()
    page.locator(f"#{task}-strip .strip.busy").wait_for()  # not the run before
    page.locator(f"#{task}-strip .strip.done").wait_for()
    page.locator(f"#{task}-go:not([disabled])").wait_for()


def use_layout(page: Page) -> None:
    """Generate a scene from boxes; the boxes lie over it."""
    page.locator("#tab-layout-button").click()
    page.locator("#layout-examples img").first.click()
    page.locator("#layout-boxes [data-part=count]", has_text="4 of").wait_for()
    generate(page, "layout", 3)
    page.locator("#layout-boxes li .swatch").last.click()


def use_upscale(page: Page) -> None:
    """Enlarge a small picture four times, shown beside bicubic interpolation."""
    page.locator("#tab-upscale-button").click()
    page.locator("#upscale-examples img").first.click()
    page.get_by_text("becomes").wait_for()
    generate(page, "upscale", 1)


def use_classes(page: Page) -> None:
    """Generate pictures of two classes."""
    page.locator("#tab-class-conditional-button").click()
    for name, seed in (("snow at sunset", 2), ("autumn by day", 1)):
        page.locator("#class-conditional-class-index .tile", has_text=name).click()
        generate(page, "class-conditional", seed)


def use_inpaint(page: Page) -> None:
    """Replace a sky, and show the slider between before and after."""
    page.locator("#tab-inpaint-button").click()
    page.locator("#inpaint-examples img").last.click()
    page.locator("#inpaint-painting .painter.filled").wait_for()
    generate(page, "inpaint", 1)
    page.locator("#inpaint-slider img").first.wait_for()


def use_semantic(page: Page) -> None:
    """Generate a picture from one of the maps."""
    page.locator("#tab-semantic-button").click()
    page.locator("#semantic-label-map .painter[data-ready]").wait_for()
    page.locator("#semantic-examples img").nth(4).click()
    page.locator("#semantic-label-map .about", has_text="256 × 160 px · 7 classes").wait_for()
    generate(page, "semantic", 5)


def use_history(page: Page) -> None:
    """Show the pictures that the other tabs made, and one of them in detail."""
    page.locator("#tab-history-button").click()
    page.locator("#history-results img").nth(1).click()
    page.locator("#history-plate .plate").wait_for()


TABS = {
    "inpaint": use_inpaint,
    "semantic": use_semantic,
    "layout": use_layout,
    "upscale": use_upscale,
    "class": use_classes,
}
LAST = {"history": use_history}  # after the others, whose pictures it shows
NAMES = (*SHOTS, *TABS, *LAST)


def make(page: Page, prompt: str, seed: int) -> None:
    """Enter a prompt, press Generate and wait for the picture."""
    page.locator("#text-to-image-prompt textarea").fill(prompt)
    generate(page, "text-to-image", seed)


if __name__ == "__main__":
    main()
