"""A picture to start from: it brings its shape, is in the result, and goes from tab to tab."""

import re
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from ldm.outputs import metadata
from tests.browser import IN_A_BROWSER, newest, open_tab, press_generate, set_steps, wait_done
from ui.tab import EXAMPLES

pytestmark = IN_A_BROWSER
TAB, TASK = "#text-to-image", "text-to-image"


def value(page, name):
    return page.locator(f"{TAB}-{name} :is(input, textarea)").first.input_value()


def test_it_is_made_anew_varied_and_sent_on(page, tmp_path):
    picture = Image.open(next((EXAMPLES / "semantic").glob("1-*.png"))).convert("RGB")
    given = tmp_path / "given.png"
    picture.resize((200, 100)).save(given)
    page.locator(f"{TAB}-prompt textarea").fill("snow at night")
    set_steps(page, TASK, 5)
    page.locator(f"{TAB}-start button").first.press("Enter")
    page.locator(f"{TAB}-image input[type=file]").set_input_files(given)
    expect(page.locator(f"{TAB}-image img")).to_be_visible()
    expect(page.locator(f"{TAB}-width input")).to_have_value("256")  # in its shape
    expect(page.locator(f"{TAB}-height input")).to_have_value("128")
    for model, width in (("1.45 B", "512"), ("Landscapes", "256")):  # each brings a size of its own
        page.locator(f"{TAB}-preset input").click()
        page.get_by_role("option", name=model).first.click()
        expect(page.locator(f"{TAB}-width input")).to_have_value(width)
        expect(page.locator(f"{TAB}-height input")).to_have_value(str(int(width) // 2))
    set_steps(page, TASK, 5)
    kept, strength = (
        page.locator(f"{TAB}-{name} input[type=number]") for name in ("inversion", "strength")
    )
    for share, suited in (("1", "1"), ("0", "0.8"), ("0.7", "1")):
        kept.fill(share)
        expect(strength).to_have_value(suited)
    press_generate(page, TASK)
    wait_done(page, TASK)
    expect(page.locator(f"{TAB}-plate")).to_contain_text("picture, strength 1, shapes kept 0.7")
    first = newest(page, TASK, tmp_path / "first.png")
    request = metadata.load(first).request
    assert np.array_equal(request.image.array(), np.asarray(Image.open(given)))

    # others like it, whatever stands in the settings by now
    page.locator(f"{TAB}-prompt textarea").fill("something else")
    page.locator(f"{TAB}-vary").click()
    expect(page.locator(f"{TAB}-results img")).to_have_count(2)
    wait_done(page, TASK)
    varied = metadata.load(newest(page, TASK, tmp_path / "varied.png")).request
    assert np.array_equal(varied.image.array(), np.asarray(Image.open(given)))
    assert (varied.prompt, varied.steps, varied.seed) == ("snow at night", 5, request.seed)
    assert re.fullmatch(r"\d+:0.3", varied.variations)
    expect(page.locator(f"{TAB}-plate")).to_contain_text(
        f"turned 30 % to seed {varied.variations.partition(':')[0]}"
    )
    page.locator(f"{TAB}-reuse").click()  # its seed alone would make another picture
    expect(page.locator(f"{TAB}-variations :is(input, textarea)")).to_have_value(varied.variations)
    assert value(page, "seed") == str(request.seed)
    page.locator(f"{TAB}-dice").click()
    expect(page.locator(f"{TAB}-variations :is(input, textarea)")).to_have_value("")
    assert value(page, "seed") == ""
    page.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; }")
    page.locator(f"{TAB}-link").click()
    page.wait_for_function("window.copied")  # it brings the picture on show
    link = dict(parse_qsl(urlsplit(page.evaluate("copied")).query))
    assert (link["seed"], link["variations"]) == (str(varied.seed), varied.variations)
    assert value(page, "prompt") == "something else"

    # all of it is back from the file
    page.locator(
        f"{TAB}-restore input[type=file], {TAB}-tools input[type=file]"
    ).first.set_input_files(first)
    expect(page.locator(f"{TAB}-prompt textarea")).to_have_value("snow at night")
    expect(page.locator(f"{TAB}-image img")).to_be_visible()


def test_a_picture_of_another_tab_can_be_had_back(page):
    """It comes with its shape, and takes the place of what was here."""
    page.locator(f"{TAB}-width input").fill("256")
    open_tab(page, "semantic")
    page.locator("#semantic-examples button.thumbnail-lg").first.click()
    expect(page.locator("#semantic-plate .title")).not_to_have_text("")
    open_tab(page, "text-to-image")
    page.locator(f"{TAB}-prompt textarea").fill("this has to come back")
    open_tab(page, "semantic")
    page.locator("#semantic-to-text-to-image").click()
    expect(page.locator(f"{TAB}-width input")).to_be_visible()
    assert int(value(page, "width")) * 160 == int(value(page, "height")) * 256
    page.locator(f"{TAB}-undo").click()
    expect(page.locator(f"{TAB}-width input")).to_have_value("256")
    assert value(page, "prompt") == "this has to come back"


def test_a_picture_to_start_from_survives_a_reload(page, tmp_path):
    given = tmp_path / "given.png"
    Image.effect_noise((96, 64), 60).convert("RGB").save(given)
    page.locator(f"{TAB}-prompt textarea").fill("a beach")
    set_steps(page, TASK, 2)
    page.locator(f"{TAB}-start button").first.press("Enter")
    page.locator(f"{TAB}-image input[type=file]").set_input_files(given)
    expect(page.locator(f"{TAB}-image img")).to_be_visible()
    expect(page.locator(f"{TAB}-width input")).to_have_value("192")
    page.locator(f"{TAB}-height input").fill("64")  # and its own size stays, too
    address = page.url
    for picture in (expect(page.locator(f"{TAB}-image img")), None):
        page.reload()
        page.locator("body[data-ready]").wait_for()
        expect(page.locator(f"{TAB}-height input")).to_have_value("64")
        if picture:
            picture.to_be_visible()
            press_generate(page, TASK)
            wait_done(page, TASK)
            request = metadata.load(newest(page, TASK, tmp_path / "made.png")).request
            assert np.array_equal(request.image.array(), np.asarray(Image.open(given)))
            page.locator(
                f"{TAB}-image [aria-label='Remove Image'], {TAB}-image [aria-label=Clear]"
            ).click()
            expect(page.locator(f"{TAB}-image img")).to_have_count(0)
    page.wait_for_timeout(500)  # what was taken away does not come back
    expect(page.locator(f"{TAB}-image img")).to_have_count(0)

    # nor does it with a link, whose picture it would change
    page.locator(f"{TAB}-start button").first.press("Enter")
    page.locator(f"{TAB}-image input[type=file]").set_input_files(given)
    expect(page.locator(f"{TAB}-image img")).to_be_visible()
    page.goto(f"{address}?prompt=a+lake")
    page.locator("body[data-ready]").wait_for()
    expect(page.locator(f"{TAB}-prompt textarea")).to_have_value("a lake")
    page.wait_for_timeout(500)
    expect(page.locator(f"{TAB}-image img")).to_have_count(0)


def test_a_picture_shows_its_steps(page, tmp_path):
    page.locator(f"{TAB}-prompt textarea").fill("a beach at noon")
    set_steps(page, TASK, 3)
    strip, plate = page.locator(f"{TAB}-strip"), page.locator(f"{TAB}-plate")
    press_generate(page, TASK)
    wait_done(page, TASK)
    page.locator(f"{TAB}-see").click()
    expect(strip).to_contain_text("The picture, and a sheet of its steps")
    pictures = page.locator(f"{TAB}-results img")
    expect(pictures).to_have_count(2)  # the sheet joins the picture that is there
    film = newest(page, TASK, tmp_path / "film.png")
    assert Image.open(film).n_frames == 6  # itself, three steps small and one large, itself
    pictures.nth(1).click()
    expect(plate).to_contain_text("its steps · seed")
    expect(page.locator(f"{TAB}-see")).to_be_hidden()
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(page.request.get(pictures.nth(1).get_attribute("src")).body())
    assert metadata.load(sheet).made.request == metadata.load(film).request
    page.locator(f"{TAB}-prompt textarea").fill("something else")
    page.locator(f"{TAB}-tools input[type=file]").first.set_input_files(sheet)
    expect(page.locator(f"{TAB}-prompt textarea")).to_have_value("a beach at noon")
    expect(plate).to_contain_text("its steps · seed")
