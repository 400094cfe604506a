"""Drawing of trees, houses, boats, sun, moon and clouds, each from a few flat shapes.

Light falls from the left. `x` is the middle and `y` the foot of an object in px; `s` is its size in
px (height of trees, width of houses and boats).
"""

from __future__ import annotations

import numpy as np

from ldm.data import palettes
from ldm.data.painter import Painter

SHADE = 0.78  # brightness of the side that faces away from the light


def shadow(p: Painter, x: float, y: float, width: float, colour: np.ndarray) -> None:
    """Draw the contact shadow on the ground."""
    p.ellipse((x + 0.12 * width, y), (0.55 * width, 0.09 * width + 0.8), colour, None, 0.28)


def pine(p: Painter, x: float, y: float, s: float, light: Light, label: int) -> None:
    """Draw a conifer: three tiers, split into a light and a dark half."""
    trunk, green = light(palettes.TRUNK), light(palettes.PINE)
    w = 0.24 * s
    shadow(p, x, y, 1.6 * w, light((30, 34, 40)))
    foot = np.array([(x - 0.04 * s, y - 0.2 * s), (x + 0.04 * s, y - 0.2 * s)])
    p.polygon(np.vstack([foot, foot[::-1] + (0, 0.2 * s)]), trunk, label)
    for low, high, half in ((0.12, 0.56, 1.0), (0.34, 0.78, 0.8), (0.58, 1.0, 0.58)):
        top, left, right = (
            (x, y - high * s),
            (x - half * w, y - low * s),
            (x + half * w, y - low * s),
        )
        p.polygon(np.array([top, left, right]), green, label)
        p.polygon(np.array([top, (x + 0.04 * s, y - low * s), right]), green * SHADE, label)
        if light.snowy:
            inner = [(x - 0.45 * half * w, y - (0.4 * high + 0.6 * high) * s + 0.2 * s)]
            cap = np.array(
                [top, inner[0], (x, inner[0][1] - 0.05 * s), (2 * x - inner[0][0], inner[0][1])]
            )
            p.polygon(cap, light(palettes.SNOWCAP), label)


def tree(p: Painter, x: float, y: float, s: float, light: Light, leaf: tuple, label: int) -> None:
    """Draw a broad-leaved tree: a trunk and a crown of ellipses."""
    trunk, leaves = light(palettes.TRUNK), light(leaf)
    shadow(p, x, y, 0.5 * s, light((30, 34, 40)))
    post = np.array([(-0.05, 0), (-0.035, -0.5), (0.035, -0.5), (0.05, 0)]) * s + (x, y)
    p.polygon(post, trunk, label)
    for dx, dy, r, tone in (
        (0.13, -0.56, 0.23, SHADE),
        (-0.13, -0.58, 0.23, 0.92),
        (0.0, -0.74, 0.26, 0.92),
        (-0.06, -0.76, 0.19, 1.08),
    ):
        p.ellipse((x + dx * s, y + dy * s), (r * s, r * s), leaves * tone, label)


def house(
    p: Painter, x: float, y: float, s: float, light: Light, wall: str, roof: str, label: int
) -> None:
    """Draw a gabled house seen from the front corner: walls, roof, chimney, door, windows."""
    front, top = light(palettes.WALLS[wall]), light(palettes.ROOFS[roof])
    shadow(p, x, y, 1.05 * s, light((30, 34, 40)))

    def at(*points: tuple[float, float]) -> np.ndarray:
        return np.array(points, np.float32) * s + (x, y)

    p.polygon(at((0.22, -0.72), (0.32, -0.72), (0.32, -0.4), (0.22, -0.4)), top * 0.85, label)
    p.polygon(at((-0.08, 0), (-0.08, -0.4), (0.46, -0.4), (0.46, 0)), front * SHADE, label)
    p.polygon(at((-0.5, 0), (-0.5, -0.4), (-0.28, -0.7), (-0.06, -0.4), (-0.06, 0)), front, label)
    cap = light(palettes.SNOWCAP) if light.snowy else top
    p.polygon(at((-0.28, -0.76), (0.3, -0.76), (0.54, -0.37), (-0.02, -0.37)), cap, label)
    p.polygon(at((-0.28, -0.76), (-0.56, -0.38), (-0.5, -0.35), (-0.26, -0.67)), cap * 0.86, label)
    glass = np.float32(palettes.LAMP) if light.dark else light(palettes.WINDOW)
    p.polygon(
        at((-0.35, 0), (-0.35, -0.22), (-0.21, -0.22), (-0.21, 0)), light((88, 58, 48)), label
    )
    for left in (0.05, 0.26):
        p.polygon(
            at((left, -0.12), (left, -0.27), (left + 0.13, -0.27), (left + 0.13, -0.12)),
            glass,
            label,
        )
    p.ellipse(tuple(at((-0.28, -0.46))[0]), (0.06 * s, 0.06 * s), glass, label)


def boat(p: Painter, x: float, y: float, s: float, light: Light, sail: str, label: int) -> None:
    """Draw a sailing boat with main sail and jib, and its reflection."""
    cloth, hull = light(palettes.SAILS[sail]), light(palettes.HULL)

    def at(*points: tuple[float, float]) -> np.ndarray:
        return np.array(points, np.float32) * s + (x, y)

    p.polygon(at((-0.3, 0.06), (0.26, 0.06), (0.05, 0.62)), cloth * 0.9, None, 0.3)
    p.polygon(at((-0.42, 0.03), (0.42, 0.03), (0.3, 0.14), (-0.3, 0.14)), hull * 0.7, None, 0.5)
    p.polygon(at((-0.02, -0.16), (-0.02, -1.12), (0.02, -1.12), (0.02, -0.16)), hull, label)
    p.polygon(at((0.04, -0.2), (0.04, -1.08), (0.42, -0.24)), cloth, label)
    p.polygon(at((-0.04, -0.2), (-0.04, -0.96), (-0.38, -0.24)), cloth * 0.86, label)
    p.polygon(at((-0.5, -0.17), (0.5, -0.17), (0.36, 0.05), (-0.34, 0.05)), hull, label)
    p.polygon(at((-0.5, -0.17), (0.5, -0.17), (0.47, -0.11), (-0.46, -0.11)), cloth * 0.95, label)


def disc(p: Painter, x: float, y: float, s: float, colour: np.ndarray, label: int) -> None:
    """Draw the sun or a full moon of diameter s, with its glow; (x, y) is the centre."""
    p.glow((x, y), 1.25 * s, 0.55 * colour + 0.45 * p.image[int(3 * y), int(3 * x)])
    p.ellipse((x, y), (s / 2, s / 2), colour, label)


def cloud(
    p: Painter, x: float, y: float, s: float, colour: np.ndarray, puffs: tuple, label: int
) -> None:
    """Draw a cloud: a flat-bottomed heap of round puffs, s px wide, darker below."""
    for tone, lift in ((0.9, 0.0), (1.0, -0.035 * s)):
        shade = colour * tone
        for dx, r in puffs:
            p.ellipse((x + dx * s, y - 0.55 * r * s + lift), (r * s, 0.8 * r * s), shade, label)
        p.ellipse((x, y + lift), (0.5 * s, 0.1 * s), shade, label)


class Light:
    """Lighting of the time of day, with haze: `light(colour)` -> (3,) float32 0..255."""

    def __init__(
        self, time: str, *, grey: float, snowy: bool, haze: np.ndarray, far: float
    ) -> None:
        self.time = time
        self.grey = grey
        self.snowy = snowy
        self.dark = time == "night"
        self.haze = haze
        self.far = far

    def __call__(self, colour: palettes.Colour) -> np.ndarray:
        value = palettes.lit(colour, self.time, self.grey)
        return value + self.far * (self.haze - value)
