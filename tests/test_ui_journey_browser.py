"""One picture through three tabs of the real page: made, changed by hand, enlarged."""

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm.outputs import metadata
from ldm.tasks.inpaint import changed, feathered
from tests.browser import IN_A_BROWSER, newest, press_generate, set_steps, wait_done
from tests.painting_hand import Hand

pytestmark = IN_A_BROWSER
CANVAS = "inpaint-painting"
WIDTH, HEIGHT = 96, 64
GROW, FEATHER = 2, 5
# What the painter shows, decoded by the browser: (height, width, 4)
SHOWN = f"""async () => {{
  const file = document.querySelector("#{CANVAS} .painter").painter.value.picture;
  const bitmap = await createImageBitmap(await (await fetch(file.url)).blob(), {{ colorSpaceConversion: "none" }});
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const {{ data, width, height }} = pen.getImageData(0, 0, bitmap.width, bitmap.height);
  return {{ data: [...data], width, height }};
}}"""  # noqa: E501


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def generate(page, task, steps, path):
    """Press Generate on a tab; gives the picture that comes and its request."""
    set_steps(page, task, steps)
    press_generate(page, task)
    wait_done(page, task)
    newest(page, task, path)
    return pixels(path), metadata.load(path).request


def expect_tab(page, task):
    expect(page.locator(f"#tab-{task}-button")).to_have_attribute("aria-selected", "true")
    expect(page.locator(f"#{task}-go")).to_be_visible()


@pytest.mark.opens(f"/?prompt=a+lake&seed=4&width={WIDTH}&height={HEIGHT}")
def test_a_picture_is_made_then_filled_then_enlarged(page, tmp_path):
    sent, _ = generate(page, "text-to-image", 3, tmp_path / "made.png")
    assert sent.shape == (HEIGHT, WIDTH, 3)

    hand = Hand(page)
    page.locator("#text-to-image-to-inpaint").click()
    expect_tab(page, "inpaint")
    hand.take(CANVAS)
    expect(page.locator(f"#{CANVAS} .about")).to_contain_text(f"{WIDTH} × {HEIGHT} px · 0 % marked")
    arrived = page.evaluate(SHOWN)
    rgba = np.reshape(arrived["data"], (arrived["height"], arrived["width"], 4))
    np.testing.assert_array_equal(rgba[:, :, :3], sent)

    hand.labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    hand.brush((0.35, 0.4), (0.5, 0.6), (0.6, 0.5))
    for name, value in (("grow", GROW), ("feather", FEATHER)):
        page.locator(f"#inpaint-mask-{name} input[type=number]").fill(str(value))
        page.keyboard.press("Tab")
    filled, request = generate(page, "inpaint", 2, tmp_path / "filled.png")
    np.testing.assert_array_equal(request.image.array(), sent)
    shows = page.locator("#inpaint-plate .title")
    expect(shows).to_have_text(re.compile(r"^a lake, \d+ % filled in$"))
    np.testing.assert_array_equal(request.mask.array(), 255 * hand.labels)
    alpha = feathered(changed(hand.labels == 1, GROW), FEATHER)
    assert 0 < (alpha == 0).mean() < 1
    np.testing.assert_array_equal(filled[alpha == 0], sent[alpha == 0])
    assert (filled != sent).any(axis=2)[alpha == 1].mean() > 0.9

    page.locator("#inpaint-to-upscale").click()
    expect_tab(page, "upscale")
    page.get_by_text(f"{WIDTH} × {HEIGHT} px becomes {4 * WIDTH} × {4 * HEIGHT} px").wait_for()
    large, request = generate(page, "upscale", 2, tmp_path / "large.png")
    np.testing.assert_array_equal(request.image.array(), filled)
    assert large.shape == (4 * HEIGHT, 4 * WIDTH, 3)
    shows = page.locator("#upscale-plate .title")
    expect(shows).to_have_text(re.compile(r"^a lake, 4 times as large$"))
