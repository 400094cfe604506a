"""The upscaling tab of the real page with the shipped model."""

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm.catalog.registry import load_preset
from ldm.outputs import metadata
from tests.browser import (
    IN_A_BROWSER,
    RUN_MS,
    newest,
    open_tab,
    press_generate,
    set_steps,
    until,
    wait_done,
    watch_jumps,
)

PRESET = load_preset("demo-upscale-bicubic")
pytestmark = [
    *IN_A_BROWSER,
    pytest.mark.skipif(not PRESET.is_on_disk, reason=f"{PRESET.name} has no weights yet"),
]


def test_enlarge_compare_and_restore(page, tmp_path):
    low = np.random.default_rng(0).integers(0, 256, (30, 45, 3), np.uint8)
    Image.fromarray(low).save(tmp_path / "low.png")
    (tmp_path / "text.png").write_text("no picture")
    open_tab(page, "upscale")
    press_generate(page, "upscale")
    page.locator("#upscale-strip", has_text="There is no picture yet").wait_for()
    upload = page.locator("#upscale-image input[type=file]")
    upload.set_input_files(tmp_path / "text.png")
    expect(page.locator(".toast-body")).to_contain_text("text.png is no readable picture")
    expect(page.locator("#upscale-image").get_by_label("Remove Image")).to_have_count(0)
    upload.set_input_files(tmp_path / "low.png")
    expect(page.locator("#upscale-image img")).to_be_visible()
    page.get_by_text("45 × 30 px becomes 180 × 120 px").wait_for()
    expect(page.locator("#upscale-strip .strip.failed")).to_be_hidden()
    set_steps(page, "upscale", 3)
    press_generate(page, "upscale")
    wait_done(page, "upscale")
    slider = page.locator("#upscale-slider img")
    expect(slider.first).to_be_visible()
    expect(page.locator("#upscale-wall")).to_be_hidden()
    before = slider.first.get_attribute("src"), slider.nth(1).get_attribute("src")
    page.locator("#upscale-plain").get_by_text("Lanczos").click()
    page.wait_for_function(
        "before => [...document.querySelectorAll('#upscale-slider img')]"
        ".filter((image) => !before.includes(image.getAttribute('src'))).length === 1",
        arg=list(before),
    )
    path = newest(page, "upscale", tmp_path / "result.png")
    request = metadata.load(path).request
    assert np.array_equal(request.image.array(), low)
    assert (Image.open(path).size, request.steps) == ((180, 120), 3)

    page.locator("#upscale-to-upscale").click()  # once more
    page.get_by_text("180 × 120 px becomes 720 × 480 px").wait_for()
    page.locator("#upscale-tools input[type=file]").first.set_input_files(path)
    page.get_by_text("45 × 30 px becomes 180 × 120 px").wait_for()
    page.locator("#upscale-examples img").first.click()  # a sample
    page.get_by_text("64 × 40 px becomes 256 × 160 px").wait_for()
    page.locator("#upscale-undo").click()  # the picture comes back with its settings
    page.get_by_text("45 × 30 px becomes 180 × 120 px").wait_for()
    jumped = watch_jumps(page, "upscale")
    made = page.locator("#upscale-results img")
    first = made.get_attribute("src")
    press_generate(page, "upscale")
    until(page, lambda: made.get_attribute("src") != first, RUN_MS)
    expect(made).to_have_count(1)  # the same once more takes the place of the first
    wait_done(page, "upscale")
    expect(page.locator("#upscale-slider img").first).to_be_visible()
    assert jumped() < 2  # the choice of what it is compared with has its room before it comes
    path = newest(page, "upscale", tmp_path / "again.png")
    assert metadata.load(path).request == request
    page.locator("#upscale-examples img").first.click()  # what it shows is known
    page.get_by_text("64 × 40 px becomes 256 × 160 px").wait_for()
    press_generate(page, "upscale")
    said = page.locator("#upscale-plate .title")
    expect(said).to_have_text("houses below the mountains, 4 times as large", timeout=RUN_MS)
