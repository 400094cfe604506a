"""Measure whether a layout model draws objects where their boxes are.

The measure is the share of boxes in which the critic finds the object, relative to that on real
pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ldm.catalog.layout_tokens import LabelledBox
from ldm.catalog.schema import Preset
from ldm.data.scenes import BOX_CLASSES, CLASSES, IDS, Box, Sample
from ldm.data.stretched import stretched_scene
from ldm.evaluation.critic import judge, load_critic
from ldm.evaluation.drawing import Size, draw, sizes, trained_size
from ldm.evaluation.frechet import frechet_row
from ldm.evaluation.grid import Block
from ldm.evaluation.held_out import held_out
from ldm.evaluation.report import Row
from ldm.images import to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.critic import Critic
from ldm.runtime.manager import ModelManager

BAR = 0.75
MIN_OVERLAP = 0.5  # intersection over union
STRETCH = 2.0  # most times that things are wider, or taller, in stretched scenes
HELD_OUT_STRETCHED = 5  # first word of the seeds of these scenes; none is trained on
BLOCKS, SEEDS = 8, 3  # layouts on the example sheet, samples of each


def measure(preset: Preset, scenes: int) -> list[Row]:
    """Share of boxes found relative to real scenes, and Fréchet distance, per size."""
    critic, rows = load_critic(), []
    with ModelManager().use(preset.name) as model:
        for size in sizes(preset, scenes):
            real = held_out(size.count, size.width, size.height)
            drawn = draw_layouts(preset, model, real.boxes, size)
            seen, truth = judge(critic, drawn), judge(critic, real.images)
            for what, share in _shares(seen.labels, truth.labels, real.boxes).items():
                if what == "all" or size.times == 1:
                    bar = BAR if what == "all" and size.times == 1 else None
                    measured = f"boxes found at IoU {MIN_OVERLAP:g}, share of real: {what}"
                    rows.append(Row(measured, share, "", bar, str(size)))
            rows.append(frechet_row(critic, seen.features, truth.features, size))
        rows += _of_any_shape(critic, preset, model, scenes)
    return rows


def _of_any_shape(
    critic: Critic, preset: Preset, model: LatentDiffusion, scenes: int
) -> Iterator[Row]:
    """Share of boxes found where their shapes hardly say what is in them, per class.

    A box of a tree may be wider than tall there, as a person may draw it.
    """
    size = trained_size(preset, scenes)
    real = stretched_scenes(scenes, size.width)
    boxes = [sample.boxes for sample in real]
    seen = judge(critic, draw_layouts(preset, model, boxes, size)).labels
    truth = judge(critic, to_tensor([sample.image for sample in real])).labels
    for what, share in _shares(seen, truth, boxes).items():
        measured = f"boxes of any shape found at IoU {MIN_OVERLAP:g}, share of real: {what}"
        yield Row(measured, share, "", BAR if what == "all" else None, str(size))


def stretched_scenes(count: int, side: int) -> list[Sample]:
    """Draw `count` held-out scenes of `side` x `side` px, stretched along one side."""
    seeds = (np.random.default_rng([HELD_OUT_STRETCHED, i]) for i in range(count))
    return [stretched_scene(rng, side, STRETCH) for rng in seeds]


def _shares(seen: Tensor, real: Tensor, boxes: Sequence[Sequence[Box]]) -> dict[str, float]:
    """Boxes found in the samples / in real pictures, over all classes and for each class."""
    shares = {}
    for what, names in (("all", BOX_CLASSES), *((name, (name,)) for name in BOX_CLASSES)):
        theirs = found(real, boxes, names)
        if theirs > 0:
            shares[what] = found(seen, boxes, names) / theirs
    return shares


def found(labels: Tensor, boxes: Sequence[Sequence[Box]], names: Sequence[str]) -> float:
    """Share of the boxes of these classes in which the object is found; 0 if there are no boxes.

    Args:
        labels: The critic's class ids, (N, H / 2, W / 2).
        boxes: The boxes of each picture, in px of the picture.
        names: The classes to count.
    """
    hits = [
        _is_found(picture == IDS[box.label], box)
        for picture, some in zip(labels.numpy(), boxes, strict=True)
        for box in some
        if box.label in names
    ]
    return float(np.mean(hits)) if hits else 0.0


def _is_found(mask: np.ndarray, box: Box) -> bool:
    """Whether a connected component of the mask, at half size, overlaps the box enough."""
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, width, height = 2 * pieces[1:, :4].T  # component 0 is the background
    across = np.minimum(left + width, box.x1) - np.maximum(left, box.x0)
    down = np.minimum(top + height, box.y1) - np.maximum(top, box.y0)
    shared = np.clip(across, 0, None) * np.clip(down, 0, None)
    union = width * height + (box.x1 - box.x0) * (box.y1 - box.y0) - shared
    return bool((shared >= MIN_OVERLAP * union).any())


def draw_layouts(
    preset: Preset, model: LatentDiffusion, boxes: Sequence[Sequence[Box]], size: Size, **how: Any
) -> Tensor:
    """Sample one picture per list of boxes with the preset's guidance: (N, 3, H, W)."""
    most = model.tokenizer.max_boxes
    layouts = [relative(some, size)[:most] for some in boxes]
    cells = (size.height // model.factor, size.width // model.factor)
    return draw(
        model,
        lambda some: model.condition_layout(model.tokenizer(layouts[some]), *cells),
        size,
        empty=model.condition_layout(model.tokenizer.unconditional(), *cells),
        guidance_scale=preset.defaults.guidance_scale,
        **how,
    )


def relative(boxes: Sequence[Box], size: Size) -> list[LabelledBox]:
    """Convert boxes in px to (class, left, top, right, bottom), in fractions of the picture."""
    width, height = size.width, size.height
    return [
        (BOX_CLASSES.index(b.label), b.x0 / width, b.y0 / height, b.x1 / width, b.y1 / height)
        for b in boxes
    ]


def examples(preset: Preset, model: LatentDiffusion) -> list[Block]:
    """Sample held-out layouts, each with the seeds 0 to 2."""
    boxes = held_out(BLOCKS, preset.width, preset.height).boxes
    size = trained_size(preset, BLOCKS * SEEDS)
    repeated = [some for some in boxes for _ in range(SEEDS)]
    how = {"seeds": [*range(SEEDS)] * BLOCKS}
    images = to_arrays(draw_layouts(preset, model, repeated, size, **how))
    blank = np.full_like(images[0], 235)
    return [
        Block(
            "the boxes, and three pictures with them",
            [outlined(image, some) for image in (blank, *images[i * SEEDS : (i + 1) * SEEDS])],
        )
        for i, some in enumerate(boxes)
    ]


def outlined(image: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Draw the outlines of boxes in class colours on a picture: (H, W, 3) uint8."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for box in boxes:
        pen.rectangle((box.x0, box.y0, box.x1 - 1, box.y1 - 1), outline=CLASSES[box.label])
    return np.asarray(picture)
