"""A picture that is dropped on the page, beside what takes pictures: where it goes."""

import base64

import numpy as np
from playwright.sync_api import expect

from ldm.images import EncodedImage
from ldm.outputs import metadata
from ldm.requests import TextToImage
from tests.browser import IN_A_BROWSER, open_tab, until

pytestmark = IN_A_BROWSER
DROP = """([base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], "sent.png", { type: "image/png" }));
  const place = document.querySelector(".masthead");
  place.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def drop(page, content: bytes) -> None:
    page.evaluate(DROP, [base64.b64encode(content).decode()])


def test_another_picture_goes_where_the_tab_takes_one(page):
    plain = [EncodedImage.from_array(np.full((64, side, 3), 90, np.uint8)).png for side in (96, 80)]
    for task in ("text-to-image", "upscale"):
        open_tab(page, task)
        for content, width in zip(plain, (96, 80), strict=True):  # the second in place of the first
            drop(page, content)
            shown = page.locator(f"#{task}-image img")
            expect(shown).to_be_visible()
            until(page, lambda img=shown, w=width: img.evaluate("img => img.naturalWidth") == w)
    open_tab(page, "inpaint")
    drop(page, plain[0])
    expect(page.locator("#inpaint-painting .empty")).to_be_hidden()
    expect(page.locator(".toast-body")).to_have_count(0)


def test_one_that_was_made_here_comes_back_with_its_settings(page, tmp_path):
    path = tmp_path / "made.png"
    request = TextToImage(prompt="a lake that was dropped", seed=5)
    metadata.save(path, np.zeros((64, 64, 3), np.uint8), request)
    drop(page, path.read_bytes())
    expect(page.locator("#text-to-image-prompt textarea")).to_have_value("a lake that was dropped")
