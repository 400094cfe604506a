"""What is drawn can be told apart (WCAG 2.2, 1.4.3 and 1.4.11), by day and in the dark."""

import pytest

from ui.theme import COLOURS


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("shade", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("name", "on", "least"),
    [
        ("body_text_color_subdued", "body_background_fill", 4.5),
        ("block_info_text_color", "block_background_fill", 4.5),
        ("input_placeholder_color", "input_background_fill", 4.5),
        ("button_primary_text_color", "button_primary_background_fill", 4.5),
        ("link_text_color", "body_background_fill", 4.5),
        ("input_border_color", "block_background_fill", 3),
        ("checkbox_border_color", "block_background_fill", 3),
        ("slider_color", "block_background_fill", 3),
    ],
)
def test_it_stands_out(name, on, least, shade):
    dark, light = sorted(luminance(COLOURS[one][shade]) for one in (name, on))
    assert (light + 0.05) / (dark + 0.05) >= least
