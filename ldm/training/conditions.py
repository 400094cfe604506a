"""What a batch of training pictures is conditioned on: one small object per kind of condition.

Each draws, for given scenes, what the model's conditioner takes (or, without a conditioner, what is
concatenated as it is), and shows a few held-out examples. Nothing is mirrored: the world's light
falls from the left.

N: scenes; B: batch; H, W: sides of the pictures in px; h, w: of their latents.
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
from ldm.models.boxes import SLOTS_PER_BOX, drawn_boxes
from ldm.models.conditioners import one_hot
from ldm.training.autoencoder import to_tensor
from ldm.training.boxes import corner_waves, outlined_boxes, relative_boxes
from ldm.training.condition import EXAMPLES, Condition, Examples, Material
from ldm.training.holes import holes_of

OUTSIDE_WEIGHT = 0.2  # of a latent cell outside all boxes, in the loss of layouts
START_SCALE = 0.3  # of vectors that are set before the training of layouts
ENOUGH_SCENES = 2000  # to see where things stand
UNKNOWN_SHARE = 0.02  # of the words, replaced by [UNK], so that an unknown word does no harm


class Captions(Condition):
    """Sentences, in random wordings, as token ids (B, L); some of them emptied."""

    def __init__(self, given: Material) -> None:
        tokenizer = given.model.tokenizer
        if not given.world.about[0]["captions"]:
            raise TrainingError(
                "no picture has a sentence; put a text file of its name beside each, a line for "
                "each way to say what it shows."
            )
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
        """(B, L) int64."""
        wording = rng.integers(self.tokens.shape[1], size=len(rows))
        tokens = self.tokens[rows, wording]
        is_word = tokens > int(self.empty.max())  # the special tokens have the lowest ids
        masked = torch.from_numpy(rng.random(tokens.shape) < UNKNOWN_SHARE) & is_word
        tokens = tokens.masked_fill(masked, self.unknown)
        tokens[torch.from_numpy(rng.random(len(rows)) < self.dropout)] = self.empty
        return tokens

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """Objects are few cells, so that what is said of them hardly counts by itself."""
        told = (drawn != self.empty).any(1)
        return torch.where(told[:, None, None, None], self.cells(rows), 1.0)


class LikelyCells:
    """Weights of cells by where the things that a sentence names may stand, not where they do.

    A weight of the things themselves would be one of the answer: the mean that a network learns
    would have more of them than there are. This one is the same whatever the picture shows.
    """

    def __init__(self, given: Material) -> None:
        loss, about = given.config.loss, [about["attributes"] for about in given.world.about]
        kinds = tuple(loss.object_weights)
        weights = torch.tensor([loss.object_weights[kind] for kind in kinds])
        named = torch.tensor([[kind in one["objects"] for kind in kinds] for one in about])
        fog = torch.tensor([one.get("weather") == "fog" for one in about])
        # what a cell of a kind counts above 1, in each scene: (N, kinds)
        self.above = named * (weights * torch.where(fog, loss.fog_weight, 1.0)[:, None] - 1)
        self.places = likely_places(given, kinds)

    def __call__(self, rows: np.ndarray) -> Tensor:
        """(B, 1, h, w), at least 1."""
        return 1 + torch.einsum("bk,khw->bhw", self.above[rows], self.places)[:, None]


def likely_places(given: Material, kinds: Sequence[str]) -> Tensor:
    """How often each latent cell shows things of a kind, as a share of the cell that does most.

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
    """1 for a latent cell of the land, what `of_objects` says for one of a tree, a house or a boat.

    labels: (B, H, W) ids -> (B, 1, h, w); a cell that shows several things weighs by their shares.
    """
    of_ids = np.ones(len(CLASSES), np.float32)
    for name, weight in of_objects.items():
        of_ids[IDS[name]] = weight
    return F.avg_pool2d(torch.from_numpy(of_ids[labels])[:, None], factor)


class Layouts(Condition):
    """Boxes with classes as token ids (B, L), shuffled; some of them without any layout."""

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
        """The cells in boxes count, which are few: (B, 1, h, w)."""
        boxes = drawn_boxes(drawn, self.tokenizer.vocab_size, len(BOX_CLASSES), self.cells)
        share = boxes[:, : len(BOX_CLASSES)].amax(1, keepdim=True)
        return OUTSIDE_WEIGHT + (1 - OUTSIDE_WEIGHT) * share

    @torch.no_grad()
    def start(self, conditioner: nn.Module) -> None:
        """Give corners vectors that say where they lie, and the slots of a box a common one.

        From random vectors a short training learns neither: it sees each of a thousand corners a
        few hundred times only.
        """
        transformer, side = conditioner.transformer, self.tokenizer.side
        ids, slots = transformer.token_emb.weight, transformer.pos_emb.emb.weight
        ids[: side * side] = START_SCALE * corner_waves(side, ids.shape[1])
        numbers = torch.arange(len(slots))
        for period in (numbers % SLOTS_PER_BOX, numbers // SLOTS_PER_BOX):
            slots += START_SCALE * torch.randn(len(slots), slots.shape[1])[period]

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """(B, L) int64."""
        layouts = [self.layouts[row] for row in rows]
        tokens = self.tokenizer(
            [[boxes[i] for i in rng.permutation(len(boxes))] for boxes in layouts]
        )
        tokens[torch.from_numpy(rng.random(len(rows)) < self.dropout)] = self.empty
        return tokens


class PictureClasses(Condition):
    """Class ids (B,), of a folder or of ground and time; some of them are 'no class'."""

    def __init__(self, given: Material) -> None:
        preset = given.preset
        self.none, self.dropout = preset.null_class, given.config.loss.condition_dropout
        if self.none is None:
            self.dropout = 0.0  # it knows no picture without a class
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
        """(B,) int64."""
        dropped = rng.random(len(rows)) < self.dropout
        return torch.from_numpy(np.where(dropped, self.none or 0, self.classes[rows]))


def class_name(about: Mapping[str, Any]) -> str:
    """The class of a picture, or of a scene of the procedural world."""
    return about["class"] if "class" in about else classes.NAMES[class_of(about["attributes"])]


class LabelMaps(Condition):
    """The scenes' label maps, one channel per class: (B, classes, H, W)."""

    def __init__(self, given: Material) -> None:
        self.labels, self.factor = given.world.labels, given.model.factor
        self.object_weights = given.config.loss.object_weights
        some = given.held_out.labels[:EXAMPLES]
        colours = np.array(list(CLASSES.values()), np.float32) / 127.5 - 1
        shown = torch.from_numpy(colours[some]).permute(0, 3, 1, 2)
        self.examples = Examples(self.prepared(torch.from_numpy(some)), shown=shown)

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """(B, H, W) uint8."""
        return torch.from_numpy(self.labels[rows])

    def prepared(self, drawn: Tensor) -> Tensor:
        """(B, classes, H, W) float32."""
        return one_hot(drawn, len(CLASSES))

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """Objects are few cells, and of more parts than the land."""
        return cell_weights(self.labels[rows], self.factor, self.object_weights)


class LowResolution(Condition):
    """The pictures at a quarter of the size, degraded: (B, 3, H / 4, W / 4) in [-1, 1]."""

    def __init__(self, given: Material) -> None:
        self.images = given.world.images
        self.shrink = SHRINK[given.config.data.degradation]
        some = self._shrunk(np.random.default_rng(0), given.held_out.images[:EXAMPLES])
        shown = F.interpolate(some, scale_factor=float(FACTOR), mode="nearest")
        self.examples = Examples(some, shown=shown)

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """(B, 3, H / 4, W / 4) float32."""
        return self._shrunk(rng, self.images[rows])

    def _shrunk(self, rng: np.random.Generator, images: np.ndarray) -> Tensor:
        return to_tensor(np.stack([self.shrink(image, rng) for image in images]))


SHRINK: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "bicubic": lambda image, rng: bicubic(image),
    "bsr": bsr,
}


CONDITIONS: dict[str, Callable[[Material], Condition]] = {
    "text-to-image": Captions,
    "layout": Layouts,
    "class-conditional": PictureClasses,
    "semantic": LabelMaps,
    "upscale": LowResolution,
    "inpaint": holes_of,
}
"""The task of a preset -> its condition, made of a `Material`."""
