"""Annotations of a drawn scene or a part of it: boxes, and what a caption may name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ldm.data import captions
from ldm.data.scenes import GROUND_CLASS, IDS, OBJECTS, Box, Sample, Scene, Thing

MIN_DISC = 60  # visible px for the sun or moon to be named
# An object is named if the smaller of two areas is visible, and at least MIN_PIXELS:
MIN_VISIBLE = 0.3  # a share of its own area, ...
MIN_SHARE = 0.03  # ... or a share of the picture, which part of a large object may fill
MIN_PIXELS = 24
MIN_LAND = 0.004  # visible share of the picture for water, mountains, ground or sky to be named


@dataclass(frozen=True)
class Drawn:
    """A drawn scene.

    Args:
        scene: The parameters of the scene.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, index into CLASSES.
        owner: (H, W) uint8: 1 + the index of the visible thing of the scene, 0: none.
        areas: Area in px of each thing without the things in front of it.
        rng: Chooses the wording of captions.
    """

    scene: Scene
    image: np.ndarray
    labels: np.ndarray
    owner: np.ndarray
    areas: tuple[float, ...]
    rng: np.random.Generator

    def whole(self) -> Sample:
        """Annotate the whole picture."""
        return self.part(0, 0, self.scene.width, self.scene.height)

    def part(self, x: int, y: int, width: int, height: int) -> Sample:
        """Crop and annotate the part between (x, y) and (x + width, y + height), in px."""
        here = slice(y, y + height), slice(x, x + width)
        image, labels, owner = (array[here] for array in (self.image, self.labels, self.owner))
        boxes, things = self._things(owner)
        boxes = (*_disc_box(self.scene, labels), *boxes)
        about = _about(self.scene, labels, boxes, _groups(things, x, width))
        sentence = captions.describe(about, self.rng)
        return Sample(image, labels, boxes, sentence, _attributes(self.scene, about), about)

    def _things(self, owner: np.ndarray) -> tuple[list[Box], list[Thing]]:
        """Return the boxes of the visible parts of visible things, and these things."""
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
    """Return the box of the sun or moon, if enough of it is visible."""
    kind = "moon" if scene.time == "night" else "sun"
    ys, xs = np.nonzero(labels == IDS[kind])
    return (_box(kind, xs, ys),) if len(xs) >= MIN_DISC else ()


def _about(
    scene: Scene, labels: np.ndarray, boxes: Sequence[Box], groups: list[captions.Group]
) -> dict[str, Any]:
    """Return what a caption may name, which is only what is visible; see `captions.describe`."""
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
    """Group the objects by kind; a group has a side only if all its objects are on it."""
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
