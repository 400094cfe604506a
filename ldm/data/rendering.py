"""Drawing of scenes: sky, land, objects and weather, with a label map."""

from __future__ import annotations

import cv2
import numpy as np

from ldm.data import objects, palettes
from ldm.data.objects import Light
from ldm.data.painter import SUPERSAMPLE, Painter
from ldm.data.scenes import GROUND_CLASS, IDS, Sample, Scene, Thing
from ldm.data.views import Drawn


def render(scene: Scene) -> Sample:
    """Draw a scene and describe it: picture, labels, boxes, caption and attributes."""
    return drawn(scene).whole()


def drawn(scene: Scene) -> Drawn:
    """Draw a scene, as a `Drawn` that can be cropped."""
    p = Painter(scene.width, scene.height)
    rng = np.random.default_rng(scene.seed)
    _sky(p, scene, rng)
    _land(p, scene, rng)
    owner, areas = _objects(p, scene)
    _air(p, scene, rng)
    image, labels = p.finish()
    return Drawn(scene, image, labels, owner, areas, rng)


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
    """Draw a closed layer of cloud down to about y, with a scalloped edge."""
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
    """Return a smooth ridge line around y, a sum of 0.7 to 2.3 waves per 128 px."""
    x = np.arange(width) / 128
    line = np.zeros(width)
    for frequency in (0.7, 1.3, 2.3):
        phase, amount = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0) / frequency
        line += amount * np.sin(2 * np.pi * frequency * x + phase)
    return y + 0.5 * swing * line


def _mountains(
    p: Painter, scene: Scene, rng: np.random.Generator, *, height: float, far: float
) -> None:
    """Draw a chain of peaks, each with a light and a dark face and, except on sand, a snowcap."""
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
        """Return the point `drop` of the way down, at `share` of the slope's width there."""
        x = left * (1 - share) + right * share
        return cx + (x - cx) * drop, top + (low - top) * drop

    teeth = [on(0.0, depth), on(0.22, depth * 0.78), on(0.4, depth * 1.2), on(0.56, depth * 0.8)]
    teeth += [on(0.78, depth * 1.1), on(1.0, depth * 0.8)]
    p.polygon(np.array([(cx, top), *teeth]), snow, IDS["mountain"])
    dark = [(cx, top), on(0.52, depth * 0.8), *teeth[4:]]
    p.polygon(np.array(dark), snow * 0.88, IDS["mountain"])


def _water(p: Painter, scene: Scene, rng: np.random.Generator) -> None:
    """Draw water that mirrors what is above the horizon, with more tint towards the near shore."""
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


def _objects(p: Painter, scene: Scene) -> tuple[np.ndarray, tuple[float, ...]]:
    """Draw the things from far to near; return `owner` and `areas` of a `Drawn`."""
    owner = np.zeros(p.labels.shape, np.uint8)
    areas = []
    for i, thing in enumerate(scene.things, start=1):
        before = p.labels
        p.labels = np.full_like(before, 255)
        _draw(p, scene, thing)
        mask = p.labels != 255
        p.labels = np.where(mask, p.labels, before)
        owner[mask] = i
        areas.append(int(mask.sum()) / SUPERSAMPLE**2)
    middle = slice(SUPERSAMPLE // 2, None, SUPERSAMPLE)
    return owner[middle, middle], tuple(areas)


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
    """Draw fog or falling snow in front of everything."""
    if scene.weather == "fog":
        colour = _sky_colours(scene)[1] * 0.6 + 0.4 * _sky_colours(scene)[1].mean()
        rows = np.arange(p.height)
        p.veil(0.25 + 0.5 * np.exp(-(((rows - scene.horizon) / (0.2 * p.height)) ** 2)), colour)
    elif scene.weather == "snowfall":
        flake = np.float32((250, 252, 255)) * (0.62 if scene.time == "night" else 1.0)
        for _ in range(round(0.0034 * p.width * p.height)):
            x, y, r = rng.uniform(0, p.width), rng.uniform(0, p.height), rng.uniform(0.9, 1.5)
            p.ellipse((x, y), (r, r), flake, None, 0.85)
