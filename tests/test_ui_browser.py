"""The real page with the shipped model, driven in Chromium as a person would."""

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm.outputs import metadata
from ldm.requests import TextToImage
from tests.browser import IN_A_BROWSER, open_page, open_tab, press_generate, until, visit
from tests.browser import set_steps as set_steps_of
from tests.browser import wait_done as wait_for_tab
from ui.tab import EXAMPLES

pytestmark = IN_A_BROWSER
TAB = "#text-to-image"
# The page itself notes which pictures it has shown: a look from outside waits while it is busy
WATCH_PICTURES = """(selector) => {
  window.pictures = [];
  new MutationObserver(() => {
    const source = document.querySelector(selector)?.getAttribute("src");
    if (source && !pictures.includes(source)) pictures.push(source);
  }).observe(document, { subtree: true, childList: true, attributeFilter: ["src"] });
}"""


def prompt(page):
    return page.locator(f"{TAB}-prompt textarea")


def wait_for_prompt(page, text: str) -> None:
    expect(prompt(page)).to_have_value(text)


def seed(page):
    return page.locator(f"{TAB}-seed textarea, {TAB}-seed input").first


def restore(page):
    return page.locator(f"{TAB}-restore input[type=file], {TAB}-tools input[type=file]").first


def number(page, name: str):
    return page.locator(f"{TAB}-{name} input").first


def set_steps(page, steps: int) -> None:
    set_steps_of(page, "text-to-image", steps)


def wait_done(page) -> None:
    wait_for_tab(page, "text-to-image")


@pytest.mark.opens("/?width=128&height=128")
def test_generate_with_previews_then_restore_the_png(page, tmp_path):
    page.wait_for_timeout(1000)  # what loading the page asks the server has come back
    expect(page.locator(f"{TAB}-go")).to_have_text("Generate")
    prompt(page).fill("a calm lake at sunset")
    seed(page).fill("7")
    set_steps(page, 60)
    page.evaluate(WATCH_PICTURES, f"{TAB}-picture img")
    press_generate(page, "text-to-image")
    wait_done(page)
    # A dozen previews are made, and the page is told of the newest ten times a second. When it was
    # told of every step, it was seconds behind a fast model and showed one or two.
    assert len(page.evaluate("pictures")) >= 3  # at least two previews and the picture itself
    assert page.locator(f"{TAB}-results img").count() == 1
    with page.expect_download() as download:
        page.locator(f"{TAB}-picture [aria-label*='ownload']").first.click()
    path = tmp_path / "picture.png"
    download.value.save_as(path)
    request = metadata.load(path).request
    assert isinstance(request, TextToImage)
    assert (request.prompt, request.seed, request.steps) == ("a calm lake at sunset", 7, 60)

    prompt(page).fill("something else")
    restore(page).set_input_files(path)
    wait_for_prompt(page, "a calm lake at sunset")
    assert seed(page).input_value() == "7"

    page.locator(f"{TAB}-dice").click()
    expect(seed(page)).to_have_value("")
    refused = "navigator.clipboard.writeText = (text) => { window.copied = text; throw 'no'; }"
    page.evaluate(f"() => {{ {refused} }}")
    page.locator(f"{TAB}-link").click()
    page.wait_for_function("window.copied")
    expect(page.locator(f"{TAB}-link")).to_be_focused()  # copied in another way
    assert "seed=7" in page.evaluate("copied")  # of the picture on show


def test_generate_waits_for_an_example_that_is_on_its_way(page, tmp_path):
    """Of two that were chosen, for the second, which is long on its way."""
    page.evaluate(
        """async (tab) => {
          const fetchNow = window.fetch, wait = (ms) => new Promise((go) => setTimeout(go, ms));
          let asked = 0;
          window.fetch = async (...about) => {
            if (String(about[0]).includes("/queue/join")) await wait([1000, 3000][asked++] ?? 0);
            return fetchNow(...about);
          };
          const examples = document.querySelectorAll(`${tab}-examples button.thumbnail-lg`);
          for (const button of [examples[0], examples[2], document.querySelector(`${tab}-go`)]) {
            button.click();
            await wait(100);
          }
        }""",
        TAB,
    )
    expect(page.locator(f"{TAB}-go")).to_have_attribute("data-waits", "")
    wait_done(page)
    path = sorted((EXAMPLES / "text-to-image").glob("*.png"))[2]
    chosen = metadata.load(path).request.prompt
    expect(page.locator(f"{TAB}-plate .title")).to_have_text(chosen)
    wait_for_prompt(page, chosen)
    expect(page.locator(f"{TAB}-results img")).to_have_count(1)
    prompt(page).fill("a lake")
    set_steps(page, 3)
    press_generate(page, "text-to-image")
    expect(page.locator(f"{TAB}-results img")).to_have_count(2)


def test_a_restored_picture_leaves_the_tabs_alone_that_were_never_open(page):
    path = next((EXAMPLES / "text-to-image").glob("*.png"))
    restore(page).set_input_files(path)
    wait_for_prompt(page, metadata.load(path).request.prompt)
    for task, part in (
        ("inpaint", ".painter[data-ready]"),
        ("semantic", "[data-class='14']"),
        ("layout", ".chip >> nth=5"),
        ("class-conditional", ".tile >> nth=16"),
    ):
        open_tab(page, task)
        expect(page.locator(f"#tab-{task} {part}")).to_be_visible()


def test_a_foreign_picture_is_refused_and_an_example_is_on_show_at_once(page, tmp_path):
    path = tmp_path / "foreign.png"
    Image.new("RGB", (8, 8)).save(path)
    restore(page).set_input_files(path)
    page.get_by_text(re.compile("carries no parameters")).first.wait_for()
    (tmp_path / "notes.txt").write_text("a calm lake")
    restore(page).set_input_files(tmp_path / "notes.txt")
    page.get_by_text("notes.txt is no readable PNG.").first.wait_for()
    page.locator(f"{TAB}-examples button.thumbnail-lg").first.click()
    page.locator(f"{TAB}-picture img").wait_for()
    expect(page.locator(f"{TAB}-plate")).to_contain_text(prompt(page).input_value())
    assert "lake" in prompt(page).input_value()
    expect(page.locator(f"{TAB}-results img")).to_have_count(0)


@pytest.mark.opens("/?width=128&height=128")
def test_cancel_and_go_on(page):
    prompt(page).fill("a beach")
    set_steps(page, 2)
    press_generate(page, "text-to-image")
    wait_done(page)
    before = page.locator(f"{TAB}-plate .title", has_text="a beach")
    expect(before).to_be_visible()
    prompt(page).fill("mountains at night")
    set_steps(page, 1000)
    press_generate(page, "text-to-image")
    page.get_by_text(re.compile(r"Step \d+ of 1\d{3}")).wait_for()
    expect(before).to_be_hidden()  # with the first preview
    page.locator(f"{TAB}-stop").click()
    page.get_by_text("Cancelled").wait_for()
    expect(before).to_be_visible()
    assert page.locator(f"{TAB}-results img").count() == 1
    set_steps(page, 2)
    press_generate(page, "text-to-image")
    wait_done(page)
    assert page.locator(f"{TAB}-results img").count() == 2


def test_wrong_input_is_a_sentence_and_loses_nothing(page):
    told = page.locator(f"{TAB}-strip .strip.failed")
    prompt(page).fill("a beach")
    set_steps(page, 3)
    expect(page.locator(f"{TAB}-go")).to_have_attribute("title", "Ctrl+Enter")
    page.keyboard.press("Control+Enter")
    wait_done(page)
    wrong = (("130", "Width must be a multiple of 16 px"), ("", "Width must be 16 to 16384 px"))
    for width, sentence in wrong:
        number(page, "width").fill(width)
        press_generate(page, "text-to-image")
        expect(told).to_contain_text(sentence)
        places = page.locator(f"{TAB}-estimate .refused, {TAB}-strip .strip.failed")
        seen = places.filter(has_text=sentence, visible=True)
        expect(seen).to_have_count(1)  # in one place
        expect(seen).to_be_in_viewport()
    number(page, "width").fill("128")
    for typed, got in (("9999", "9999"), ("", "nothing")):
        set_steps(page, typed)
        press_generate(page, "text-to-image")
        expect(told).to_contain_text(f"Steps must be 1 to 1000, got {got}.")
    set_steps(page, 3)
    prompt(page).fill("")
    press_generate(page, "text-to-image")
    expect(told).to_contain_text("Prompt must say what to draw")
    assert page.get_by_text("Prompt must say what to draw").count() == 1  # in one place
    prompt(page).fill("a beach")
    expect(told).to_be_hidden()
    assert page.locator(f"{TAB}-results img").count() == 1


def test_settings_survive_a_reload_and_a_link_wins(page, url):
    left_out = page.locator(f"{TAB}-negative-prompt :is(textarea, input)")
    left_out.fill("fog")
    prompt(page).fill("two pine trees in the snow")
    number(page, "width").fill("192")
    number(page, "width").press("Tab")
    page.wait_for_function(
        "(localStorage.getItem('latent-canvas-text-to-image')||'').includes('192')"
    )
    with page.context.new_page() as other:  # begins where this one is, and goes its own way
        open_page(other, f"{url}/?tab=nope")
        wait_for_prompt(other, "two pine trees in the snow")
        told = other.get_by_role("alert").filter(has_text="Not taken over")
        expect(told).to_contain_text("Tab must be one of text-to-image, inpaint, semantic, ")
        expect(told).to_contain_text(", got nope.")
        prompt(other).fill("another window")
        other.wait_for_function("JSON.stringify(localStorage).includes('another window')")
    key = "'latent-canvas-upscale-by-hand'"  # here a model was chosen, there none
    page.evaluate(f"sessionStorage.setItem({key}, 'true'); localStorage.setItem({key}, 'false')")
    page.reload()
    wait_for_prompt(page, "two pine trees in the snow")
    assert number(page, "width").input_value() == "192"
    open_page(page, f"{url}/?prompt=a+red+house&seed=5&steps=9999&preset=nope")
    wait_for_prompt(page, "a red house")
    assert seed(page).input_value() == "5"
    # what it leaves out is no longer the visitor's own, or it would make everybody another picture
    assert (left_out.input_value(), number(page, "width").input_value()) == ("", "256")
    told = page.get_by_role("alert").filter(has_text="Not taken over")
    expect(told).to_contain_text("Steps must be a whole number from 1 to 1000, got 9999.")
    names = "demo-text-to-image, stable-diffusion-v1-4, text2img-large, text2img256"
    expect(told).to_contain_text(f"Model must be one of {names}, got nope.")
    assert page.locator(f"{TAB}-preset input").first.input_value().startswith("Landscapes")
    page.locator(f"{TAB}-undo").click()
    wait_for_prompt(page, "two pine trees in the snow")
    press_generate(page, "text-to-image")
    expect(told).to_have_count(0)  # it has been read
    page.locator(f"{TAB}-stop").click()
    page.locator(f"{TAB}-go:not([disabled])").wait_for()  # until then the examples move
    expect(number(page, "width")).to_have_value("192")
    expect(left_out).to_have_value("fog")
    page.locator(f"{TAB}-examples button.thumbnail-lg").first.click()
    page.locator(f"{TAB}-picture img[style*='--ratio']").wait_for()  # or the button moves under it
    page.locator(f"{TAB}-to-upscale").click()
    page.get_by_text("px becomes").wait_for()  # it has come
    expect(page.locator("#upscale-preset input").first).to_have_value("Landscapes, upscaling")


def test_the_endpoint_takes_the_requests_fields(url, monkeypatch, png_of_size):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    from gradio_client import Client, handle_file  # noqa: PLC0415  (after the environment is set)
    from gradio_client.exceptions import AppError  # noqa: PLC0415

    client = Client(url, verbose=False, analytics_enabled=False)
    small = {"prompt": "a beach", "width": 64, "height": 64, "api_name": "/text_to_image"}
    result = client.predict(**small, steps=3, seed=9)
    request = metadata.load(Path(result[-1])).request
    assert (request.prompt, request.steps, request.seed) == ("a beach", 3, 9)
    with pytest.raises(AppError, match="steps must be 1 to 1000"):
        client.predict(**small, steps=0)
    compared = {"across": "steps=1,2", **small}
    _, pictures, sheet = client.predict(**compared)
    assert metadata.load(Path(sheet)).compared == {"steps": [1, 2]}
    assert len(pictures) == 3
    for wrong in ("steps", 5):
        with pytest.raises(AppError, match="down must be a field and its values, .* got "):
            client.predict(**compared, down=wrong)
    with pytest.raises(AppError, match="count must be 1 where settings are compared .*, got 4"):
        client.predict(**compared, count=4)
    with pytest.raises(AppError, match="frames must be 0 where settings are compared, got 3"):
        client.predict(**compared, frames=3)
    status, (_, sheet), _ = client.predict(**small, steps=2, frames=3.0)
    assert status.startswith("The picture, and a sheet")
    assert metadata.load(Path(sheet["image"])).made.frames == 3
    foreign = {"path": str(Path(__file__))}
    for file in ({}, {"path": 5}, [{"path": "a.png"}], "a.png", foreign):
        with pytest.raises(AppError, match="image must be a file that was uploaded, .*, got "):
            client.predict(image=file, api_name="/upscale")
    other = {"path": "http://127.0.0.1/a.png", "meta": {"_type": "gradio.FileData"}}
    for name, value in (("image", other), ("seed", other), ("seed", [{"a": other}])):
        with pytest.raises(AppError, match="what names a file must be .* got 'http:"):
            client.predict(prompt="a", **{name: value}, api_name="/text_to_image")
    with pytest.raises(AppError, match="big.png is 30000 x 30000 px; up to 40 megapixels work."):
        client.predict(image=handle_file(png_of_size(30_000, 30_000)), api_name="/upscale")


def _note_told(route):
    """Let Gradio note the id of each part of the page that it tells something."""
    response = route.fetch()
    script, number = re.subn(
        r"async update_state\((\w+),[^{]*\{",
        r"\g<0>(window.told ??= []).push(\1);",
        response.text(),
    )
    assert number == 1, "Gradio has changed: does it still need ui/gradio.js?"
    route.fulfill(response=response, body=script)


COUNT_FRAMES = """
  window.drawn = 0;
  const draw = window.requestAnimationFrame;
  window.requestAnimationFrame = (callback) => { drawn++; return draw(callback); };"""
FINDS_THE_SAME = """() => gradio_config.components.every(({ id }) => {
  const all = gradio_config.dependencies;
  const starts = ({ targets }) => targets.find(([part]) => part === id);
  const quick = all.filter(starts), plain = Array.prototype.filter.call(all, starts);
  return quick.length === plain.length && quick.every((one, i) => one === plain[i]);
})"""
IS_AT_REST = """async () => {
  const before = drawn;
  await new Promise((resolve) => setTimeout(resolve, 300));
  return drawn === before;
}"""


def test_an_event_tells_no_part_of_another_tab_and_a_page_at_rest_draws_nothing(chromium, url):
    with visit(chromium, url) as page:
        page.add_init_script(COUNT_FRAMES)
        page.route("**/assets/core-*.js", _note_told)
        open_page(page, url)
        open_tab(page, "semantic")
        expect(page.locator("#semantic-estimate")).to_contain_text("about")
        open_tab(page, "text-to-image")
        page.wait_for_timeout(500)  # what opening the tab has asked the server has come back
        page.evaluate("told = []")
        before = page.locator(f"{TAB}-estimate").inner_text()
        set_steps(page, 33)
        expect(page.locator(f"{TAB}-estimate")).not_to_have_text(before)
        told = page.evaluate("told.map((id) => gradio_config.components.find((c) => c.id === id))")
        names = [part["props"].get("elem_id") or "" for part in told]
        assert f"{TAB[1:]}-estimate" in names
        assert [name for name in names if name.startswith("semantic")] == []
        assert page.evaluate(FINDS_THE_SAME)
        until(page, lambda: page.evaluate(IS_AT_REST))
