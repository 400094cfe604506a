"""Scenes seen from closer: the same things, drawn larger.

Pictures to be enlarged or filled and painted maps have any scale, and what the other models make
has that of the world itself. Drawn larger and cropped, the world has the sharp large shapes that
such a picture should become.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ldm.data.rendering import drawn
from ldm.data.scenes import Sample, Scene

CROPS = 4  # of each drawn scene


def enlarge(scene: Scene, times: float) -> Scene:
    """The scene at `times` the size; stars, snowflakes and ripples keep theirs."""

    def larger(*values: float) -> tuple[float, ...]:
        return tuple(times * value for value in values)

    return replace(
        scene,
        width=round(times * scene.width),
        height=round(times * scene.height),
        horizon=times * scene.horizon,
        shore=times * scene.shore,
        disc=larger(*scene.disc) if scene.disc else None,
        clouds=tuple((*larger(x, y, s), seed) for x, y, s, seed in scene.clouds),
        things=tuple(
            replace(t, x=times * t.x, y=times * t.y, size=times * t.size) for t in scene.things
        ),
    )


def close_views(
    alike: Sequence[Scene], rng: np.random.Generator, size: int, zoom: float
) -> list[Sample]:
    """Random crops of scenes drawn up to `zoom` times as large.

    Args:
        alike: Scenes of one size, which get the same crops.
        rng: Chooses scale and places.
        size: px, both sides of a crop.
        zoom: At least 1.

    Returns:
        CROPS of each scene: a crop of all scenes, then the next one.
    """
    times = rng.uniform(1, zoom)
    large = [drawn(enlarge(scene, times)) for scene in alike]
    height, width = large[0].labels.shape
    ys, xs = (rng.integers(side - size + 1, size=CROPS) for side in (height, width))
    return [one.part(x, y, size, size) for y, x in zip(ys, xs, strict=True) for one in large]
