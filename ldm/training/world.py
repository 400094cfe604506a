"""Rendered scenes kept on disk, so that every picture of the world is drawn once.

Scene i of a split is a function of (split, i) alone: more scenes can be added later, and a split
never shares a scene with another one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ldm.data import scenes
from ldm.data.close_views import CROPS, close_views
from ldm.data.rendering import render

SHARD = 500  # scenes per file
SPLITS = {"train": 0, "held-out": 1, "pairs": 3}  # the seed's first word
CLOSE = 2  # that of close views
GROUPS = {"pairs": 2}  # scenes in a row that share all but their things; elsewhere 1


@dataclass(frozen=True)
class World:
    """`count` rendered scenes of one split."""

    images: np.ndarray  # (N, H, W, 3) uint8
    labels: np.ndarray  # (N, H, W) uint8 class ids
    about: list[dict[str, Any]]  # captions, boxes, attributes of each scene
    kind: str = ""  # tells worlds of the same length apart
    group: int = 1  # scenes in a row that share all but their things

    def __len__(self) -> int:
        return len(self.images)

    @property
    def key(self) -> str:
        """Names these pictures among those of one folder, for what is cached of them."""
        return f"{self.kind}{len(self)}"

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` random scenes: the firsts of their groups, then the seconds, and so on."""
        first = self.group * rng.integers(len(self) // self.group, size=count // self.group)
        return np.concatenate([first + i for i in range(self.group)])


def open_world(folder: Path, split: str, *, count: int, size: int, captions: int = 8) -> World:
    """The first `count` scenes of a split at `size` x `size` px; missing ones are rendered.

    Of "pairs", every second scene is the one before it with other trees, houses and boats, of
    which there are up to four of a kind.
    """
    folder = folder / f"{split}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, split, i, size, captions) for i in range(-(-count // SHARD))]
    _in_parallel(_render_shard, [j for j in jobs if not _about_path(folder, j[2]).exists()])
    shards = [_load_shard(folder, i) for i in range(len(jobs))]
    return World(
        np.concatenate([s[0] for s in shards])[:count],
        np.concatenate([s[1] for s in shards])[:count],
        [about for s in shards for about in s[2]][:count],
        kind="" if split == "train" else f"{split}-",
        group=GROUPS.get(split, 1),
    )


def with_close_views(world: World, folder: Path, zoom: float) -> World:
    """The first half of a training world, and as many crops of scenes drawn up to `zoom` x larger.

    For models that look at pictures or label maps alone: there are no boxes or captions.
    """
    half, size = len(world) // 2, world.images.shape[1]
    folder = folder / f"close-{size}-{zoom:g}"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, i, size, zoom) for i in range(-(-half // SHARD))]
    _in_parallel(_render_close_views, [j for j in jobs if not _images_path(folder, j[1]).exists()])
    shards = [_load_pictures(folder, i) for i in range(len(jobs))]
    images, labels = (np.concatenate(parts)[:half] for parts in zip(*shards, strict=True))
    return World(
        np.concatenate([world.images[:half], images]),
        np.concatenate([world.labels[:half], labels]),
        [],
        f"close-{zoom:g}-",
    )


def _render_close_views(job: tuple[Path, int, int, float]) -> None:
    folder, shard, size, zoom = job
    first = shard * SHARD // CROPS
    rngs = [np.random.default_rng([CLOSE, first + i]) for i in range(SHARD // CROPS)]
    images, labels = zip(*(close_views(rng, size, zoom) for rng in rngs), strict=True)
    save_array(_labels_path(folder, shard), np.concatenate(labels))
    save_array(_images_path(folder, shard), np.concatenate(images))  # last: the shard is complete


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    np.save(part, array)
    os.replace(part, path)


def _in_parallel(work: Callable[[Any], None], jobs: list[Any]) -> None:
    """Do all jobs, on every core."""
    if not jobs:
        return
    # spawn: a fork of a process that already runs torch threads can dead-lock
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(jobs)), mp_context=context) as pool:
        list(pool.map(work, jobs))


def _render_shard(job: tuple[Path, str, int, int, int]) -> None:
    folder, split, shard, size, captions = job
    images = np.empty((SHARD, size, size, 3), np.uint8)
    labels = np.empty((SHARD, size, size), np.uint8)
    about = []
    for row in range(SHARD):
        scene, rng = _scene(split, shard * SHARD + row, size)
        sample = render(scene)
        images[row], labels[row] = sample.image, sample.labels
        about.append(
            {
                "captions": [scenes.caption(sample, rng) for _ in range(captions)],
                "boxes": [asdict(box) for box in sample.boxes],
                "attributes": sample.attributes,
            }
        )
    np.save(_images_path(folder, shard), images)
    np.save(_labels_path(folder, shard), labels)
    # the JSON is written last and moved into place: where it stands, the shard is complete
    part = folder / f"about-{shard:04d}.part"
    part.write_text(json.dumps(about))
    os.replace(part, _about_path(folder, shard))


def _scene(split: str, i: int, size: int) -> tuple[scenes.Scene, np.random.Generator]:
    """Scene i of a split, and the randomness for its captions."""
    group = GROUPS.get(split, 1)
    counts = scenes.MORE if split == "pairs" else scenes.USUAL
    rng = np.random.default_rng([SPLITS[split], i // group])
    scene = scenes.sample(rng, size, size, counts)
    return (scenes.with_other_things(scene, rng, counts) if i % group else scene), rng


def _about_path(folder: Path, shard: int) -> Path:
    return folder / f"about-{shard:04d}.json"


def _images_path(folder: Path, shard: int) -> Path:
    return folder / f"images-{shard:04d}.npy"


def _labels_path(folder: Path, shard: int) -> Path:
    return folder / f"labels-{shard:04d}.npy"


def _load_pictures(folder: Path, shard: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = _images_path(folder, shard), _labels_path(folder, shard)
    return np.load(images, mmap_mode="r"), np.load(labels, mmap_mode="r")


def _load_shard(folder: Path, shard: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    about = json.loads(_about_path(folder, shard).read_text())
    return *_load_pictures(folder, shard), about
