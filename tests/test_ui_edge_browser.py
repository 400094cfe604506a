"""What the painter shows of a mask's edge is what `ldm.tasks.inpaint` will change."""

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm.requests import EncodedImage, Inpaint
from ldm.requests.shared_fields import called
from ldm.tasks.area import rolled
from ldm.tasks.inpaint import hole_of
from tests.browser import IN_A_BROWSER, open_page, visit
from tests.painting_hand import Hand

pytestmark = IN_A_BROWSER
CANVAS = "inpaint-painting"
SIZE = (120, 80)
ROOM = 16  # px that the canvas grows by on the right
# grow, feather, seamless
EDGES = (
    (3, 4, "across"),
    (0, 0, "no"),
    (0, 9, "no"),
    (5, 0, "no"),
    (7, 6, "no"),
    (-4, 0, "no"),
    (-6, 5, "no"),
    (-64, 3, "no"),
    (21, 30, "across"),
    (7, 6, "down"),
    (-6, 5, "both"),
)
# The effect, and how opaque every px of the grown canvas is drawn at its centre (0 to 255)
LOOK = f"""() => {{
  const root = document.querySelector("#{CANVAS} .painter"), over = root.querySelectorAll("canvas")[1];
  const {{ effect, view }} = root.painter, drawn = [];
  const {{ data }} = over.getContext("2d").getImageData(0, 0, over.width, over.height);
  const at = (css) => Math.floor(css * over.width / over.clientWidth);
  for (let y = 0; y < {SIZE[1]}; y++) for (let x = 0; x < {SIZE[0] + ROOM}; x++) {{
    const row = at(view.y + (y + 0.5) * view.scale), column = at(view.x + (x + 0.5) * view.scale);
    drawn.push(data[4 * (row * over.width + column) + 3]);
  }}
  return {{ drawn, effect: effect && {{ ...effect, alpha: [...effect.alpha] }} }};
}}"""  # noqa: E501


@pytest.fixture
def hand(chromium, url, tmp_path):
    with visit(chromium, url) as page:
        open_page(page, f"{url}/?tab=inpaint&outpaint_right={ROOM}")
        hand = Hand(page)
        hand.take(CANVAS)
        Image.new("RGB", SIZE, "teal").save(tmp_path / "photo.png")
        hand.load(tmp_path / "photo.png")
        yield hand


def set_edge(page, grow, feather, seamless):
    """As the tab does when its fields change."""
    about = [0, 0, ROOM, 0, grow, feather, seamless]
    page.evaluate(f"about => latentCanvas.adjustPainter('{CANVAS}', about)", about)
    expect_edge(page, grow, feather, seamless)


def type_edge(page, grow, feather, seamless):
    for name, value in (("grow", grow), ("feather", feather)):
        page.locator(f"#inpaint-mask-{name} input[type=number]").fill(str(value))
        page.keyboard.press("Tab")
    chooser = page.locator("#inpaint-seamless input")
    name = called("seamless", seamless)
    if chooser.input_value() != name:
        chooser.click()
        page.get_by_role("option", name=name, exact=True).click()
    expect_edge(page, grow, feather, seamless)


def expect_edge(page, grow, feather, seamless):
    wanted = f"#{CANVAS} .painter[data-edge='{grow} {feather} {seamless}']"
    expect(page.locator(wanted)).to_have_count(1)  # drawn with these


def to_be_done(labels, grow, feather, seamless):
    """(height, width) of the grown canvas, 0 to 1: how much of it inpainting makes anew."""
    request = Inpaint(
        image=EncodedImage.from_array(np.zeros((*labels.shape, 3), np.uint8)),
        mask=EncodedImage.from_array(255 * labels),
        mask_grow=grow,
        mask_feather=feather,
        outpaint_right=ROOM,
        seamless=seamless,
        working_size=64,
    )
    hole = hole_of(request)
    return rolled(hole.alpha, tuple(-by for by in hole.turn))


def seen(page):
    """The effect and what is drawn, both (height, width) 0 to 255."""
    width, height = SIZE[0] + ROOM, SIZE[1]
    looked = page.evaluate(LOOK)
    effect, alpha = looked["effect"], np.zeros((height, width))
    if effect:
        left, top, w, h = (int(effect[name]) for name in ("x0", "y0", "width", "height"))
        alpha[top : top + h, left : left + w] = np.reshape(effect["alpha"], (h, w))
    return alpha, np.reshape(looked["drawn"], (height, width))


def agree(alpha, wanted):
    """Of 255 and of 1: they differ by rounding only, and nothing that changes is left out."""
    return not ((alpha > 0) != (wanted > 0)).any() and np.abs(alpha - 255 * wanted).max() < 1.01


def test_an_edge_is_shown_as_it_will_be_done(hand):
    hand.brush((0.2, 0.3), (0.35, 0.6))
    hand.brush((0.02, 0.02), (0.1, 0.02))  # at two edges that may meet others
    hand.tool("rectangle")
    hand.rectangle((0.5, 0.4), (0.62, 0.7))
    mask = np.pad(hand.labels == 1, ((0, 0), (0, ROOM)), constant_values=True)
    hand.page.locator("#inpaint-sampling button").first.press("Enter")
    for edge in EDGES:
        (type_edge if edge == EDGES[0] else set_edge)(hand.page, *edge)
        alpha, drawn = seen(hand.page)
        wanted = to_be_done(hand.labels, *edge)
        assert agree(alpha, wanted), edge
        # what is shrunk away stays to be seen, faintly
        assert np.argwhere((drawn > 0) != ((wanted > 0) | mask)).tolist() == [], edge

    hand.tool("brush")
    hand.brush((0.8, 0.2), (0.8, 0.8))  # and it follows the hand
    alpha, _ = seen(hand.page)
    assert agree(alpha, to_be_done(hand.labels, *EDGES[-1]))
