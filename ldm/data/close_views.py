"""Scenes seen from closer: the same things, drawn larger.

An upscaling model is given pictures of any scale, above all those that the other models make, in
which a tree has as many pixels as in the world itself. Drawn larger and cropped, the world has the
sharp large shapes that such a picture should become.
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


def close_views(rng: np.random.Generator, size: int, zoom: float) -> np.ndarray:
    """Random crops of one scene drawn up to `zoom` times as large: (CROPS, size, size, 3) uint8."""
    scene = scenes.sample(rng, size, size)
    image = render(enlarge(scene, rng.uniform(1, zoom))).image
    corners = rng.integers(len(image) - size + 1, size=(CROPS, 2))
    return np.stack([image[y : y + size, x : x + size] for y, x in corners])
