"""Training data: the procedural world, or the user's own pictures, resized once and cached."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ldm.data import folder as folders
from ldm.data.folder import Picture
from ldm.errors import TrainingError
from ldm.training.config import DataConfig, TrainConfig
from ldm.training.world import World, half_close_world, open_world, stretched_world

HELD_OUT = 500  # maximum held-out pictures; number of held-out scenes
NO_LABELS = np.zeros((0, 1, 1), np.uint8)  # a folder of pictures has no label maps

log = logging.getLogger(__name__)


def open_worlds(config: TrainConfig, *, zoomed: bool = True) -> tuple[World, World]:
    """Load the training and held-out data: `data.pictures`, or else the procedural world.

    Args:
        config: The training configuration.
        zoomed: Whether to include close views if `data.zoom` asks for them.

    Raises:
        TrainingError: If no picture can be read.
    """
    about = config.data
    if about.pictures is not None:
        return open_pictures(about.pictures, about)
    split = "pairs" if about.pairs else "train"
    how = {"count": about.scenes, "size": about.size, "captions": about.captions}
    if zoomed and about.zoom > 1:
        world = half_close_world(about.folder, split, zoom=about.zoom, **how)
    elif about.stretch > 1:
        world = stretched_world(about.folder, split, stretch=about.stretch, **how)
    else:
        world = open_world(about.folder, split, **how)
    return world, open_world(about.folder, "held-out", count=HELD_OUT, size=about.size)


def open_pictures(folder: Path, about: DataConfig) -> tuple[World, World]:
    """Load the pictures of a folder; about one in twenty is held out, the rest trained on.

    Raises:
        TrainingError: If no picture can be read.
    """
    pictures = folders.pictures_in(folder)
    held_out = [one for one in pictures if one.is_held_out][:HELD_OUT] or pictures[:1]
    rest = [one for one in pictures if not (one.is_held_out or one is held_out[0])] or pictures
    return _world(rest, about), _world(held_out, about)


def _world(pictures: Sequence[Picture], about: DataConfig) -> World:
    key = folders.key_of(pictures, about.size)
    path = about.folder / f"pictures-{key}.npy"
    names = path.with_suffix(".json")
    if not names.exists():
        _keep(pictures, about.size, path, names)
    there = {picture.name: picture for picture in pictures}
    found = [there[name] for name in json.loads(names.read_text())]
    if not found:
        raise TrainingError(
            f"of {len(pictures)} pictures none can be read, {pictures[0].path} first."
        )
    images = np.load(path, mmap_mode="c")[: len(found)]  # "c": torch needs a writable array
    return World(images, NO_LABELS, _about(found), kind=f"pictures-{key}-")


def _keep(pictures: Sequence[Picture], size: int, path: Path, names: Path) -> None:
    """Cache the pictures and then their names; if the names exist, the cache is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(pictures), size, size, 3)
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    found = folders.read_all(pictures, size, images)
    images.flush()
    part = names.with_suffix(".part")
    part.write_text(json.dumps([pictures[index].name for index in found]))
    part.replace(names)


def _about(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Captions and class of each picture; captions are repeated to the same number for all."""
    captions = [picture.captions() for picture in pictures]
    most = max(map(len, captions))
    if most and (silent := sum(not some for some in captions)):
        log.warning("%d of %d pictures have no sentence beside them", silent, len(captions))
    return [
        {
            "captions": [(some or [""])[i % max(1, len(some))] for i in range(most)],
            "boxes": [],
            "attributes": {},
            "class": picture.class_name,
        }
        for picture, some in zip(pictures, captions, strict=True)
    ]
