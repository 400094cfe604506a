"""A person's hand in the box editor."""


class Hand:
    """Mouse and keyboard on one editor; points on its canvas are fractions of it.

    Args:
        page: The browser's page.
        root: Selects the editor.
    """

    def __init__(self, page, root):
        self.page, self.root = page, page.locator(root)

    def drag(self, start, end, key=None):
        """Press a key, if any, in the middle of it."""
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        area = self.root.locator("svg").bounding_box()
        for which, (x, y) in enumerate((start, middle, end)):
            at = (area["x"] + x * area["width"], area["y"] + y * area["height"])
            self.page.mouse.move(*at, steps=4)
            if which == 0:
                self.page.mouse.down()
            if which == 1 and key:
                self.page.keyboard.press(key)
        self.page.mouse.up()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name):
        return self.root.locator(f".bar [data-do={name}]")

    def do(self, name):
        self.button(name).click()

    def choose(self, name):
        self.root.locator(".chip", has_text=name).click()

    def edge(self, row, name):
        return self.root.locator(f"li:nth-child({row}) input[data-edge={name}]")

    def labels(self):
        return [name.input_value() for name in self.root.locator("li select").all()]

    def says(self, part):
        self.root.locator("[data-part=said]", has_text=part).wait_for()
