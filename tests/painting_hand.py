"""A mouse over a painter of the page, and the same painting done by the documented rule."""

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import expect


class Hand:
    """A mouse over one of the canvases, and the same painting done by the documented rule."""

    def __init__(self, page):
        self.page = page
        expect.set_options(timeout=30_000)  # as long as all else may take on a busy machine
        self.labels = np.zeros((1, 1), np.uint8)

    def take(self, name):
        """Turn to the painter with this id."""
        self.kind, self.board = name, self.page.locator(f"#{name} .board")
        self.page.locator(f"#{name} .painter[data-ready]").wait_for()

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

    def drag(self, *places, button="left", key=None):
        """Move over places, in shares of the board; gives them in picture px, and the radius.

        `key` is pressed on the way to the last one.
        """
        view = self.look()
        points = []
        for i, (across, down) in enumerate(places):
            x = round(view["left"] + across * view["width"])
            y = round(view["top"] + down * view["height"])
            if key and i == len(places) - 1:
                self.page.keyboard.press(key)
            self.page.mouse.move(x, y)
            if i == 0:
                self.page.mouse.down(button=button)
            at = (x - view["left"] - view["x"], y - view["top"] - view["y"])
            points.append([np.floor(8 * c / view["scale"] + 0.5) / 8 for c in at])
        self.page.mouse.up(button=button)
        return points, view["size"] / 2

    def brush(self, *places, label=1, button="left", ended_by=None):
        """A stroke; a key that ends it is pressed on the way to the last place."""
        points, radius = self.drag(*places, button=button, key=ended_by)
        points = points[:-1] if ended_by else points
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


def centres(labels):
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    return columns + 0.5, rows + 0.5


def paint_segment(labels, a, b, radius, label):
    """A pixel is painted if its centre lies within the radius of the segment from a to b."""
    left, top = (max(0, int(min(a[i], b[i]) - radius) - 1) for i in (0, 1))
    right, bottom = (max(0, int(max(a[i], b[i]) + radius) + 2) for i in (0, 1))
    near = labels[top:bottom, left:right]  # the rest is further away than the radius
    x, y = centres(near)
    x, y = x + left, y + top
    dx, dy = b[0] - a[0], b[1] - a[1]
    share = ((x - a[0]) * dx + (y - a[1]) * dy) / ((dx * dx + dy * dy) or 1)
    share = np.clip(share, 0, 1)
    near[np.hypot(x - a[0] - share * dx, y - a[1] - share * dy) <= radius + 1e-9] = label


def fill(labels, x, y, label):
    """What is joined to (x, y) by sides and of one class, as OpenCV finds it."""
    if 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]:
        cv2.floodFill(labels, None, (x, y), label, flags=4)
