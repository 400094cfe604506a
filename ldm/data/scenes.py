"""The embedded world: procedural landscapes with captions, label maps and boxes.

A `Scene` is all parameters of one landscape; `render` draws it, the same for the same scene.
Sizes are absolute: a wider canvas shows more of the land at the same scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ldm.data import captions, objects, palettes
from ldm.data.objects import Light
from ldm.data.painter import SUPERSAMPLE, Painter

CLASSES: dict[str, palettes.Colour] = {
    "sky": (134, 190, 232),
    "sun": (255, 214, 64),
    "moon": (238, 238, 214),
    "cloud": (232, 236, 244),
    "mountain": (124, 122, 148),
    "hill": (142, 176, 120),
    "grass": (86, 152, 70),
    "meadow": (208, 142, 60),
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
"""Exclusive attributes and their values; `objects` lists which of OBJECTS are there besides."""

OBJECTS = ("pine", "tree", "house", "boat")
GROUND_CLASS = {"grass": "grass", "autumn": "meadow", "snow": "snow", "sand": "sand"}
MIN_DISC = 60  # px of the sun or moon that must be seen for it to be named
MIN_VISIBLE = 0.3  # share of an object's own area that must be seen for it to be named
VOCABULARY = captions.vocabulary()


@dataclass(frozen=True)
class Thing:
    """One object: middle and foot in px, size in px."""

    kind: str
    x: float
    y: float
    size: float
    colour: str | None = None
    tone: int = 0


@dataclass(frozen=True)
class Scene:
    """All that determines a picture."""

    width: int
    height: int
    time: str
    weather: str
    ground: str
    lake: bool
    mountains: bool
    horizon: float  # y in px, where the land begins
    shore: float  # y in px, where the water ends; the horizon without a lake
    disc: tuple[float, float, float] | None  # x, y, diameter of sun or moon, if it is out
    clouds: tuple[tuple[float, float, float, int], ...]  # x, y, width, seed of the puffs
    things: tuple[Thing, ...]  # from far to near
    seed: int  # of ridges, stars and snowflakes


@dataclass(frozen=True)
class Box:
    """An object's visible part: corners in px, the second one exclusive."""

    label: str
    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class Sample:
    """A drawn scene."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    labels: np.ndarray  # (H, W) uint8, index into CLASSES
    boxes: tuple[Box, ...]
    caption: str
    attributes: dict[str, Any]  # ATTRIBUTES -> value, "objects" -> the kinds that are visible
    about: dict[str, Any]  # what captions may name, for `caption`


def sample(rng: np.random.Generator, width: int = 128, height: int = 128) -> Scene:
    """Draw the parameters of a scene.

    Args:
        rng: All of its randomness.
        width: px, at least 64.
        height: px, at least 64.
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
        things=_things(rng, width, height, horizon, shore, lake, unit),
        seed=int(rng.integers(2**31)),
    )


def with_other_things(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same land under the same sky, with trees, houses and boats drawn anew."""
    size, shores = (scene.width, scene.height), (scene.horizon, scene.shore)
    things = _things(rng, *size, *shores, scene.lake, _unit(scene.height))
    return replace(scene, things=things)


def _unit(height: int) -> float:
    """What things are measured in, px: 1 in a picture of 128 px, no more than 1.5 in any."""
    return min(height, 192) / 128


def render(scene: Scene) -> Sample:
    """Draw a scene."""
    p = Painter(scene.width, scene.height)
    rng = np.random.default_rng(scene.seed)
    _sky(p, scene, rng)
    _land(p, scene, rng)
    boxes, visible = _objects(p, scene)
    _air(p, scene, rng)
    image, labels = p.finish()
    boxes = (*_disc_box(scene, labels), *boxes)
    about = _about(scene, boxes, visible)
    sentence = captions.describe(about, rng)
    return Sample(image, labels, boxes, sentence, _attributes(scene, about), about)


def caption(sample: Sample, rng: np.random.Generator, share: float = 0.8) -> str:
    """One more wording for a drawn scene; `share` is the chance of naming each property."""
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
) -> tuple[Thing, ...]:
    """Groups of alike objects on the land, and boats on the lake; far ones first."""
    span = width / (128 * unit)
    things: list[Thing] = []
    slots = _slots(rng, span, width)
    land = np.clip((height - shore) / (height - horizon), 0.15, 1)
    for kind in ("house", "pine", "tree"):
        chance, most = {"house": (0.42, 1), "pine": (0.45, 3), "tree": (0.42, 2)}[kind]
        if rng.random() >= chance:
            continue
        colour = _pick(rng, tuple(palettes.WALLS)) if kind == "house" else None
        for _ in range(max(1, round(rng.integers(1, most + 1) * span))):
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
    if lake and rng.random() < 0.6:
        colour = _pick(rng, tuple(palettes.SAILS))
        for x in rng.permutation(_slots(rng, span, width))[
            : max(1, round(rng.integers(1, 3) * span))
        ]:
            depth = rng.uniform(0.3, 0.75)
            y = horizon + (shore - horizon) * depth
            size = rng.uniform(22, 30) * (0.75 + 0.35 * depth) * unit
            things.append(Thing("boat", float(x), float(y), float(size), colour))
    return tuple(sorted(things, key=lambda thing: thing.y))


def _slots(rng: np.random.Generator, span: float, width: int) -> list[float]:
    """Places along the width, shuffled, about 22 px apart, none touching the frame."""
    count = max(2, round(5 * span))
    places = (np.arange(count) + 0.5 + rng.uniform(-0.22, 0.22, count)) / count
    return list(rng.permutation((0.06 + 0.88 * places) * width))


def _grey(scene: Scene) -> float:
    return {"overcast": 0.45, "fog": 0.35, "snowfall": 0.3}.get(scene.weather, 0.0)


def _sky_colours(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    grey = scene.weather in ("overcast", "fog", "snowfall")
    top, low = (palettes.GREY_SKIES if grey else palettes.SKIES)[scene.time]
    return np.float32(top), np.float32(low)


def _light(scene: Scene, far: float = 0.0) -> Light:
    return Light(
        scene.time,
        grey=_grey(scene),
        snowy=scene.ground == "snow",
        haze=_sky_colours(scene)[1],
        far=far,
    )


def _sky(p: Painter, scene: Scene, rng: np.random.Generator) -> None:
    top, low = _sky_colours(scene)
    p.terrain(np.zeros(p.width), top, low, scene.horizon, IDS["sky"])
    if scene.time == "night" and scene.weather in ("clear", "cloudy"):
        for _ in range(round(16 * scene.width / 128)):
            x, y, r = (
                rng.uniform(0, p.width),
                rng.uniform(0, 0.7 * scene.horizon),
                rng.uniform(0.7, 1.1),
            )
            p.ellipse((x, y), (r, r), np.float32((214, 222, 255)), None, 0.85)
    if scene.disc:
        label = IDS["moon" if scene.time == "night" else "sun"]
        objects.disc(p, *scene.disc, np.float32(palettes.SUN[scene.time]), label)
    for x, y, s, seed in scene.clouds:
        shape = np.random.default_rng(seed)
        puffs = tuple((dx, shape.uniform(0.13, 0.22)) for dx in (-0.3, -0.12, 0.06, 0.22, 0.34))
        objects.cloud(p, x, y, s, np.float32(palettes.CLOUD[scene.time]), puffs, IDS["cloud"])
    if scene.weather == "overcast":
        colour = _sky_colours(scene)[0]
        for lift, tone in ((0.62, 1.1), (0.42, 0.98), (0.24, 0.88)):
            _cloud_bank(p, scene.horizon * lift, colour * tone, rng)


def _cloud_bank(p: Painter, y: float, colour: np.ndarray, rng: np.random.Generator) -> None:
    """A closed ceiling of cloud down to about y, with a soft scalloped edge."""
    p.polygon(np.array([(0, 0), (p.width, 0), (p.width, y), (0, y)]), colour, IDS["cloud"])
    for x in np.arange(-10, p.width + 20, 17.0):
        r = rng.uniform(9, 16)
        p.ellipse((x + rng.uniform(-4, 4), y - 2), (1.3 * r, 0.62 * r), colour, IDS["cloud"])


def _land(p: Painter, scene: Scene, rng: np.random.Generator) -> None:
    if scene.mountains:
        _mountains(p, scene, rng, height=0.34, far=0.62)
        _mountains(p, scene, rng, height=0.24, far=0.36)
    light = _light(scene, 0.3)
    hill = light(palettes.HILLS[scene.ground])
    for lift, tone in ((0.1, 1.06), (0.05, 0.94)):
        ridge = _wave(rng, p.width, scene.horizon - lift * scene.horizon, 0.07 * scene.horizon)
        colour = hill * tone + (1 - tone) * 40
        p.terrain(ridge, colour, colour * 0.94, 0.2 * p.height, IDS["hill"])
    if scene.lake:
        _water(p, scene, rng)
    far, near = (_light(scene)(c) for c in palettes.GROUNDS[scene.ground])
    edge = scene.shore if scene.lake else scene.horizon
    ridge = _wave(rng, p.width, edge, 1.6 if scene.lake else 2.4)
    label = IDS[GROUND_CLASS[scene.ground]]
    p.terrain(ridge, far, near, p.height - edge, label)
    for _ in range(2):  # broad, quiet swells of the ground
        edge += (p.height - edge) * rng.uniform(0.3, 0.45)
        colour = near * 0.5 + far * 0.5
        p.terrain(_wave(rng, p.width, edge, 3.0), colour, near * 0.95, p.height - edge, label)


def _wave(rng: np.random.Generator, width: int, y: float, swing: float) -> np.ndarray:
    """A smooth ridge line of about 1 to 3 waves per 128 px."""
    x = np.arange(width) / 128
    line = np.zeros(width)
    for frequency in (0.7, 1.3, 2.3):
        phase, amount = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0) / frequency
        line += amount * np.sin(2 * np.pi * frequency * x + phase)
    return y + 0.5 * swing * line


def _mountains(
    p: Painter, scene: Scene, rng: np.random.Generator, *, height: float, far: float
) -> None:
    """A chain of peaks, each with a light face, a dark face and a cap of snow."""
    light = _light(scene, far)
    rock, snow = light(palettes.ROCK), light(palettes.SNOWCAP)
    base = scene.horizon
    x = rng.uniform(-30, 5)
    peaks = []
    while x < p.width + 20:
        tall = rng.uniform(0.6, 1.0) * height * p.height
        peaks.append((x, base - 0.06 * p.height - tall, tall * rng.uniform(1.0, 1.35)))
        x += rng.uniform(0.7, 1.25) * tall * 1.2
    for i in rng.permutation(len(peaks)):
        cx, top, half = peaks[i]
        left, right, low = cx - half, cx + 0.9 * half, base + 2
        spine = cx + rng.uniform(-0.06, 0.14) * half
        p.polygon(np.array([(cx, top), (left, low), (right, low)]), rock, IDS["mountain"])
        dark = [(cx, top), (cx + 0.1 * half, top + 0.35 * (low - top)), (spine, low), (right, low)]
        p.polygon(np.array(dark), rock * 0.84, IDS["mountain"])
        if scene.ground != "sand":
            _snowcap(p, (cx, top), (left, right, low), snow, rng)


def _snowcap(
    p: Painter,
    peak: tuple[float, float],
    foot: tuple[float, float, float],
    snow: np.ndarray,
    rng: np.random.Generator,
) -> None:
    (cx, top), (left, right, low) = peak, foot
    depth = rng.uniform(0.3, 0.4)

    def on(share: float, drop: float) -> tuple[float, float]:
        """A point `drop` of the way down, at `share` of the slope's width there."""
        x = left * (1 - share) + right * share
        return cx + (x - cx) * drop, top + (low - top) * drop

    teeth = [on(0.0, depth), on(0.22, depth * 0.78), on(0.4, depth * 1.2), on(0.56, depth * 0.8)]
    teeth += [on(0.78, depth * 1.1), on(1.0, depth * 0.8)]
    p.polygon(np.array([(cx, top), *teeth]), snow, IDS["mountain"])
    dark = [(cx, top), on(0.52, depth * 0.8), *teeth[4:]]
    p.polygon(np.array(dark), snow * 0.88, IDS["mountain"])


def _water(p: Painter, scene: Scene, rng: np.random.Generator) -> None:
    """A mirror of what stands above the horizon, darker towards the near shore."""
    scale = SUPERSAMPLE
    start, stop = round(scene.horizon * scale), min(round((scene.shore + 4) * scale), len(p.image))
    rows = np.arange(start, stop)
    source = np.clip(start - 1 - (rows - start) * 0.92, 0, None).astype(np.float32)
    ripple = 1.6 * scale * np.sin(rows / (2.2 * scale)) * np.linspace(0.1, 1, len(rows))
    columns = np.arange(p.image.shape[1], dtype=np.float32)
    xs = (columns[None] + ripple[:, None]).astype(np.float32)
    ys = np.repeat(source[:, None], len(columns), axis=1)
    mirror = cv2.remap(p.image, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    tint = _light(scene)(palettes.WATER)
    share = np.linspace(0.22, 0.5, len(rows), dtype=np.float32)[:, None, None]
    p.image[start:stop] = (mirror + share * (tint - mirror)).astype(np.uint8)
    p.labels[start:stop] = IDS["water"]


def _objects(p: Painter, scene: Scene) -> tuple[tuple[Box, ...], list[Thing]]:
    """Draw the things from far to near; boxes of what stays visible."""
    owner = np.zeros(p.labels.shape, np.uint8)
    full = []
    for i, thing in enumerate(scene.things, start=1):
        before = p.labels
        p.labels = np.full_like(before, 255)
        _draw(p, scene, thing)
        mask = p.labels != 255
        p.labels = np.where(mask, p.labels, before)
        owner[mask] = i
        full.append(int(mask.sum()))
    owner = owner[SUPERSAMPLE // 2 :: SUPERSAMPLE, SUPERSAMPLE // 2 :: SUPERSAMPLE]
    boxes, visible = [], []
    for i, thing in enumerate(scene.things, start=1):
        ys, xs = np.nonzero(owner == i)
        if len(xs) * SUPERSAMPLE**2 >= MIN_VISIBLE * full[i - 1] and len(xs) >= 24:
            boxes.append(_box(thing.kind, xs, ys))
            visible.append(thing)
    return tuple(boxes), visible


def _draw(p: Painter, scene: Scene, thing: Thing) -> None:
    light = _light(scene, 0.06)
    where = (p, thing.x, thing.y, thing.size, light)
    if thing.kind == "pine":
        objects.pine(*where, IDS["pine"])
    elif thing.kind == "tree":
        leaves = palettes.LEAVES[scene.ground]
        objects.tree(*where, leaves[thing.tone % len(leaves)], IDS["tree"])
    elif thing.kind == "house":
        objects.house(*where, thing.colour, tuple(palettes.ROOFS)[thing.tone % 2], IDS["house"])
    else:
        objects.boat(*where, thing.colour, IDS["boat"])


def _air(p: Painter, scene: Scene, rng: np.random.Generator) -> None:
    """Fog and falling snow, in front of everything."""
    if scene.weather == "fog":
        colour = _sky_colours(scene)[1] * 0.6 + 0.4 * _sky_colours(scene)[1].mean()
        rows = np.arange(p.height)
        p.veil(0.25 + 0.5 * np.exp(-(((rows - scene.horizon) / (0.2 * p.height)) ** 2)), colour)
    elif scene.weather == "snowfall":
        flake = np.float32((250, 252, 255)) * (0.62 if scene.time == "night" else 1.0)
        for _ in range(round(0.0034 * p.width * p.height)):
            x, y, r = rng.uniform(0, p.width), rng.uniform(0, p.height), rng.uniform(0.9, 1.5)
            p.ellipse((x, y), (r, r), flake, None, 0.85)


def _box(kind: str, xs: np.ndarray, ys: np.ndarray) -> Box:
    return Box(kind, int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)


def _disc_box(scene: Scene, labels: np.ndarray) -> tuple[Box, ...]:
    """The box of the sun or moon, if enough of it can be seen."""
    kind = "moon" if scene.time == "night" else "sun"
    ys, xs = np.nonzero(labels == IDS[kind])
    return (_box(kind, xs, ys),) if len(xs) >= MIN_DISC else ()


def _about(scene: Scene, boxes: Sequence[Box], visible: Sequence[Thing]) -> dict[str, Any]:
    """What a caption may name: only what can be seen."""
    discs = [box.label for box in boxes if box.label in ("sun", "moon")]
    return {
        "time": scene.time,
        "weather": scene.weather,
        "ground": scene.ground,
        "lake": scene.lake,
        "mountains": scene.mountains,
        "disc": discs[0] if discs else None,
        "groups": _groups(scene.width, visible),
    }


def _groups(width: int, visible: Sequence[Thing]) -> list[tuple[str, int, str | None, str | None]]:
    """Alike objects counted: (kind, count, colour, side), the side only if all are on it."""
    groups = []
    for kind in OBJECTS:
        alike = [thing for thing in visible if thing.kind == kind]
        if not alike:
            continue
        sides = {("left", "middle", "right")[min(2, int(3 * t.x / width))] for t in alike}
        side = sides.pop() if len(sides) == 1 else None
        groups.append((kind, len(alike), alike[0].colour, side))
    return groups


def _attributes(scene: Scene, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": scene.time,
        "weather": scene.weather,
        "ground": scene.ground,
        "lake": "yes" if scene.lake else "no",
        "mountains": "yes" if scene.mountains else "no",
        "objects": [group[0] for group in about["groups"]],
    }
