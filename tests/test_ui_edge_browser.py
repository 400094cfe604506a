"""What the painter shows of a mask's edge is what `ldm.tasks.inpaint` will change."""

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm.tasks.inpaint import changed, feathered
from tests.browser import IN_A_BROWSER, open_page, visit
from tests.painting_hand import Hand

pytestmark = IN_A_BROWSER
CANVAS = "inpaint-painting"
SIZE = (120, 80)
ROOM = 16  # px that the canvas grows by on the right
EDGES = ((0, 0), (0, 9), (5, 0), (7, 6), (-4, 0), (-6, 5), (-64, 3), (21, 30))  # grow, feather
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


def set_edge(page, grow, feather):
    for name, value in (("grow", grow), ("feather", feather)):
        page.locator(f"#inpaint-mask-{name} input[type=number]").fill(str(value))
        page.keyboard.press("Tab")
    wanted = f"#{CANVAS} .painter[data-edge='{grow} {feather}']"
    expect(page.locator(wanted)).to_have_count(1)  # drawn with these


def seen(page):
    """The effect and what is drawn, both (height, width) 0 to 255."""
    width, height = SIZE[0] + ROOM, SIZE[1]
    looked = page.evaluate(LOOK)
    effect, alpha = looked["effect"], np.zeros((height, width))
    if effect:
        left, top, w, h = (int(effect[name]) for name in ("x0", "y0", "width", "height"))
        alpha[top : top + h, left : left + w] = np.reshape(effect["alpha"], (h, w))
    return alpha, np.reshape(looked["drawn"], (height, width))


def within_a_pixel(one, other):
    """Two masks agree but for one px at their edges."""

    def wider(mask):
        padded = np.pad(mask, 1)
        rows, columns = mask.shape
        shifts = [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
        return np.any(shifts, axis=0)

    return not (one & ~wider(other)).any() and not (other & ~wider(one)).any()


def test_grow_and_feather_are_shown_as_they_will_be_done(hand):
    hand.brush((0.2, 0.3), (0.35, 0.6))
    hand.tool("rectangle")
    hand.rectangle((0.5, 0.4), (0.62, 0.7))
    mask = np.pad(hand.labels == 1, ((0, 0), (0, ROOM)), constant_values=True)
    for grow, feather in EDGES:
        set_edge(hand.page, grow, feather)
        wanted = feathered(changed(mask, grow), feather)
        alpha, drawn = seen(hand.page)
        for share in (0.001, 0.3, 0.6, 0.99):
            assert within_a_pixel(alpha / 255 > share, wanted > share), (grow, feather, share)
        # what is shrunk away stays to be seen, faintly
        assert within_a_pixel(drawn > 0, (wanted > 0.004) | mask), (grow, feather)

    hand.tool("brush")
    hand.brush((0.8, 0.2), (0.8, 0.8))  # and it follows the hand
    mask[:, : SIZE[0]] = hand.labels == 1
    wanted = feathered(changed(mask, EDGES[-1][0]), EDGES[-1][1])
    alpha, _ = seen(hand.page)
    assert within_a_pixel(alpha > 0, wanted > 0.004)
