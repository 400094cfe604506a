"""Scenes seen from closer: the same things, drawn larger.

Pictures to be enlarged or filled and painted maps have any scale, and what the other models make
has that of the world itself. Drawn larger and cropped, the world has the sharp large shapes that
such a picture should become.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ldm.data import scenes
from ldm.data.rendering import render
from ldm.data.scenes import Scene

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


def close_views(rng: np.random.Generator, size: int, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """Random crops of one scene drawn up to `zoom` times as large, with their label maps.

    Returns:
        (CROPS, size, size, 3) and (CROPS, size, size), both uint8.
    """
    scene = scenes.sample(rng, size, size)
    drawn = render(enlarge(scene, rng.uniform(1, zoom)))
    corners = rng.integers(len(drawn.image) - size + 1, size=(CROPS, 2))

    def crops(whole: np.ndarray) -> np.ndarray:
        return np.stack([whole[y : y + size, x : x + size] for y, x in corners])

    return crops(drawn.image), crops(drawn.labels)
