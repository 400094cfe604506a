"""A hand on the canvas: what the server gets is what was painted, pixel for pixel."""

import re

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, free_port, until, visit, wait_kept
from tests.painting_hand import Hand
from ui import theme
from ui.painting import Painter, Painting

pytestmark = IN_A_BROWSER
SIZES = (
    (1, 1),
    (3, 7),
    (255, 127),
    (640, 480),
    (1999, 31),
    (768, 1024),
    (2049, 1537),
    (1501, 2501),
)
PALETTE = [("sky", "#86bee8"), ("sun", "#ffd640"), ("water", "#3c78b4")]


@pytest.fixture(scope="module")
def got():
    """What the server got, the newest last."""
    return []


@pytest.fixture(scope="module")
def canvas_url(got, tmp_path_factory):
    """A page with a mask and a map, and buttons that hand them over."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("cache")))
    with gr.Blocks() as page, gr.Tabs():
        for kind in ("mask", "map"):
            with gr.Tab(kind, elem_id=f"tab-{kind}"):
                about = {"palette": PALETTE, "size": (96, 64)} if kind == "map" else {}
                painter = Painter(kind=kind, elem_id=kind, **about)
                said = gr.Textbox(elem_id=f"{kind}-said")
                go = gr.Button("Go", elem_id=f"{kind}-go")
                more = gr.Button("Set", elem_id=f"{kind}-set")

                def take(value: Painting | None) -> str:
                    got.append(value)
                    return f"{len(got)}"

                def change(value: Painting | None, kind: str = kind) -> object:
                    if kind == "map":
                        return gr.update(palette=[[f"thing {i}", "#102030"] for i in range(182)])
                    return Painting(1 - value.labels, value.picture)

                go.click(take, painter, said)
                more.click(change, painter, painter, show_progress="hidden")
    _, url, _ = page.launch(
        prevent_thread_lock=True,
        quiet=True,
        server_name="127.0.0.1",
        server_port=free_port(),
        head=theme.head(),
    )
    yield url
    page.close()
    patch.undo()


@pytest.fixture
def hand(chromium, canvas_url, got):
    with visit(chromium, canvas_url) as page:
        page.goto(canvas_url)
        hand = HandWithServer(page, got)
        hand.open("mask")
        yield hand


class HandWithServer(Hand):
    """A hand that can ask what the server gets."""

    def __init__(self, page, got):
        super().__init__(page)
        self.got = got

    def open(self, kind):
        self.page.locator(f"#tab-{kind}-button").click()
        self.take(kind)

    def hand_over(self):
        """What the server gets, asked for at once."""
        before = len(self.got)
        self.page.locator(f"#{self.kind}-go").click()
        expect(self.page.locator(f"#{self.kind}-said textarea")).to_have_value(str(before + 1))
        return self.got[-1]

    def check(self):
        value = self.hand_over()
        assert value.labels.shape == self.labels.shape
        assert np.argwhere(value.labels != self.labels).tolist() == []
        return value


def test_the_server_gets_exactly_what_was_painted_at_many_sizes(hand, tmp_path):
    for number, (width, height) in enumerate(SIZES):
        path = tmp_path / f"{width}x{height}.png"
        Image.new("RGB", (width, height), (90 + number, 140, 180)).save(path)
        hand.load(path)
        hand.tool("brush")
        hand.brush((0.002, 0.3), (0.4, 0.35), (0.7, 0.8))  # from beside the picture
        hand.brush((0.5, 0.2), (0.5, 0.2))
        hand.tool("eraser")
        hand.brush((0.3, 0.1), (0.45, 0.6), label=0)
        hand.tool("rectangle")
        hand.rectangle((0.9, 0.9), (0.55, 0.85), (0.75, 0.55))
        hand.tool("line")
        hand.line((0.1, 0.9), (0.5, 0.5), (0.95, 0.05))
        value = hand.check()
        assert value.picture.size == (width, height)
        hand.tool("fill")
        hand.fill((0.5, 0.95))
        hand.do("undo")
        hand.do("redo")
        hand.check()


def test_what_cannot_be_shown_after_a_reload_is_kept(hand, tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (120, 80), "teal").save(path)
    hand.load(path)
    hand.brush((0.2, 0.2), (0.8, 0.7))
    hand.check()
    wait_kept(hand.page, "mask")
    hand.page.route(re.compile("/file=|/upload"), lambda route: route.abort())
    hand.page.reload()
    expect(hand.page.locator("#mask .note")).to_contain_text("could not be shown")
    hand.page.wait_for_timeout(1500)
    hand.page.unroute_all()
    hand.page.reload()
    hand.page.locator("#mask .painter.filled").wait_for()
    hand.check()


def test_a_key_in_the_middle_of_a_stroke_ends_it(hand, tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (120, 80), "teal").save(path)
    hand.load(path)
    hand.brush((0.2, 0.2), (0.3, 0.3))
    before = hand.labels.copy()
    hand.brush((0.5, 0.2), (0.6, 0.3), (0.7, 0.6), ended_by="Control+z")
    one_more, hand.labels = hand.labels.copy(), before
    hand.check()
    hand.do("redo")
    hand.labels = one_more.copy()
    hand.check()
    hand.brush((0.2, 0.7), (0.4, 0.8), (0.5, 0.7), ended_by="r")  # the rectangle's
    hand.check()
    hand.do("undo")
    hand.labels = one_more
    hand.check()


def test_a_mask_that_comes_when_its_picture_is_gone_changes_nothing(hand, tmp_path):
    for name, size in (("large", (120, 80)), ("small", (60, 40))):
        Image.new("RGB", size, "teal").save(tmp_path / f"{name}.png")
    mask = tmp_path / "mask.png"
    Image.new("L", (60, 40), 255).save(mask)
    hand.load(tmp_path / "large.png")
    hand.brush((0.4, 0.5), (0.6, 0.7))
    painted = hand.labels
    hand.load(tmp_path / "small.png")
    uploads = []
    hand.page.route(re.compile("/upload"), lambda route: uploads.append(route))  # it is slow
    hand.page.locator("#mask .pick-labels").set_input_files(mask)
    until(hand.page, lambda: uploads)
    hand.do("undo")
    uploads[0].continue_()
    expect(hand.page.locator("#mask .note")).to_contain_text("mask.png")
    expect(hand.page.locator("#mask .note")).not_to_contain_text("Reading")
    hand.labels = painted
    hand.check()
    expect(hand.page.locator("#mask .note")).to_contain_text("the picture has changed meanwhile")


def test_tools_tabs_zoom_undo_and_a_reload_lose_nothing(hand, tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (301, 203), "teal").save(path)
    hand.load(path)
    hand.brush((0.2, 0.2), (0.8, 0.7))
    hand.brush((0.5, 0.5), (0.6, 0.5), label=0, button="right")
    hand.open("map")
    hand.open("mask")
    for _ in range(3):
        hand.do("larger")
    hand.brush((0.3, 0.6), (0.7, 0.4))
    hand.page.keyboard.press("[")
    hand.page.keyboard.press("e")
    hand.brush((0.5, 0.1), (0.5, 0.9), label=0)
    hand.check()
    before = hand.labels.copy()
    hand.do("whole")
    hand.do("invert")
    hand.do("clear")
    hand.page.keyboard.press("Control+z")  # a button leaves the keys to the canvas
    hand.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(hand.hand_over().labels, before)
    hand.page.locator("#mask-set").click()  # a value from Python: the inverse
    hand.labels = 1 - before
    marked = f"{100 * hand.labels.mean():.1f}".removesuffix(".0")
    expect(hand.page.locator("#mask .about")).to_contain_text(f"· {marked} % marked")
    hand.check()
    wait_kept(hand.page, "mask")
    with hand.page.context.new_page() as other:  # begins with it, and changes only its own
        other.goto(hand.page.url)
        expect(other.locator("#mask .about")).to_contain_text(f"· {marked} % marked")
        other.locator("#mask [data-do=clear]").click()
        wait_kept(other, "mask")
        other.reload()
        expect(other.locator("#mask .about")).to_contain_text("301 × 203 px · 0 % marked")
    hand.page.reload()
    hand.page.locator("#mask .painter.filled").wait_for()
    hand.check()
    mask = tmp_path / "mask.png"
    with hand.page.expect_download() as download:
        hand.do("save")
    download.value.save_as(mask)
    np.testing.assert_array_equal(np.asarray(Image.open(mask)), 255 * hand.labels)
    other = tmp_path / "other.png"
    Image.new("RGB", (301, 203), "red").save(other)
    kept = hand.labels
    hand.load(other)
    hand.check()
    hand.do("last")
    hand.labels = kept
    hand.check()
    hand.do("clear")
    hand.page.locator("#mask .pick-labels").set_input_files(mask)
    expect(hand.page.locator("#mask [data-do=undo]")).to_be_enabled()
    expect(hand.page.locator("#mask .about")).not_to_contain_text("· 0 %")
    hand.check()
    note = tmp_path / "note.png"
    note.write_text("hello")
    hand.page.locator("#mask .pick-picture").set_input_files(note)
    expect(hand.page.locator("#mask .note")).to_contain_text("is no readable picture")
    hand.check()
    cut = Image.new("RGBA", (301, 203), "red")
    cut.paste((0, 0, 0, 0), (100, 50, 180, 120))
    cut.save(tmp_path / "cut.png")
    hand.page.locator("#mask .pick-picture").set_input_files(tmp_path / "cut.png")
    expect(hand.page.locator("#mask .note")).to_have_text("What was transparent is marked.")
    hand.labels = (np.asarray(cut)[..., 3] == 0).astype(np.uint8)
    hand.check()


def test_a_map_is_painted_filled_undone_resized_and_read(hand, tmp_path):
    hand.open("map")
    hand.labels = np.zeros((64, 96), np.uint8)
    hand.page.locator("#map [data-class='2']").click()
    hand.tool("rectangle")
    hand.rectangle((0.001, 0.6), (0.999, 0.999), label=2)
    hand.page.locator("#map [data-class='1']").click()
    hand.tool("brush")
    hand.brush((0.5, 0.2), (0.6, 0.25), label=1)
    hand.check()
    ratio, about = (
        hand.page.locator("#map [data-across='2']").first,
        hand.page.locator("#map .about"),
    )
    ratio.click()
    expect(about).to_contain_text("128 × 64 px")
    hand.page.keyboard.press("Control+z")
    expect(about).to_contain_text("96 × 64 px")
    hand.page.locator("#map [data-across='4']").first.click()  # on the way to another
    hand.page.locator("#map [data-across='2'][data-down='3']").click()
    ratio.click()
    expect(about).to_contain_text("128 × 64 px")
    value = hand.hand_over()  # what was painted keeps its shape, and goes on at both sides
    np.testing.assert_array_equal(value.labels, np.pad(hand.labels, ((0, 0), (16, 16)), "edge"))
    for _ in range(3):
        hand.do("undo")
    hand.check()
    hand.tool("fill")
    hand.fill((0.5, 0.45), label=1)
    hand.check()
    hand.do("undo")
    assert set(np.unique(hand.hand_over().labels)) == {0, 1, 2}
    hand.do("redo")
    saved = tmp_path / "map.png"
    with hand.page.expect_download() as download:
        hand.do("save")
    download.value.save_as(saved)
    with Image.open(saved) as image:
        np.testing.assert_array_equal(np.asarray(image), hand.labels)  # indices are class numbers
        painted = np.array(image.convert("RGB"))
    painted[0, :5] = 9
    Image.fromarray(painted).save(saved)
    hand.page.locator("#map .pick-labels").set_input_files(saved)
    expect(hand.page.locator("#map .note")).to_contain_text("1 unknown colour in 5 of 6144 px")
    hand.labels[0, :5] = 2  # the darkest of the three
    hand.check()
    hand.page.locator("#map-set").click()
    hand.page.locator("#map input[type=search]").fill("thing 18")
    assert hand.page.locator("#map [data-class]:visible").count() == 3
    hand.page.set_viewport_size({"width": 390, "height": 844})
    assert hand.page.evaluate("document.documentElement.scrollWidth") <= 390
