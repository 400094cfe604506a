"""The box editor: what it lets through, and a hand and a keyboard on a page of its own."""

import itertools
import math

import gradio as gr
import pytest

from ldm.errors import RequestError
from ldm.requests import Box
from tests.browser import IN_A_BROWSER, free_port, visit
from tests.hand import Hand
from ui import theme
from ui.boxes import BoxEditor, layout, read_boxes

TREE = {"label": "tree", "left": 0.25, "top": 0.5, "right": 0.75, "bottom": 1}
CLASSES = (("sun", "#ffd640"), ("pine", "#185644"), ("<b>house</b>", "#c43e36"))


@pytest.mark.parametrize("payload", [None, "", [], {}, {"boxes": None}, '{"boxes": []}', "null"])
def test_nothing_sent_is_no_box(payload):
    assert read_boxes(payload) == ()


def test_a_value_its_list_and_its_json_are_the_same_boxes():
    box = Box("tree", 0.25, 0.5, 0.75, 1)
    assert read_boxes(layout([box], 128, 64)) == (box,)
    assert read_boxes([TREE, box]) == (box, box)
    assert read_boxes(f"[{str(TREE)}]".replace("'", '"')) == (box,)


@pytest.mark.parametrize(
    "payload",
    [
        3,
        "{",
        "[" * 100_000,
        {"boxes": "tree"},
        [TREE] * 1001,
        [["tree", 0, 0, 1, 1]],
        [TREE | {"left": 0.75}],
        [TREE | {"left": -0.01}],
        [TREE | {"right": 1.01}],
        [TREE | {"top": math.nan}],
        [TREE | {"top": "0"}],
        [TREE | {"label": None}],
        [TREE | {"label": "x" * 81}],
        [TREE | {"colour": "red"}],
        [{"label": "tree"}],
    ],
)
def test_anything_else_is_refused_in_a_sentence(payload):
    with pytest.raises(RequestError):
        read_boxes(payload)
    with pytest.raises(gr.Error):
        BoxEditor().preprocess(payload)


def test_python_gives_boxes_and_a_part_of_a_value_leaves_the_rest():
    editor, box = BoxEditor(), Box("tree", 0.25, 0.5, 0.75, 1)
    assert editor.postprocess((box,)) == {"boxes": [TREE]}
    assert editor.postprocess(None) is None
    shown = layout([box], 128, 64, "/picture.png")
    assert editor.postprocess(shown) == shown
    assert editor.preprocess(editor.postprocess(shown)) == (box,)


@pytest.fixture(scope="module")
def editor_url():
    """A page with the editor and a button that says what the server gets."""
    with gr.Blocks(fill_width=True) as page:
        start = layout([Box("sun", 0.1, 0.1, 0.3, 0.3)], 200, 100)
        editor = BoxEditor(start, classes=CLASSES, limit=3, elem_id="boxes")
        go, got = gr.Button("Generate", elem_id="go"), gr.Textbox(elem_id="got")
        other, tall = gr.Button("Other", elem_id="other"), gr.Button("Tall", elem_id="tall")
        clicks = itertools.count(1)
        go.click(lambda boxes: f"{next(clicks)} {boxes!r}", editor, got)
        other.click(lambda: gr.update(classes=[["boat", "#824296"]], limit=2), None, editor)
        tall.click(None, editor, editor, js="(v) => ({...v, width: 50, height: 100})")
    _, url, _ = page.launch(
        prevent_thread_lock=True,
        server_name="127.0.0.1",
        server_port=free_port(),
        quiet=True,
        ssr_mode=False,
        head=theme.head(),
    )
    yield url
    page.close()


@pytest.fixture
def hand(chromium, editor_url):
    with visit(chromium, editor_url) as page:
        page.goto(editor_url)
        page.locator("#boxes svg g[data-id]").wait_for()
        yield Server(page, "#boxes")


class Server(Hand):
    """The hand, and what its clicks bring to the server."""

    def sent(self):
        """What the server gets on a click that follows at once."""
        from playwright.sync_api import expect  # noqa: PLC0415  (a browser may be missing)

        got = self.page.locator("#got textarea")
        before = got.input_value()
        self.page.locator("#go").click()
        expect(got).not_to_have_value(before)
        return eval(got.input_value().partition(" ")[2], {"Box": Box})  # noqa: S307


def close(box, label, *edges):
    assert box.label == label
    sides = (box.left, box.top, box.right, box.bottom)
    assert sides == pytest.approx(edges, abs=0.006)
    return True


@pytest.mark.usefixtures("hand")
class TestInABrowser:
    pytestmark = IN_A_BROWSER

    def test_draw_move_resize_relabel_delete_and_undo(self, hand):
        hand.choose("pine")
        hand.drag((0.5, 0.2), (0.7, 0.8))
        (sun, pine) = hand.sent()
        assert close(sun, "sun", 0.1, 0.1, 0.3, 0.3) and close(pine, "pine", 0.5, 0.2, 0.7, 0.8)
        hand.drag((0.6, 0.5), (0.7, 0.4))  # move
        hand.drag((0.8, 0.7), (0.9, 0.95))  # its lower right handle
        assert close(hand.sent()[1], "pine", 0.6, 0.1, 0.9, 0.95)
        hand.drag((0.75, 0.5), (2.0, 0.5))  # beyond the page: stops at the edge
        assert close(hand.sent()[1], "pine", 0.7, 0.1, 1.0, 0.95)
        hand.choose("<b>house</b>")  # the selected box becomes one; its name is only text
        assert hand.sent()[1].label == "<b>house</b>"
        assert hand.page.locator("#boxes b", has_text="house").count() == 0
        hand.choose("<b>house</b>")
        hand.press("Delete")  # while the chip has the keys
        assert [box.label for box in hand.sent()] == ["sun"]
        for _ in range(6):  # draw, move, resize, move, name, delete
            hand.do("undo")
        assert [box.label for box in hand.sent()] == ["sun"]
        assert hand.page.locator("#boxes .bar [data-do=undo]").is_disabled()
        hand.do("redo")
        assert close(hand.sent()[1], "pine", 0.5, 0.2, 0.7, 0.8)

    def test_a_key_while_the_hand_draws(self, hand):
        hand.choose("pine")
        hand.drag((0.4, 0.2), (0.5, 0.4))
        hand.drag((0.6, 0.2), (0.8, 0.8), key="Control+z")  # takes back the box in hand
        assert [box.label for box in hand.sent()] == ["sun", "pine"]
        hand.do("redo")
        assert close(hand.sent()[2], "pine", 0.6, 0.2, 0.7, 0.5)
        hand.do("undo")
        hand.drag((0.6, 0.2), (0.8, 0.8), key="Delete")  # does nothing to the box in hand
        assert close(hand.sent()[2], "pine", 0.6, 0.2, 0.8, 0.8)

    def test_by_keyboard_alone_and_by_numbers(self, hand):
        hand.page.locator("#boxes .bar [data-do=add]").focus()
        hand.press("Enter")
        hand.press("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown")
        hand.press("Control+d", "ArrowRight")  # the copy has the keys
        (_, second, third) = hand.sent()
        left, right = third.left - 0.04, third.right - 0.04
        assert close(second, "sun", left, third.top - 0.03, right, third.bottom - 0.03)
        assert second.right - second.left == pytest.approx(0.31)
        hand.page.locator("#boxes svg g[data-id]").nth(1).focus()
        hand.press("Tab", "Shift+Tab", "Enter")  # to the third box, back, into the list
        assert hand.page.evaluate("document.activeElement.tagName") == "SELECT"
        hand.press("p")
        hand.press("Escape", "Delete")
        assert [box.label for box in hand.sent()] == ["sun", "sun"]
        hand.press("Escape")
        hand.page.locator("#boxes .bar [data-do=undo]").focus()
        hand.press("Control+z")
        assert [box.label for box in hand.sent()] == ["sun", "pine", "sun"]
        hand.edge(1, "left").fill("12.5")  # and at once:
        assert hand.sent()[0].left == 0.125
        hand.edge(1, "right").fill("3")
        hand.says("must be 13.5 to 100 %")
        assert hand.sent()[0].right == 0.3
        assert hand.edge(1, "right").input_value() == "30"
        hand.sent()
        hand.page.get_by_text("must be 13.5 to 100 %").wait_for(state="hidden")  # it is over

    def test_limits_other_classes_and_other_shapes(self, hand):
        hand.do("add")
        hand.do("duplicate")
        assert hand.page.get_by_text("3 of 3 boxes").is_visible()
        hand.drag((0.05, 0.9), (0.2, 0.95))
        hand.says("up to 3 boxes")
        hand.drag((0.15, 0.15), (0.16, 0.15))
        hand.press("Control+d")
        hand.do("add")
        assert len(hand.sent()) == 3
        hand.page.locator("#other").click()
        hand.says("does not know sun")
        assert hand.page.get_by_text("3 of 2 boxes").is_visible()
        assert hand.page.locator("#boxes li [aria-invalid=true]").count() == 3
        hand.page.locator("#tall").click()
        hand.page.wait_for_function(
            "(() => { const s = document.querySelector('#boxes svg'); "
            "return Math.abs(s.clientHeight / s.clientWidth - 2) < 0.02; })()"
        )
        assert len(hand.sent()) == 3
        hand.page.set_viewport_size({"width": 390, "height": 844})
        assert hand.page.evaluate("document.documentElement.scrollWidth") <= 390
