"""The procedural world: landscapes with captions, label maps and boxes.

A `Scene` holds all parameters of one landscape; `rendering.render` draws it deterministically.
Sizes are absolute: a wider canvas shows more of the land at the same scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ldm.data import captions, palettes

CLASSES: dict[str, palettes.Colour] = {
    "sky": (134, 190, 232),
    "sun": (255, 214, 64),
    "moon": (238, 238, 214),
    "cloud": (232, 236, 244),
    "mountain": (124, 122, 148),
    "hill": (142, 176, 120),
    "grass": (86, 152, 70),
    "autumn field": (208, 142, 60),
    "snow": (244, 248, 255),
    "sand": (236, 208, 148),
    "water": (60, 120, 180),
    "pine": (24, 86, 68),
    "tree": (150, 196, 54),
    "house": (196, 62, 54),
    "boat": (130, 66, 150),
}
"""Semantic classes in the order of their ids, each with the colour of its label."""

IDS = {name: i for i, name in enumerate(CLASSES)}
BOX_CLASSES = ("sun", "moon", "pine", "tree", "house", "boat")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "time": ("day", "dawn", "sunset", "night"),
    "weather": ("clear", "cloudy", "overcast", "fog", "snowfall"),
    "ground": ("grass", "autumn", "snow", "sand"),
    "lake": ("no", "yes"),
    "mountains": ("no", "yes"),
}
"""Exclusive attributes and their values. Samples also have `objects`, the visible OBJECTS."""

OBJECTS = ("pine", "tree", "house", "boat")
CHANCES = {"house": 0.42, "pine": 0.45, "tree": 0.42, "boat": 0.6}  # that a kind occurs at all
Counts = dict[str, tuple[int, ...]]
USUAL: Counts = {"house": (1,), "pine": (1, 2, 3), "tree": (1, 2), "boat": (1, 2)}
"""Possible numbers of objects of a kind per 128 px of width, if the kind occurs."""
MORE: Counts = dict.fromkeys(OBJECTS, (1, 1, 2, 3, 4))
"""Numbers of objects in a world from which a model can learn to count."""
GROUND_CLASS = {"grass": "grass", "autumn": "autumn field", "snow": "snow", "sand": "sand"}
VOCABULARY = captions.vocabulary()


@dataclass(frozen=True)
class Thing:
    """One object of a scene."""

    kind: str
    x: float  # of its middle, px
    y: float  # of its foot, px
    size: float  # px
    colour: str | None = None
    tone: int = 0


@dataclass(frozen=True)
class Scene:
    """All parameters that determine a picture."""

    width: int
    height: int
    time: str
    weather: str
    ground: str
    lake: bool
    mountains: bool
    horizon: float  # y in px, where the land begins
    shore: float  # y in px, where the water ends; without a lake, the horizon
    disc: tuple[float, float, float] | None  # x, y, diameter of sun or moon; None: not visible
    clouds: tuple[tuple[float, float, float, int], ...]  # x, y, width, seed of the puffs
    things: tuple[Thing, ...]  # from far to near
    seed: int  # seed of ridges, stars and snowflakes


@dataclass(frozen=True)
class Box:
    """The box of an object's visible part: corners in px, the second one exclusive."""

    label: str
    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class Sample:
    """A drawn scene or a part of one, with all its annotations."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    labels: np.ndarray  # (H, W) uint8, index into CLASSES
    boxes: tuple[Box, ...]
    caption: str
    attributes: dict[str, Any]  # names of ATTRIBUTES -> value, "objects" -> visible kinds
    about: dict[str, Any]  # what a caption may name; see `captions.describe`


def sample(
    rng: np.random.Generator, width: int = 128, height: int = 128, counts: Counts = USUAL
) -> Scene:
    """Draw the parameters of a random scene.

    Args:
        rng: Source of all randomness.
        width: Width in px, at least 64.
        height: Height in px, at least 64.
        counts: Possible numbers of objects per kind, all equally likely.
    """
    unit = _unit(height)
    time = _pick(rng, ATTRIBUTES["time"])
    weather = _pick(rng, ATTRIBUTES["weather"], (0.32, 0.28, 0.14, 0.12, 0.14))
    ground = _pick(rng, ATTRIBUTES["ground"])
    if weather == "snowfall":
        ground = "snow"
    lake = bool(rng.random() < 0.45)
    mountains = bool(rng.random() < 0.6)
    horizon = height * rng.uniform(0.5, 0.6)
    shore = horizon + (height - horizon) * rng.uniform(0.5, 0.78) if lake else horizon
    disc = None
    if weather in ("clear", "cloudy") and rng.random() < 0.8:
        size = rng.uniform(14, 19) * unit
        low = 0.34 if time in ("sunset", "dawn") else 0.2
        x = rng.uniform(0.1, 0.9) * width
        disc = (x, horizon * rng.uniform(low, low + 0.16) + 2, size)
    return Scene(
        width=width,
        height=height,
        time=time,
        weather=weather,
        ground=ground,
        lake=lake,
        mountains=mountains,
        horizon=horizon,
        shore=shore,
        disc=disc,
        clouds=_clouds(rng, weather, width, horizon, unit),
        things=_things(rng, width, height, horizon, shore, lake, unit, counts),
        seed=int(rng.integers(2**31)),
    )


def with_other_things(scene: Scene, rng: np.random.Generator, counts: Counts = USUAL) -> Scene:
    """Return the scene with new random trees, houses and boats; land and sky stay the same."""
    size, shores = (scene.width, scene.height), (scene.horizon, scene.shore)
    things = _things(rng, *size, *shores, scene.lake, _unit(scene.height), counts)
    return replace(scene, things=things)


def _unit(height: int) -> float:
    """Return the scale of objects: 1 for a picture 128 px high, at most 1.5."""
    return min(height, 192) / 128


def caption(sample: Sample, rng: np.random.Generator, share: float = 0.8) -> str:
    """Write another caption of a drawn scene; `share` is that of `captions.describe`."""
    return captions.describe(sample.about, rng, share)


def _pick(
    rng: np.random.Generator, values: Sequence[str], weights: Sequence[float] | None = None
) -> str:
    return str(rng.choice(values, p=weights))


def _clouds(
    rng: np.random.Generator, weather: str, width: int, horizon: float, unit: float
) -> tuple[tuple[float, float, float, int], ...]:
    if weather != "cloudy":
        return ()
    count = max(2, round(width / (128 * unit) * rng.integers(2, 5)))
    places = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count * width
    return tuple(
        (
            float(x),
            float(horizon * rng.uniform(0.22, 0.62)),
            float(rng.uniform(28, 52) * unit),
            int(rng.integers(2**31)),
        )
        for x in places
    )


def _things(
    rng: np.random.Generator,
    width: int,
    height: int,
    horizon: float,
    shore: float,
    lake: bool,
    unit: float,
    counts: Counts,
) -> tuple[Thing, ...]:
    """Draw random groups of objects on the land, and boats on the lake; far ones come first."""
    span = width / (128 * unit)
    things: list[Thing] = []
    slots = _slots(rng, span, width)
    land = np.clip((height - shore) / (height - horizon), 0.15, 1)
    for kind in ("house", "pine", "tree"):
        if rng.random() >= CHANCES[kind]:
            continue
        colour = _pick(rng, tuple(palettes.WALLS)) if kind == "house" else None
        for _ in range(_count(rng, counts[kind], span)):
            if not slots:
                break
            depth = rng.uniform(0.15, 0.8)
            y = shore + (height - shore) * (0.1 + 0.8 * depth)
            near = 0.72 + 0.28 * (1 - land + land * depth)
            low, high = {"house": (34, 42), "pine": (46, 60), "tree": (40, 50)}[kind]
            size = rng.uniform(low, high) * near * unit
            things.append(
                Thing(kind, slots.pop(), float(y), float(size), colour, int(rng.integers(9)))
            )
    if lake and rng.random() < CHANCES["boat"]:
        colour = _pick(rng, tuple(palettes.SAILS))
        places = rng.permutation(_slots(rng, span, width))
        for x in places[: _count(rng, counts["boat"], span)]:
            depth = rng.uniform(0.3, 0.75)
            y = horizon + (shore - horizon) * depth
            size = rng.uniform(22, 30) * (0.75 + 0.35 * depth) * unit
            things.append(Thing("boat", float(x), float(y), float(size), colour))
    return tuple(sorted(things, key=lambda thing: thing.y))


def _count(rng: np.random.Generator, options: tuple[int, ...], span: float) -> int:
    return max(1, round(options[rng.integers(len(options))] * span))


def _slots(rng: np.random.Generator, span: float, width: int) -> list[float]:
    """Return shuffled places along the width in px, about 22 px apart, away from the edges."""
    count = max(2, round(5 * span))
    places = (np.arange(count) + 0.5 + rng.uniform(-0.22, 0.22, count)) / count
    return list(rng.permutation((0.06 + 0.88 * places) * width))
