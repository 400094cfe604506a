"""Measure how much closer to the original an inpainting model comes than OpenCV's methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ldm.catalog.schema import Preset
from ldm.data import masks
from ldm.data.captions import NOUNS
from ldm.data.masks import to_cells
from ldm.data.scenes import IDS
from ldm.diffusion.conditioning import Conditioning
from ldm.evaluation.critic import SMALLEST, distances, judge, load_critic
from ldm.evaluation.drawing import Size, draw, sizes, trained_size
from ldm.evaluation.frechet import frechet_row
from ldm.evaluation.grid import Block
from ldm.evaluation.held_out import held_out
from ldm.evaluation.metrics import frechet_distance
from ldm.evaluation.report import Row
from ldm.images import to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.critic import Critic
from ldm.runtime.manager import ModelManager
from ldm.tasks.inpaint import worded
from ldm.tasks.joining import joined

BAR = 2.0  # ratio of the better OpenCV method's distance to the model's
NEAR = "perceptual distance in the hole"
METHODS = {"Telea": cv2.INPAINT_TELEA, "Navier-Stokes": cv2.INPAINT_NS}
HOLE_GREY = 0.6  # grey of holes on the example sheet, in [-1, 1]
# kind of an object -> the kinds that are asked for in its place
ASKED = {
    "pine": ("tree", "house", "pine"),
    "tree": ("house", "pine", "tree"),
    "house": ("pine", "tree", "house"),
    "boat": ("boat",),
}
ASKED_BAR = 0.85
SEEDS = 3  # samples of each hole with words on the example sheet
BLOCKS = 12  # scenes on the example sheet
RADIUS = 3  # px, as in OpenCV's example


def measure(preset: Preset, scenes: int) -> list[Row]:
    """Perceptual distance in the hole and Fréchet distance, best of OpenCV's / ours, per size."""
    critic, rows = load_critic(), []
    with ModelManager().use(preset.name) as model:
        for size in sizes(preset, scenes):
            real = held_out(size.count, size.width, size.height).images
            holes = draw_holes(size)
            truth = judge(critic, real).features
            filled = {"ours": draw_filled(model, real, holes, size)}
            filled |= {name: filled_by_opencv(real, holes, name) for name in METHODS}
            each = {n: distances(critic, x, real, holes) for n, x in filled.items()}
            near = {n: float(x.mean()) for n, x in each.items()}
            features = {n: judge(critic, x).features for n, x in filled.items()}
            fids = {n: frechet_distance(x, truth) for n, x in features.items()}
            far = frechet_row(critic, features["ours"], truth, size, "Frechet")
            for values, ours in ((near, Row(NEAR, near["ours"], size=str(size))), (fids, far)):
                theirs = min(values[method] for method in METHODS)
                # without words, one that reads them makes up what it likes
                bar = BAR if size.times == 1 and not preset.fills_by_words else None
                what = f"{ours.measure}: OpenCV's / ours"
                rows += [Row(what, theirs / values["ours"], "", bar, str(size)), ours]
            if size == trained_size(preset, scenes):
                rows += _by_kind(each, size)
                rows += by_words(critic, model, size) if preset.fills_by_words else []
    return rows


@dataclass(frozen=True)
class Asked:
    """Held-out scenes in which an object is hidden, and what is asked for in its place."""

    images: Tensor  # (N, 3, H, W) in [-1, 1]
    holes: Tensor  # (N, 1, H, W) of 0 and 1
    kinds: list[str]

    @property
    def words(self) -> list[str]:
        """What to say for each."""
        return [f"a {NOUNS[kind][0][0]}" for kind in self.kinds]


def asked_for(size: Size) -> Asked:
    """Hide every object of `size.count` scenes, each in a picture of its own."""
    real = held_out(size.count, size.width, size.height)
    given = [(i, box) for i, boxes in enumerate(real.boxes) for box in boxes if box.label in ASKED]
    holes = torch.zeros(len(given), 1, size.height, size.width)
    for hole, (_, box) in zip(holes, given, strict=True):
        hole[0, _widened(box.y0, box.y1), _widened(box.x0, box.x1)] = 1
    kinds = [ASKED[box.label][i % len(ASKED[box.label])] for i, box in given]
    return Asked(real.images[[i for i, _ in given]], holes, kinds)


def by_words(critic: Critic, model: LatentDiffusion, size: Size) -> list[Row]:
    """Rows of how often an object is there after it was asked for, per kind, where one was hidden.

    Beside them: how often one of that kind is there without a word.
    """
    asked = asked_for(size)
    size = replace(size, count=len(asked.kinds))
    wanted = torch.tensor([IDS[kind] for kind in asked.kinds])[:, None, None]
    inside = asked.holes[:, 0, ::2, ::2] > 0
    rows = []
    for what, words in (("asked for", asked.words), ("without a word", [""] * size.count)):
        made = draw_filled(model, asked.images, asked.holes, size, words=words)
        found = ((judge(critic, made).labels == wanted) & inside).sum((1, 2)) >= SMALLEST
        for kind in (*dict.fromkeys(asked.kinds), None):
            some = [kind in (None, one) for one in asked.kinds]
            bar = ASKED_BAR if kind is None and any(words) else None
            name = f"{kind or 'the object'} in the hole, {what}"
            rows.append(Row(name, float(found[some].float().mean()), "", bar, str(size)))
    return rows


def _widened(low: int, high: int) -> slice:
    """The side of a hole around an object's: wider by a fifth at both ends, and 2 px."""
    more = (high - low) // 5 + 2
    return slice(max(0, low - more), high + more)


def _by_kind(each: dict[str, Tensor], size: Size) -> list[Row]:
    """Rows of the ratio of perceptual distances (N,), for each kind of hole separately."""
    kinds, rows = np.array([kind for kind, _ in _drawn(size)]), []
    for kind in masks.KINDS:
        some = torch.from_numpy(kinds == kind)
        if some.any():
            near = {name: float(values[some].mean()) for name, values in each.items()}
            gain = min(near[method] for method in METHODS) / near["ours"]
            name = f"{NEAR}, {kind} ({int(some.sum())}): OpenCV's / ours"
            rows.append(Row(name, gain, size=str(size)))
    return rows


def draw_holes(size: Size) -> Tensor:
    """Draw holes (N, 1, H, W) of 0 and 1; hole i uses the seed i, and none is the whole picture."""
    return torch.from_numpy(np.stack([mask for _, mask in _drawn(size)]))[:, None].float()


def _drawn(size: Size) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the kind of each hole and the hole, (H, W) uint8."""
    for i in range(size.count):
        rng = np.random.default_rng(i)
        while (kind := masks.choose(rng)) == "all":
            pass
        yield kind, masks.draw_kind(kind, rng, size.width, size.height)


def draw_filled(  # noqa: PLR0913  (all but four have defaults)
    model: LatentDiffusion,
    images: Tensor,
    holes: Tensor,
    size: Size,
    *,
    words: Sequence[str] = (),
    **how: Any,
) -> Tensor:
    """Fill the holes with the model as the task does, by words for each if any: (N, 3, H, W)."""
    cells = to_whole_cells(holes, model.factor)
    if any(words):
        how["guidance_scale"] = size.defaults.guidance_scale

    def condition(some: slice) -> Conditioning:
        around = model.condition_hole(images[some], cells[some])
        return worded(model, around, words[some] or [""] * len(images[some]))

    if any(words):
        how["empty"] = lambda cond: worded(model, cond, [""] * len(cond))
    return joined(draw(model, condition, size, **how), images, holes)


def examples(preset: Preset, model: LatentDiffusion) -> list[Block]:
    """Held-out scenes: the input with its hole, Telea's filling, the model's, the original.

    Of a model that reads words: the input, and SEEDS fillings by the words of the caption.
    """
    size = trained_size(preset, BLOCKS)
    if preset.fills_by_words:
        return _worded_examples(model, size)
    real, holes = held_out(BLOCKS, preset.width, preset.height).images, draw_holes(size)
    given = torch.where(holes.bool(), torch.tensor(HOLE_GREY), real)
    ours = draw_filled(model, real, holes, size)
    telea = filled_by_opencv(real, holes, "Telea")
    columns = [to_arrays(images) for images in (given, telea, ours, real)]
    caption = "given, Telea, this model, the original"
    return [Block(caption, pictures) for pictures in zip(*columns, strict=True)]


def _worded_examples(model: LatentDiffusion, size: Size) -> list[Block]:
    asked, some = asked_for(size), slice(0, 2 * BLOCKS, 2)
    images, holes, words = asked.images[some], asked.holes[some], asked.words[some]
    size = replace(size, count=len(words))
    columns = [torch.where(holes.bool(), torch.tensor(HOLE_GREY), images)]
    for first in range(SEEDS):
        seeds = range(first, first + SEEDS * size.count, SEEDS)
        columns.append(draw_filled(model, images, holes, size, words=words, seeds=seeds))
    rows = zip(words, *map(to_arrays, columns), strict=True)
    return [Block(said, pictures) for said, *pictures in rows]


def to_whole_cells(holes: Tensor, factor: int) -> Tensor:
    """Grow holes (N, 1, H, W) to all latent cells that they touch."""
    grown = [to_cells(mask, factor) for mask in holes[:, 0].numpy()]
    return torch.from_numpy(np.stack(grown))[:, None]


def filled_by_opencv(images: Tensor, holes: Tensor, method: str) -> Tensor:
    """Fill the holes with an OpenCV method, one of METHODS."""
    pairs = zip(to_arrays(images), holes[:, 0].numpy().astype(np.uint8), strict=True)
    return to_tensor([cv2.inpaint(image, hole, RADIUS, METHODS[method]) for image, hole in pairs])
