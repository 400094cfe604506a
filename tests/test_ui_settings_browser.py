"""What the settings do on the page: back to a model's defaults, a seed that stays, room for all."""

from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, open_page, open_tab, press_generate, set_steps, until, visit
from ui.tab import EXAMPLES

pytestmark = IN_A_BROWSER
TAB = "#text-to-image"
# nothing has scrolled since it was last asked, in a while
AT_REST = """() => {
  const before = window.last;
  if (before?.y !== scrollY) window.last = { y: scrollY, at: performance.now() };
  return performance.now() - window.last.at > 300;
}"""

# the page glides to the place of the picture, and while it passes the strip something is told there
FAILS_ON_THE_WAY = """(task) => {
  const strip = document.querySelector(`#${task}-strip .strip.failed`);
  scrollTo({ top: 2000, behavior: "instant" });
  document.querySelector(`#${task}-wall`).scrollIntoView({ behavior: "smooth" });
  const look = () => {
    const { top, bottom } = strip.getBoundingClientRect();
    if (top < 20 || bottom > innerHeight) return requestAnimationFrame(look);
    strip.dataset.told = window.told = "once more";
  };
  look();
}"""


def test_defaults_come_back_and_a_fixed_seed_is_told(page):
    number = page.locator(f"{TAB}-steps input[type=number]")
    example = page.locator(f"{TAB}-examples button").nth(1)
    assert example.get_attribute("aria-label").startswith("several oaks")
    example.click()
    seed, note = (
        page.locator(f"{TAB}-seed input, {TAB}-seed textarea"),
        page.locator(f"{TAB}-fixed"),
    )
    expect(seed).not_to_have_value("")
    expect(note).to_contain_text("This seed is fixed")
    set_steps(page, "text-to-image", 7)
    prompt = page.locator(f"{TAB}-prompt textarea").input_value()
    page.locator(f"{TAB}-defaults").click()
    expect(number).to_have_value("20")
    expect(seed).not_to_have_value("")
    assert page.locator(f"{TAB}-prompt textarea").input_value() == prompt
    assert page.locator(f"{TAB}-width input").input_value() == "384"

    page.locator(f"{TAB}-dice").click()
    expect(seed).to_have_value("")
    seed.fill("-1")
    seed.blur()
    expect(seed).to_have_value("")
    expect(note).to_be_hidden()


def test_an_example_takes_no_prompt_away(page):
    prompt, undo = page.locator(f"{TAB}-prompt textarea"), page.locator(f"{TAB}-undo")
    prompt.fill("my own words")
    seed = page.locator(f"{TAB}-seed input, {TAB}-seed textarea")
    expect(undo).to_be_hidden()
    for example in (0, 1):
        page.locator(f"{TAB}-examples button").nth(example).click()
        expect(page.locator(f"{TAB}-plate")).to_contain_text(["calm lake", "several oaks"][example])
        expect(undo).to_be_visible()
    undo.click()
    expect(prompt).to_have_value("a calm lake with mountains at sunset")
    undo.click()
    expect(prompt).to_have_value("my own words")
    expect(seed).to_have_value("")
    expect(page.locator(f"{TAB}-width input")).to_have_value("256")
    expect(undo).to_be_hidden()
    open_tab(page, "layout")  # where nothing was replaced, a change by hand can't be had back
    page.locator("#layout-seed :is(input, textarea)").fill("4321")
    until(page, lambda: "4321" in page.evaluate("ownStorage.getItem(settingsKey('layout')) ?? ''"))
    expect(page.locator("#layout-undo")).to_be_hidden()


def test_words_are_added_and_taken_out_again(page):
    prompt, words = page.locator(f"{TAB}-prompt textarea"), page.locator(f"{TAB}-vocabulary")

    def word(name):
        return words.get_by_role("button", name=name, exact=True)

    prompt.fill("fog")
    words.locator("summary").click()
    expect(word("fog")).to_have_attribute("aria-pressed", "true")
    word("fog").click()
    expect(prompt).to_have_value("")
    for name in ("a village", "high mountains", "at sunset", "fog"):
        word(name).click()
    expect(prompt).to_have_value("a village, high mountains at sunset, fog")
    for name in ("a village", "high mountains"):
        word(name).click()
    expect(prompt).to_have_value("at sunset, fog")
    expect(word("fog")).to_have_attribute("aria-pressed", "true")
    word("a village").click()
    expect(prompt).to_have_value("at sunset, fog, a village")
    page.keyboard.press("Control+z")  # what was clicked is taken back like what was typed
    expect(prompt).to_have_value("at sunset, fog")
    prompt.fill("a FOREST, foggy")
    expect(word("a forest")).to_have_attribute("aria-pressed", "true")
    expect(word("fog")).to_have_attribute("aria-pressed", "false")
    for text, left in (
        ("fog-bank, a lake.", "fog-bank, a lake. fog"),
        ("the sea in the fog", "the sea"),
        ("a forest with a fog, the sea", "a forest, the sea"),
    ):
        prompt.fill(text)
        word("fog").click()
        expect(prompt).to_have_value(left)
    prompt.fill("a lake At Night, fog")
    word("at noon").click()  # there is one time of day
    expect(prompt).to_have_value("a lake at noon, fog")
    word("in the morning").click()
    expect(prompt).to_have_value("a lake in the morning, fog")
    word("in the morning").click()
    expect(prompt).to_have_value("a lake, fog")
    prompt.fill("at noon, then at night")
    word("at night").click()
    expect(prompt).to_have_value("at noon, then")
    prompt.fill("")
    word("at noon").click()
    expect(prompt).to_have_value("at noon")
    page.locator(f"{TAB}-examples button").first.click()  # words that nobody typed
    expect(prompt).to_have_value("a calm lake with mountains at sunset")
    expect(word("at sunset")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(prompt).to_have_value("a calm lake with mountains at sunset")
    page.locator(f"{TAB}-preset input").click()
    page.get_by_role("option", name="1.45 B").first.click()  # knows others, and not which
    expect(words.locator("summary")).to_have_count(0)


def test_generate_and_what_it_says_stay_in_the_window(page):
    page.set_viewport_size({"width": 1280, "height": 450})
    fold = page.locator(f"{TAB}-sampling button").first
    expect(fold).to_have_attribute("aria-expanded", "false")
    fold.click()
    expect(fold).to_have_attribute("aria-expanded", "true")
    page.wait_for_timeout(500)
    go, told = page.locator(f"{TAB}-go"), page.locator(f"{TAB}-strip .strip.failed")
    for _ in range(2):  # the same error once more is seen once more
        page.locator(f"{TAB}-defaults").scroll_into_view_if_needed()
        expect(told).not_to_be_in_viewport()
        expect(go).to_be_in_viewport(ratio=1)
        press_generate(page, "text-to-image")
        expect(told).to_be_in_viewport(ratio=1)
        page.evaluate("window.last = null")
        page.wait_for_function(AT_REST)
    page.evaluate(FAILS_ON_THE_WAY, "text-to-image")
    page.wait_for_function("window.told")
    page.evaluate("window.last = null")
    page.wait_for_function(AT_REST)
    expect(told).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 1280, "height": 720})
    for task in ("semantic", "class-conditional"):  # on a laptop its place is below the window
        open_tab(page, task)
        expect(page.locator(f"#{task}-go")).to_be_in_viewport(ratio=1)


def test_a_phone_shows_every_tab(page):
    page.set_viewport_size({"width": 390, "height": 844})
    tabs = page.locator("#tabs [role=tab]")
    expect(tabs).to_have_count(7)
    for tab in tabs.all():
        expect(tab).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_tab(page, "semantic")
    expect(page.locator("#semantic-go")).to_be_in_viewport(ratio=1)


def test_back_and_forward_lead_from_tab_to_tab(page):
    """Back left the studio."""
    address = page.url
    is_open = (
        'document.querySelector("#tabs [role=tab][aria-selected=true]").id === "tab-{}-button"'
    )
    open_tab(page, "layout")
    open_tab(page, "upscale")
    for move, task in (
        (page.go_back, "layout"),
        (page.go_back, "text-to-image"),
        (page.go_forward, "layout"),
    ):
        move()
        page.wait_for_function(is_open.replace("{}", task))
    assert page.url == address


def test_a_picture_made_here_gets_its_model_but_not_against_a_choice(chromium, url):
    with visit(chromium, url) as page:
        open_page(page, url)
        model = page.locator("#upscale-preset input").first
        worn, clean = "Landscapes, upscaling of worn pictures", "Landscapes, upscaling"
        send_example(page)
        expect(model).to_have_value(worn)
        page.locator("#upscale-examples button").first.click()
        expect(model).to_have_value(clean)
        made_here = EXAMPLES / "text-to-image" / "3-beach.png"
        page.locator(
            "#upscale-image [aria-label='Clear'], #upscale-image [aria-label='Remove Image']"
        ).first.click()
        page.locator("#upscale-image input[type=file]").set_input_files(made_here)
        expect(model).to_have_value(worn)

        model.click()
        page.get_by_role("option", name=clean, exact=True).click()
        expect(page.locator("#upscale-trained")).to_contain_text("shrunk cleanly")
        kept = "sessionStorage.getItem('latent-canvas-upscale-by-hand')"  # in this window
        assert page.evaluate(kept) == "true"
        set_steps(page, "upscale", 5)
        open_tab(page, "text-to-image")
        send(page)
        page.get_by_text("384 × 256 px becomes").wait_for()
        page.wait_for_timeout(500)
        expect(model).to_have_value(clean)
        expect(page.locator("#upscale-steps input[type=number]")).to_have_value("5")


def send_example(page):
    open_tab(page, "text-to-image")
    page.locator(f"{TAB}-examples button").first.click()
    page.locator(f"{TAB}-picture img[style*='--ratio']").wait_for()  # or the button moves under it
    send(page)


def send(page):
    page.locator(f"{TAB}-to-upscale").click()
    expect(page.locator("#tab-upscale-button")).to_have_attribute("aria-selected", "true")


def test_before_and_after_is_moved_by_keys(page):
    open_tab(page, "inpaint")
    page.locator("#inpaint-examples button").first.click()
    slider = page.get_by_role("slider", name="Before on the left, after on the right")
    laid = page.locator("#inpaint-slider .laid")
    before = laid.locator("img.before")
    slider.focus()
    start = int(slider.input_value())  # it stands left of what was filled
    assert 0 < start != 50
    for key, moved in (("ArrowLeft", start - 1), ("End", 100)):
        page.keyboard.press(key)
        expect(slider).to_have_value(str(moved))
        expect(slider).to_have_attribute("aria-valuetext", f"{moved} % before")
        for name in ("Before", "After"):
            expect(laid.get_by_text(name, exact=True)).to_be_visible()
        shown = f"{100 - moved}%"
        until(page, lambda s=shown: s in before.evaluate("one => getComputedStyle(one).clipPath"))


def test_a_dropdown_that_is_entered_and_left_changes_nothing(page):
    """Gradio sends its input event when it is left, with the old value."""
    width, model = page.locator(f"{TAB}-width input"), page.locator(f"{TAB}-preset input")
    width.fill("192")
    set_steps(page, "text-to-image", 7)
    for _ in range(2):
        model.focus()
        model.press("Tab")
    page.locator(f"{TAB}-comparing button").first.press("Enter")
    values = page.locator(f"{TAB}-across-values :is(input, textarea)")
    values.fill("3, 4")
    for _ in range(2):
        page.locator(f"{TAB}-across input").focus()
        values.focus()
    page.wait_for_timeout(1000)  # that nothing comes cannot be waited for
    expect(width).to_have_value("192")
    expect(page.locator(f"{TAB}-steps input[type=number]")).to_have_value("7")
    expect(values).to_have_value("3, 4")
    model.click()
    page.get_by_role("option", name="(not on this machine)").first.click()
    expect(width).to_have_value("512")
