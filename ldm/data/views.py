"""What a drawn scene shows, whole or in a part of it: boxes, and what a caption may say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ldm.data import captions
from ldm.data.scenes import GROUND_CLASS, IDS, OBJECTS, Box, Sample, Scene, Thing

MIN_DISC = 60  # px of the sun or moon that must be seen for it to be named
MIN_VISIBLE = 0.3  # share of an object's own area that must be seen for it to be named, ...
MIN_SHARE = 0.03  # ... or so much of the picture, which a part of a large object can fill
MIN_PIXELS = 24  # and no fewer
MIN_LAND = 0.004  # share of the picture, for water, mountains, ground or sky to be named


@dataclass(frozen=True)
class Drawn:
    """A drawn scene.

    Args:
        scene: What was drawn.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, index into CLASSES.
        owner: (H, W) uint8: 1 + the index of the scene's thing that is seen there, 0: none.
        areas: px that each thing would have if nothing stood before it.
        rng: For the wording of captions.
    """

    scene: Scene
    image: np.ndarray
    labels: np.ndarray
    owner: np.ndarray
    areas: tuple[float, ...]
    rng: np.random.Generator

    def whole(self) -> Sample:
        """All of it."""
        return self.part(0, 0, self.scene.width, self.scene.height)

    def part(self, x: int, y: int, width: int, height: int) -> Sample:
        """What lies between (x, y) and (x + width, y + height), px."""
        here = slice(y, y + height), slice(x, x + width)
        image, labels, owner = (array[here] for array in (self.image, self.labels, self.owner))
        boxes, things = self._things(owner)
        boxes = (*_disc_box(self.scene, labels), *boxes)
        about = _about(self.scene, labels, boxes, _groups(things, x, width))
        sentence = captions.describe(about, self.rng)
        return Sample(image, labels, boxes, sentence, _attributes(self.scene, about), about)

    def _things(self, owner: np.ndarray) -> tuple[list[Box], list[Thing]]:
        """Those that can be seen, with the boxes of what is seen of them."""
        boxes, visible = [], []
        for i, (thing, area) in enumerate(zip(self.scene.things, self.areas, strict=True), start=1):
            ys, xs = np.nonzero(owner == i)
            enough = min(MIN_VISIBLE * area, MIN_SHARE * owner.size)
            if len(xs) >= max(enough, MIN_PIXELS):
                boxes.append(_box(thing.kind, xs, ys))
                visible.append(thing)
        return boxes, visible


def _box(kind: str, xs: np.ndarray, ys: np.ndarray) -> Box:
    return Box(kind, int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)


def _disc_box(scene: Scene, labels: np.ndarray) -> tuple[Box, ...]:
    """The box of the sun or moon, if enough of it can be seen."""
    kind = "moon" if scene.time == "night" else "sun"
    ys, xs = np.nonzero(labels == IDS[kind])
    return (_box(kind, xs, ys),) if len(xs) >= MIN_DISC else ()


def _about(
    scene: Scene, labels: np.ndarray, boxes: Sequence[Box], groups: list[captions.Group]
) -> dict[str, Any]:
    """What a caption may name: only what can be seen."""
    shares = np.bincount(labels.ravel(), minlength=len(IDS)) / labels.size

    def seen(*names: str) -> bool:
        return sum(shares[IDS[name]] for name in names) >= MIN_LAND

    above = ("cloud",) if scene.weather == "cloudy" else ("cloud", "sky")
    shows_weather = scene.weather in ("fog", "snowfall") or seen(*above)
    far = "mountains" if seen("mountain") else "hills" if seen("hill") else None
    discs = [box.label for box in boxes if box.label in ("sun", "moon")]
    return {
        "time": scene.time,
        "weather": scene.weather if shows_weather else None,
        "ground": scene.ground if seen(GROUND_CLASS[scene.ground]) else None,
        "lake": seen("water"),
        "far": far,
        "disc": discs[0] if discs else None,
        "groups": groups,
    }


def _groups(things: Sequence[Thing], x: int, width: int) -> list[captions.Group]:
    """Alike objects counted, the side only if all of them are on it."""
    groups = []
    for kind in OBJECTS:
        alike = [thing for thing in things if thing.kind == kind]
        if not alike:
            continue
        thirds = (int(3 * (thing.x - x) / width) for thing in alike)
        sides = {("left", "middle", "right")[min(2, max(0, third))] for third in thirds}
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
