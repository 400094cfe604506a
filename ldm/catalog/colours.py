"""Distinct colours for classes without colours of their own."""

from __future__ import annotations

import colorsys

# Steps of the additive recurrence that spreads points evenly in a cube (Roberts 2018): powers of
# 1 / g with g^4 = g + 1. Successive colours are far apart in hue, lightness and saturation.
STEPS = (0.8191725133961645, 0.6710436067037893, 0.5497004779019703)
LIGHTNESS = (0.28, 0.80)
SATURATION = (0.45, 1.0)


def distinct(count: int) -> tuple[str, ...]:
    """Return `count` distinct colours as "#rrggbb".

    A longer list begins with the colours of a shorter one.
    """
    return tuple(_colour(number) for number in range(count))


def _colour(number: int) -> str:
    hue, light, vivid = (number * step % 1 for step in STEPS)
    lightness = LIGHTNESS[0] + light * (LIGHTNESS[1] - LIGHTNESS[0])
    saturation = SATURATION[0] + vivid * (SATURATION[1] - SATURATION[0])
    parts = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
