"""What a run will take, what it took, and how it is stopped where it is long: on the real page."""

import re

from PIL import Image
from playwright.sync_api import expect

from tests.browser import (
    IN_A_BROWSER,
    RUN_MS,
    open_page,
    open_tab,
    press_generate,
    until,
    visit,
    wait_done,
)
from tests.painting_hand import Hand

pytestmark = IN_A_BROWSER
TAB = "#text-to-image"
ESTIMATE = re.compile(r"about ([\d.]+) (s|min), ([\d.]+) (MiB|GiB)")
EXPECTED = re.compile(r"([\d.]+) s were expected")
BANDS = re.compile(r"Decoding, (\d+) of (\d+)")

NOTE_WHAT = """(strip) => {
  const note = () => noted.push(document.querySelector(`${strip} .what`)?.textContent ?? "");
  window.noted = [];
  note();
  const about = { subtree: true, childList: true };
  new MutationObserver(note).observe(document.querySelector(strip), about);
}"""


CONTRAST = """(part) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const { color, backgroundColor } = getComputedStyle(part);
  const [less, more] = [light(color), light(backgroundColor)].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}"""


def assert_told_as(page, role):
    """What stands beside the button is no small grey text, in the light and in the dark."""
    part = page.locator(f"{TAB}-estimate").get_by_role(role)
    quiet = page.locator(f"{TAB}-trained p").evaluate("p => getComputedStyle(p).color")
    for _ in range(2):
        assert part.evaluate("p => getComputedStyle(p).color") != quiet
        assert part.evaluate(CONTRAST) >= 4.5
        page.locator("[data-shade]").click()


def told(page):
    """Seconds and bytes that stand beside the button."""
    seconds, unit, size, of = ESTIMATE.search(
        page.locator(f"{TAB}-estimate").text_content()
    ).groups()
    return float(seconds) * (60 if unit == "min" else 1), float(size) * (
        2**30 if of == "GiB" else 2**20
    )


def set_width(page, px, is_reached):
    """Type it, and wait until what is told is of it: beside a busy machine that takes a while."""
    width = page.locator(f"{TAB}-width input").first
    width.fill(str(px))
    width.press("Tab")
    until(page, lambda: is_reached(*told(page)))


def test_the_estimate_follows_the_size_and_is_compared_with_what_it_took(chromium, url):
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?prompt=a+lake&width=128&height=128&steps=4")
        estimate = page.locator(f"{TAB}-estimate")
        press_generate(page, "text-to-image")  # from here on the model is known
        wait_done(page, "text-to-image")
        expect(estimate).to_have_text(ESTIMATE)
        small = told(page)
        set_width(page, 2048, lambda seconds, memory: seconds > small[0] and memory > small[1])
        large = told(page)
        page.locator(f"{TAB}-width input").first.fill("100")
        expect(estimate).to_have_text(
            "Width must be a multiple of 16 px for this model, got 100; 96 or 112 would do."
        )
        page.locator(f"{TAB}-width input").first.fill("20000")
        expect(estimate).to_have_text("Width must be 16 to 16384 px, got 20000.")
        assert_told_as(page, "alert")
        page.locator(f"{TAB}-width input").first.fill("")
        expect(estimate).to_have_text("Width must be 16 to 16384 px, got nothing.")
        seed = page.locator(f"{TAB}-seed :is(input, textarea)")
        page.locator(f"{TAB}-width input").first.fill("2048")
        expect(estimate).to_have_text(ESTIMATE)
        seed.fill("7")
        expect(page.locator(f"{TAB}-fixed")).to_be_visible()
        seed.fill("abc")
        seed.press("Tab")
        expect(estimate).to_contain_text("Seed must be 0 to 4294967295, or empty for a new one")
        expect(page.locator(f"{TAB}-fixed")).to_be_hidden()
        press_generate(page, "text-to-image")
        twice = page.locator(f"{TAB}-strip .strip.failed")
        expect(twice).to_contain_text("Seed must be 0 to 4294967295")
        expect(twice).to_be_hidden()  # it stands beside the button already
        seed.fill("")
        expect(estimate).to_have_text(ESTIMATE)
        # by the time: memory is told with that of the process, which may have grown meanwhile
        set_width(page, 128, lambda seconds, memory: seconds < large[0])
        press_generate(page, "text-to-image")
        wait_done(page, "text-to-image")
        more = page.locator(f"{TAB}-strip .more")
        seen = []  # read once: the strip is drawn anew when the run ends
        until(page, lambda: seen.extend(EXPECTED.findall(more.text_content() or "")) or seen)
        assert float(seen[0]) < large[0]


def test_words_that_no_picture_taught_are_told_before_the_run(chromium, url):
    with visit(chromium, url) as page:
        open_page(page, url)
        estimate = page.locator(f"{TAB}-estimate")
        expect(estimate).to_have_text(ESTIMATE, timeout=RUN_MS)
        assert "never seen" not in estimate.text_content()  # of the text that stands for none
        prompt = page.locator(f"{TAB}-prompt textarea")
        prompt.fill("a purple unicorn at a lake")
        prompt.press("Tab")
        expect(estimate).to_contain_text("This model has never seen: purple, unicorn.")
        assert_told_as(page, "status")
        note = page.get_by_role("status").filter(has_text="never seen")
        expect(note).to_be_visible()
        prompt.press("End")
        prompt.press_sequentially(" griffin", delay=0)
        expect(note).to_be_hidden()  # of words that are not there any more, before the next note
        prompt.press("Tab")
        expect(estimate).to_contain_text("This model has never seen: purple, unicorn, griffin.")
        expect(note).to_be_visible()
        page.locator(f"{TAB}-examples .thumbnail-lg").first.click()  # nobody was in the box
        expect(estimate).not_to_contain_text("never seen")


def test_what_a_picture_takes_is_told_before_anything_was_changed_or_made(chromium, url):
    with visit(chromium, url) as page:
        open_page(page, url)
        expect(page.locator(f"{TAB}-estimate")).to_have_text(ESTIMATE, timeout=RUN_MS)
        open_tab(page, "class-conditional")
        expect(page.locator("#class-conditional-estimate")).to_have_text(ESTIMATE, timeout=RUN_MS)


def test_a_painted_hole_is_enough_to_tell_what_it_takes(chromium, url, tmp_path):
    Image.new("RGB", (160, 96), "teal").save(tmp_path / "photo.png")
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?tab=inpaint")
        hand, estimate = Hand(page), page.locator("#inpaint-estimate")
        hand.take("inpaint-painting")
        hand.load(tmp_path / "photo.png")
        expect(estimate).not_to_have_text(ESTIMATE)
        hand.brush((0.3, 0.3), (0.5, 0.6))
        expect(estimate).to_have_text(ESTIMATE, timeout=RUN_MS)
        feather = page.locator("#inpaint-mask-feather input").first
        feather.fill("70")
        feather.press("Tab")
        expect(estimate).to_have_text("Feather must be 0 to 64 px, got 70.")


def test_cancel_stops_a_decode_between_two_bands(chromium, url):
    with visit(chromium, url) as page:
        address = f"{url}/?prompt=a+lake&width=1024&height=512&steps=1&cover=bands&coarse=0"
        open_page(page, address)
        press_generate(page, "text-to-image")
        what = page.locator(f"{TAB}-strip .what")
        expect(what).to_have_text(BANDS, timeout=RUN_MS)
        page.evaluate(NOTE_WHAT, f"{TAB}-strip")
        page.locator(f"{TAB}-stop").click()
        expect(what).to_have_text(re.compile("Cancelled|Stopped after step 1 of 1"))  # by its speed
        noted = [BANDS.search(text) for text in page.evaluate("noted")]
        band, bands = map(int, [found for found in noted if found][-1].groups())
        assert band < bands  # there was more to decode
        expect(page.locator(f"{TAB}-results img")).to_have_count(0)
        if page.locator(f"{TAB}-discard").is_visible():
            page.locator(f"{TAB}-discard").click()
            expect(page.locator(f"{TAB}-discard")).to_be_hidden()
