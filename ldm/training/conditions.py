"""The conditions of training batches: one class per kind of condition.

A condition draws the conditioner's inputs for given scenes (without a conditioner, the tensor to
concatenate), and provides a few held-out examples. Pictures are never mirrored, because the light
of the procedural world always falls from the left.

N: scenes; B: batch; H, W: height and width of the pictures in px; h, w: of their latents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldm.data import classes
from ldm.data.classes import class_of
from ldm.data.degradations import FACTOR, bicubic, bsr
from ldm.data.scenes import BOX_CLASSES, CLASSES, IDS
from ldm.errors import TrainingError
from ldm.images import to_tensor
from ldm.models.boxes import SLOTS_PER_BOX, drawn_boxes
from ldm.models.conditioners import one_hot
from ldm.training.boxes import corner_waves, outlined_boxes, relative_boxes
from ldm.training.condition import EXAMPLES, Condition, Examples, Material, check_sentences
from ldm.training.holes import holes_of

OUTSIDE_WEIGHT = 0.2  # loss weight of latent cells outside all boxes, for layouts
START_SCALE = 0.3  # scale of the initial embeddings of layout models
ENOUGH_SCENES = 2000  # enough to measure where objects usually are
UNKNOWN_SHARE = 0.02  # of the words become [UNK], so that unknown words do no harm


class Captions(Condition):
    """Captions as token ids (B, L), in random wordings; a share becomes the empty caption."""

    def __init__(self, given: Material) -> None:
        tokenizer = given.model.tokenizer
        check_sentences(given.world)
        # (N, wordings, L): every wording of every scene
        self.tokens = torch.stack([tokenizer(about["captions"]) for about in given.world.about])
        self.empty, self.unknown = tokenizer([""])[0], int(tokenizer(["\u2603"])[0, 1])
        self.dropout = given.config.loss.condition_dropout
        self.cells = LikelyCells(given)
        shown = tokenizer(
            [(about["captions"] or [""])[0] for about in given.held_out.about[:EXAMPLES]]
        )
        self.examples = Examples(shown, self.empty.expand_as(shown))

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Token ids (B, L) int64."""
        wording = rng.integers(self.tokens.shape[1], size=len(rows))
        tokens = self.tokens[rows, wording]
        is_word = tokens > int(self.empty.max())  # the special tokens have the lowest ids
        masked = torch.from_numpy(rng.random(tokens.shape) < UNKNOWN_SHARE) & is_word
        tokens = tokens.masked_fill(masked, self.unknown)
        tokens[torch.from_numpy(rng.random(len(rows)) < self.dropout)] = self.empty
        return tokens

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """Weight likely cells of the named objects more, since objects cover few cells.

        The weight is 1 everywhere for empty captions.
        """
        told = (drawn != self.empty).any(1)
        return torch.where(told[:, None, None, None], self.cells(rows), 1.0)


class LikelyCells:
    """Loss weights of cells by where the objects that a caption names are likely to be.

    The weights do not depend on where the objects are in the picture. Otherwise the loss would
    depend on the answer, and the mean that the network learns would contain too many objects.
    """

    def __init__(self, given: Material) -> None:
        loss, about = given.config.loss, [about["attributes"] for about in given.world.about]
        kinds = tuple(loss.object_weights)
        weights = torch.tensor([loss.object_weights[kind] for kind in kinds])
        named = torch.tensor([[kind in one["objects"] for kind in kinds] for one in about])
        fog = torch.tensor([one.get("weather") == "fog" for one in about])
        # the maximum weight above 1 per scene and kind of object: (N, kinds)
        self.above = named * (weights * torch.where(fog, loss.fog_weight, 1.0)[:, None] - 1)
        self.places = likely_places(given, kinds)

    def __call__(self, rows: np.ndarray) -> Tensor:
        """Weights (B, 1, h, w)."""
        return 1 + torch.einsum("bk,khw->bhw", self.above[rows], self.places)[:, None]


def likely_places(given: Material, kinds: Sequence[str]) -> Tensor:
    """How often each latent cell shows each kind of object, relative to the cell with the maximum.

    Returns: (kinds, h, w) in [0, 1].
    """
    step = max(1, len(given.world) // ENOUGH_SCENES)
    labels = torch.from_numpy(np.ascontiguousarray(given.world.labels[::step]))
    shares = [
        F.avg_pool2d((labels == IDS[kind]).float().mean(0, keepdim=True), given.model.factor)
        for kind in kinds
    ]
    places = torch.cat(shares) if shares else torch.zeros(0, 1, 1)
    return places / places.amax((1, 2), keepdim=True).clamp_min(1e-6)


def cell_weights(labels: np.ndarray, factor: int, of_objects: Mapping[str, float]) -> Tensor:
    """Loss weights of latent cells: that in `of_objects` for listed classes, 1 for all others.

    labels: (B, H, W) ids -> (B, 1, h, w). A cell with several classes gets the mean over its px.
    """
    of_ids = np.ones(len(CLASSES), np.float32)
    for name, weight in of_objects.items():
        of_ids[IDS[name]] = weight
    return F.avg_pool2d(torch.from_numpy(of_ids[labels])[:, None], factor)


class Layouts(Condition):
    """Labelled boxes as token ids (B, L), in random order; a share becomes the empty layout."""

    def __init__(self, given: Material) -> None:
        self.tokenizer = given.model.tokenizer
        height, width = given.world.images.shape[1:3]
        self.layouts = [
            relative_boxes(about["boxes"], width, height) for about in given.world.about
        ]
        self.cells = (height // given.model.factor, width // given.model.factor)
        self.dropout = given.config.loss.condition_dropout
        self.empty = self.tokenizer.unconditional()[0]
        boxes = [about["boxes"] for about in given.held_out.about[:EXAMPLES]]
        tokens = self.tokenizer([relative_boxes(some, width, height) for some in boxes])
        shown = np.stack([outlined_boxes(some, width, height) for some in boxes])
        self.examples = Examples(tokens, self.empty.expand_as(tokens), to_tensor(shown))

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """Weights (B, 1, h, w): 1 inside boxes, which cover few cells, OUTSIDE_WEIGHT elsewhere."""
        boxes = drawn_boxes(drawn, self.tokenizer.vocab_size, len(BOX_CLASSES), self.cells)
        share = boxes[:, : len(BOX_CLASSES)].amax(1, keepdim=True)
        return OUTSIDE_WEIGHT + (1 - OUTSIDE_WEIGHT) * share

    @torch.no_grad()
    def start(self, conditioner: nn.Module) -> None:
        """Initialise the embeddings of corners by their position, and relate the tokens of a box.

        The positional embeddings of one box share a random vector, and so do those of the same
        token of all boxes. A short training would not learn either from independent random
        vectors: it sees each of a thousand corners only a few hundred times.
        """
        transformer, side = conditioner.transformer, self.tokenizer.side
        ids, slots = transformer.token_emb.weight, transformer.pos_emb.emb.weight
        ids[: side * side] = START_SCALE * corner_waves(side, ids.shape[1])
        numbers = torch.arange(len(slots))
        for period in (numbers % SLOTS_PER_BOX, numbers // SLOTS_PER_BOX):
            slots += START_SCALE * torch.randn(len(slots), slots.shape[1])[period]

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Token ids (B, L) int64."""
        layouts = [self.layouts[row] for row in rows]
        tokens = self.tokenizer(
            [[boxes[i] for i in rng.permutation(len(boxes))] for boxes in layouts]
        )
        tokens[torch.from_numpy(rng.random(len(rows)) < self.dropout)] = self.empty
        return tokens


class PictureClasses(Condition):
    """Class ids (B,), by folder or by a scene's ground and time; a share becomes the null class."""

    def __init__(self, given: Material) -> None:
        preset = given.preset
        self.none, self.dropout = preset.null_class, given.config.loss.condition_dropout
        if self.none is None:
            self.dropout = 0.0  # the model cannot sample without a class
        ids = {name: number for number, name in enumerate(preset.classes)}
        names = [class_name(about) for about in given.world.about]
        if unknown := sorted(set(names) - set(ids)):
            raise TrainingError(
                f"{preset.name} has no class {unknown[0]!r:.80}; a picture lies in a "
                f"folder of its class, {', '.join(preset.classes):.400}."
            )
        self.classes = np.array([ids[name] for name in names])
        one_each = torch.arange(min(len(ids), EXAMPLES))
        empty = None if self.none is None else torch.full_like(one_each, self.none)
        self.examples = Examples(one_each, empty)

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Class ids (B,) int64."""
        dropped = rng.random(len(rows)) < self.dropout
        return torch.from_numpy(np.where(dropped, self.none or 0, self.classes[rows]))


def class_name(about: Mapping[str, Any]) -> str:
    """The class name of a user's picture or of a scene of the procedural world."""
    return about["class"] if "class" in about else classes.NAMES[class_of(about["attributes"])]


class Nothing(Condition):
    """No condition: empty tensors (B, 0), which the denoiser leaves alone."""

    def __init__(self, given: Material) -> None:
        self.examples = Examples(torch.zeros(EXAMPLES, 0))

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """(B, 0)."""
        return torch.zeros(len(rows), 0)


class LabelMaps(Condition):
    """Label maps, one-hot with a channel per class: (B, classes, H, W)."""

    def __init__(self, given: Material) -> None:
        self.labels, self.factor = given.world.labels, given.model.factor
        self.object_weights = given.config.loss.object_weights
        some = given.held_out.labels[:EXAMPLES]
        colours = np.array(list(CLASSES.values()), np.float32) / 127.5 - 1
        shown = torch.from_numpy(colours[some]).permute(0, 3, 1, 2)
        self.examples = Examples(self.prepared(torch.from_numpy(some)), shown=shown)

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Label maps (B, H, W) uint8."""
        return torch.from_numpy(self.labels[rows])

    def prepared(self, drawn: Tensor) -> Tensor:
        """One-hot label maps (B, classes, H, W) float32."""
        return one_hot(drawn, len(CLASSES))

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """Weight objects more: they cover few cells, but have more detail than the land."""
        return cell_weights(self.labels[rows], self.factor, self.object_weights)


class LowResolution(Condition):
    """Pictures shrunk to a quarter and degraded: (B, 3, H / 4, W / 4) in [-1, 1]."""

    def __init__(self, given: Material) -> None:
        self.images = given.world.images
        self.shrink = SHRINK[given.config.data.degradation]
        some = self._shrunk(np.random.default_rng(0), given.held_out.images[:EXAMPLES])
        shown = F.interpolate(some, scale_factor=float(FACTOR), mode="nearest")
        self.examples = Examples(some, shown=shown)

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Small pictures (B, 3, H / 4, W / 4) float32."""
        return self._shrunk(rng, self.images[rows])

    def _shrunk(self, rng: np.random.Generator, images: np.ndarray) -> Tensor:
        return to_tensor(np.stack([self.shrink(image, rng) for image in images]))


def _bicubic(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return bicubic(image)


SHRINK: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "bicubic": _bicubic,
    "bsr": bsr,
}


CONDITIONS: dict[str, Callable[[Material], Condition]] = {
    "text-to-image": Captions,
    "layout": Layouts,
    "class-conditional": PictureClasses,
    "unconditional": Nothing,
    "semantic": LabelMaps,
    "upscale": LowResolution,
    "inpaint": holes_of,
}
"""Task -> function that makes its condition from a `Material`."""
