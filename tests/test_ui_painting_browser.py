"""A hand on the canvas: what the server gets is what was painted, pixel for pixel."""

import cv2
import gradio as gr
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER, free_port, visit
from ui.painting import Painter, Painting

pytestmark = IN_A_BROWSER
SIZES = (
    (1, 1),
    (3, 7),
    (64, 64),
    (255, 127),
    (333, 77),
    (511, 767),
    (640, 480),
    (1023, 513),
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
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=free_port()
    )
    yield url
    page.close()
    patch.undo()


@pytest.fixture
def hand(chromium, canvas_url, got):
    with visit(chromium, canvas_url) as page:
        page.goto(canvas_url)
        yield Hand(page, got)


class Hand:
    """A mouse over one of the canvases, and the same painting done by the documented rule."""

    def __init__(self, page, got):
        self.page, self.got = page, got
        self.labels = np.zeros((1, 1), np.uint8)
        self.open("mask")

    def open(self, kind):
        self.kind, self.board = kind, self.page.locator(f"#{kind} .board")
        self.page.locator(f"#tab-{kind}-button").click()
        self.page.locator(f"#{kind} .painter[data-ready]").wait_for()

    def load(self, path):
        before = self.page.locator(f"#{self.kind} .painter").get_attribute("data-changes")
        self.page.locator(f"#{self.kind} .pick-picture").set_input_files(path)
        self.changed(before)
        width, height = Image.open(path).size
        self.labels = np.zeros((height, width), np.uint8)

    def changed(self, before):
        painter = self.page.locator(f"#{self.kind} .painter")
        expect(painter).not_to_have_attribute("data-changes", before)

    def do(self, name):
        self.page.locator(f"#{self.kind} [data-do={name}]").click()

    def tool(self, name):
        self.page.locator(f"#{self.kind} [data-tool={name}]").click()

    def look(self):
        """The board's inner corner on the screen, and the view on the picture."""
        return self.page.evaluate(
            """(kind) => {
              const root = document.querySelector(`#${kind} .painter`);
              const board = root.querySelector(".board");
              board.scrollIntoView({ block: "center" });
              const box = board.getBoundingClientRect();
              return { left: box.left + board.clientLeft, top: box.top + board.clientTop,
                width: box.width, height: box.height, ...root.painter.view,
                size: parseInt(root.querySelector(".size").textContent) };
            }""",
            self.kind,
        )

    def drag(self, *places, button="left"):
        """Move over places, in shares of the board; gives them in picture px, and the radius."""
        view = self.look()
        points = []
        for i, (across, down) in enumerate(places):
            x = round(view["left"] + across * view["width"])
            y = round(view["top"] + down * view["height"])
            self.page.mouse.move(x, y)
            if i == 0:
                self.page.mouse.down(button=button)
            at = (x - view["left"] - view["x"], y - view["top"] - view["y"])
            points.append([np.floor(8 * c / view["scale"] + 0.5) / 8 for c in at])
        self.page.mouse.up(button=button)
        return points, view["size"] / 2

    def brush(self, *places, label=1, button="left"):
        points, radius = self.drag(*places, button=button)
        for a, b in zip([points[0], *points], points, strict=False):
            paint_segment(self.labels, a, b, radius, label)

    def line(self, *places, label=1):
        points, radius = self.drag(*places)
        paint_segment(self.labels, points[0], points[-1], radius, label)

    def rectangle(self, *places, label=1):
        (a, *_, b), _ = self.drag(*places)
        x, y = centres(self.labels)
        inside = (x >= min(a[0], b[0])) & (x <= max(a[0], b[0]))
        self.labels[inside & (y >= min(a[1], b[1])) & (y <= max(a[1], b[1]))] = label

    def fill(self, place, label=1):
        (x, y), *_ = self.drag(place)[0]
        fill(self.labels, int(np.floor(x)), int(np.floor(y)), label)

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


def centres(labels):
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    return columns + 0.5, rows + 0.5


def paint_segment(labels, a, b, radius, label):
    """A pixel is painted if its centre lies within the radius of the segment from a to b."""
    x, y = centres(labels)
    dx, dy = b[0] - a[0], b[1] - a[1]
    share = ((x - a[0]) * dx + (y - a[1]) * dy) / ((dx * dx + dy * dy) or 1)
    share = np.clip(share, 0, 1)
    labels[np.hypot(x - a[0] - share * dx, y - a[1] - share * dy) <= radius + 1e-9] = label


def fill(labels, x, y, label):
    """What is joined to (x, y) by sides and of one class, as OpenCV finds it."""
    if 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]:
        cv2.floodFill(labels, None, (x, y), label, flags=4)


def test_the_server_gets_exactly_what_was_painted_at_twelve_sizes(hand, tmp_path):
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
    hand.page.keyboard.press("Control+z")
    hand.board.focus()
    hand.page.keyboard.press("Control+z")
    hand.page.keyboard.press("Control+z")
    np.testing.assert_array_equal(hand.hand_over().labels, before)
    hand.page.locator("#mask-set").click()  # a value from Python: the inverse
    hand.labels = 1 - before
    marked = f"{100 * hand.labels.mean():.1f}".removesuffix(".0")
    expect(hand.page.locator("#mask .about")).to_contain_text(f"· {marked} % marked")
    hand.check()
    hand.page.wait_for_timeout(1500)  # what is remembered is written a little later
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
    hand.tool("fill")
    hand.fill((0.5, 0.45), label=1)
    hand.check()
    hand.do("undo")
    assert set(np.unique(hand.hand_over().labels)) == {0, 1, 2}
    hand.do("redo")
    hand.page.locator("#map [data-across='2'][data-down='1']").click()
    expect(hand.page.locator("#map .about")).to_contain_text("128 × 64 px")
    value = hand.hand_over()
    columns = ((np.arange(128) + 0.5) * 96 / 128).astype(int)
    np.testing.assert_array_equal(value.labels, hand.labels[:, columns])
    hand.do("undo")
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
