"""Rendered scenes of the procedural world, cached on disk.

Scene i of a split depends on (split, i) alone, so more scenes can be added later, and no two splits
share a scene.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ldm.data import scenes
from ldm.data.close_views import CROPS, close_views
from ldm.data.rendering import render
from ldm.data.scenes import Sample, Scene
from ldm.data.stretched import stretched_scene
from ldm.files import put_in_place
from ldm.training.config import CAPTIONS

SHARD = 500  # scenes per file
SPLITS = {"train": 0, "held-out": 1, "pairs": 3}  # split -> first word of its scenes' seeds
CLOSE = 2  # first word of the seeds of close views
STRETCHED = 4  # of stretched scenes
MOST_PROCESSES = 61  # Windows cannot wait for more of them at once
GROUPS = {"pairs": 2}  # consecutive scenes that differ in their objects alone; default 1
Drawing = tuple[Sample, np.random.Generator]  # a rendered scene, and the generator for its captions


@dataclass(frozen=True)
class World:
    """`count` rendered scenes of one split."""

    images: np.ndarray  # (N, H, W, 3) uint8
    labels: np.ndarray  # (N, H, W) uint8 class ids
    about: list[dict[str, Any]]  # captions, boxes and attributes of each scene
    kind: str = ""  # part of `key`; tells worlds of equal length apart
    group: int = 1  # consecutive scenes that differ in their objects alone
    far: int | None = None  # the close views begin at this index; None: there are none

    def __len__(self) -> int:
        return len(self.images)

    @property
    def key(self) -> str:
        """Key of these pictures within one folder, for the names of cache files."""
        return f"{self.kind}{len(self)}-of-{self.images.shape[1]}-px"

    def first(self, count: int) -> World:
        """Return the first `count` pictures as a world of their own, without close views."""
        images, labels = self.images[:count], self.labels[:count]
        return replace(self, images=images, labels=labels, about=self.about[:count], far=None)

    def is_close(self, rows: np.ndarray) -> np.ndarray:
        """Boolean mask of the rows that are close views."""
        return rows >= (len(self) if self.far is None else self.far)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw `count` random rows: first scenes of groups, then their second ones, and so on."""
        first = self.group * rng.integers(len(self) // self.group, size=count // self.group)
        return np.concatenate([first + i for i in range(self.group)])


@dataclass(frozen=True)
class Shard:
    """SHARD consecutive scenes of a split, and how to render them."""

    folder: Path
    split: str
    index: int
    size: int  # px, both sides
    captions: int  # per scene
    zoom: float  # above 1: crops of scenes rendered up to this many times as large
    stretch: float = 1.0  # above 1: scenes stretched along one side, up to this many times

    def path(self, part: str) -> Path:
        """Path of "images", "labels" or "about"; the shard is complete if the last exists."""
        suffix = "json" if part == "about" else "npy"
        return self.folder / f"{part}-{self.index:04d}.{suffix}"

    def load(self) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Load memory-mapped images and labels, and each scene's captions, boxes and attributes."""
        images, labels = (np.load(self.path(p), mmap_mode="r") for p in ("images", "labels"))
        return images, labels, json.loads(self.path("about").read_text())

    def drawings(self) -> Iterator[Drawing]:
        """Render the shard's scenes in order; close views may yield more than SHARD."""
        first = self.index * SHARD
        if self.stretch > 1:
            for i in range(first, first + SHARD):
                rng = np.random.default_rng([STRETCHED, SPLITS[self.split], i])
                yield stretched_scene(rng, self.size, self.stretch), rng
            return
        if self.zoom == 1:
            for i in range(first, first + SHARD):
                scene, rng = _scene(self.split, i, self.size)
                yield render(scene), rng
            return
        group = GROUPS.get(self.split, 1)
        draws = -(-SHARD // (CROPS * group))
        for i in range(self.index * draws, (self.index + 1) * draws):
            rng = np.random.default_rng([CLOSE, SPLITS[self.split], i])
            alike = _alike(rng, self.split, self.size, group)
            yield from ((view, rng) for view in close_views(alike, rng, self.size, self.zoom))


def open_world(
    folder: Path, split: str, *, count: int, size: int, captions: int = CAPTIONS, zoom: float = 1.0
) -> World:
    """Load the first `count` scenes of a split at `size` x `size` px; render missing ones.

    In the split "pairs", every second scene is the one before it with other trees, houses and
    boats, up to four of a kind. With a `zoom` above 1, the pictures are crops of scenes rendered up
    to `zoom` times as large; these are other scenes than those without zoom.
    """
    kind = f"{split}-{size}" if zoom == 1 else f"{split}-{size}-close-{zoom:g}"
    kind += _captioned(captions)
    indices = range(-(-count // SHARD))
    shards = [Shard(folder / kind, split, i, size, captions, zoom) for i in indices]
    kind = "" if split == "train" else f"{split}-"
    return _load(shards, count, kind=kind, group=GROUPS.get(split, 1))


def _captioned(captions: int) -> str:
    """Return a part of a folder's name: captions are drawn with the scenes, as many for each."""
    return "" if captions == CAPTIONS else f"-{captions}-captions"


def _load(shards: list[Shard], count: int, **about: Any) -> World:
    """Load the first `count` scenes of shards; render those that are missing."""
    shards[0].folder.mkdir(parents=True, exist_ok=True)
    _in_parallel(_render_shard, [s for s in shards if not s.path("about").exists()])
    images, labels, told = zip(*(shard.load() for shard in shards), strict=True)
    return World(
        np.concatenate(images)[:count],
        np.concatenate(labels)[:count],
        [one for some in told for one in some][:count],
        **about,
    )


def stretched_world(
    folder: Path, split: str, *, count: int, size: int, captions: int = CAPTIONS, stretch: float
) -> World:
    """Load a world like `open_world` does, of scenes that are stretched along one side.

    They are other scenes than those that are not, and no pairs.
    """
    kind = f"{split}-{size}-stretched-{stretch:g}{_captioned(captions)}"
    about = {"size": size, "captions": captions, "zoom": 1.0, "stretch": stretch}
    shards = [Shard(folder / kind, split, i, **about) for i in range(-(-count // SHARD))]
    return _load(shards, count, kind=f"stretched-{stretch:g}-{split}-")


def half_close_world(
    folder: Path, split: str, *, count: int, size: int, captions: int = CAPTIONS, zoom: float
) -> World:
    """Load a world like `open_world` does, but with close views as its second half."""
    group = GROUPS.get(split, 1)
    half = count // 2 // group * group
    near = open_world(folder, split, count=half, size=size, captions=captions, zoom=zoom)
    far = open_world(folder, split, count=count - half, size=size, captions=captions)
    return World(
        np.concatenate([far.images, near.images]),
        np.concatenate([far.labels, near.labels]),
        far.about + near.about,
        kind=f"close-{zoom:g}-{far.kind}",
        group=group,
        far=len(far),
    )


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    np.save(part, array)
    put_in_place(part, path)


def _in_parallel(work: Callable[[Any], None], jobs: list[Any]) -> None:
    """Do all jobs, in as many processes as there are cores, up to MOST_PROCESSES."""
    if not jobs:
        return
    # spawn, since forking a process with torch threads can deadlock
    context = multiprocessing.get_context("spawn")
    count = min(os.cpu_count() or 1, len(jobs), MOST_PROCESSES)
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        list(pool.map(work, jobs))


def _render_shard(shard: Shard) -> None:
    images = np.empty((SHARD, shard.size, shard.size, 3), np.uint8)
    labels = np.empty((SHARD, shard.size, shard.size), np.uint8)
    about = []
    for row, (sample, rng) in zip(range(SHARD), shard.drawings(), strict=False):
        images[row], labels[row] = sample.image, sample.labels
        about.append(
            {
                "captions": [scenes.caption(sample, rng) for _ in range(shard.captions)],
                "boxes": [asdict(box) for box in sample.boxes],
                "attributes": sample.attributes,
            }
        )
    np.save(shard.path("images"), images)
    np.save(shard.path("labels"), labels)
    # the JSON comes last and atomically: if it exists, the shard is complete
    part = shard.path("about").with_suffix(".part")
    part.write_text(json.dumps(about))
    put_in_place(part, shard.path("about"))


def _scene(split: str, i: int, size: int) -> tuple[Scene, np.random.Generator]:
    """Scene i of a split, and the generator for its captions."""
    group = GROUPS.get(split, 1)
    rng = np.random.default_rng([SPLITS[split], i // group])
    return _alike(rng, split, size, 1 + i % group)[-1], rng


def _alike(rng: np.random.Generator, split: str, size: int, count: int) -> list[Scene]:
    """`count` scenes of a split that differ in their objects alone."""
    counts = scenes.MORE if split == "pairs" else scenes.USUAL
    first = scenes.sample(rng, size, size, counts)
    return [first, *(scenes.with_other_things(first, rng, counts) for _ in range(count - 1))]
