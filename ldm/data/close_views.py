"""Close views of scenes: the same scenes, drawn larger and cropped.

Inputs for upscaling and inpainting and painted maps have objects of any scale, whereas scenes have
one scale. Close views add training pictures with sharp large shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ldm.data.rendering import drawn
from ldm.data.scenes import Sample, Scene

CROPS = 4  # crops of each drawn scene


def enlarge(scene: Scene, times: float) -> Scene:
    """Return the scene at `times` its size; stars, snowflakes and ripples keep their size."""

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
    """Cut random crops from scenes drawn up to `zoom` times as large.

    Args:
        alike: Scenes of one size, which get the same scale and crops.
        rng: Chooses scale and places.
        size: Side of a crop in px.
        zoom: Largest scale, at least 1.

    Returns:
        CROPS samples of each scene: the first crop of all scenes, then the next one.
    """
    times = rng.uniform(1, zoom)
    large = [drawn(enlarge(scene, times)) for scene in alike]
    height, width = large[0].labels.shape
    ys, xs = (rng.integers(side - size + 1, size=CROPS) for side in (height, width))
    return [one.part(x, y, size, size) for y, x in zip(ys, xs, strict=True) for one in large]
