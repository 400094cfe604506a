"""Pictures with holes: the condition of inpainting.

N: scenes; B: batch; C: channels of the latents; H, W: height and width of the pictures in px;
h, w: of their latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ldm.data import masks
from ldm.data.captions import describe_part
from ldm.data.masks import to_cells
from ldm.data.scenes import BOX_CLASSES, CLASSES, IDS
from ldm.diffusion.conditioning import Conditioning
from ldm.errors import TrainingError
from ldm.images import to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.runtime.device import autocast
from ldm.training.condition import EXAMPLES, Condition, Examples, Material, check_sentences
from ldm.training.world import SPLITS, World, save_array

ENCODE_BATCH = 16  # scenes per batch of the encoder
AROUND_SHARE = 0.65  # of the holes of a model that reads words lie around one object
INSIDE_SHARE = 0.85  # of an object's box that lies in the hole if the words name it
KNOWN_WEIGHT = 0.1  # loss weight of latent cells outside the hole


class Holes(Condition):
    """Pictures with holes, as `LatentDiffusion.condition_hole` returns them: (B, C + 1, h, w).

    Holes consist of whole latent cells, as in sampling. Whenever a picture is drawn it gets a new
    hole, and is encoded with it.
    """

    def __init__(self, given: Material) -> None:
        self.model, self.world = given.model, given.world
        rng = np.random.default_rng([SPLITS["held-out"], 0])
        images = to_tensor(given.held_out.images[:EXAMPLES])
        holes = self.drawn(rng, given.held_out, np.arange(len(images)))
        inputs = given.model.condition_hole(images, holes).concat.cpu()
        self.examples = Examples(inputs, shown=images.masked_fill(holes.bool(), 0.0))

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Pictures and holes of 0 and 1, concatenated: (B, 3 + 1, H, W) uint8."""
        images = torch.from_numpy(self.world.images[rows]).permute(0, 3, 1, 2)
        return torch.cat([images, self.drawn(rng, self.world, rows).byte()], dim=1)

    def drawn(self, rng: np.random.Generator, world: World, rows: np.ndarray) -> Tensor:
        """Draw a hole of whole latent cells for each of these pictures: (B, 1, H, W) of 0 and 1."""
        height, width = world.images.shape[1:3]
        holes = [masks.draw(rng, width, height) for _ in rows]
        return in_cells(holes, self.model.factor)

    def prepared(self, drawn: Tensor) -> Tensor:
        """Encoded pictures with holes (B, C + 1, h, w) float32."""
        return encoded_holes(self.model, drawn[:, :3] / 127.5 - 1, drawn[:, 3:].float())

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """Weight 1 in holes, KNOWN_WEIGHT elsewhere.

        The model's output outside the hole is never used; it only stabilises the training.
        """
        factor = self.model.factor
        return KNOWN_WEIGHT + (1 - KNOWN_WEIGHT) * drawn[:, 3:, ::factor, ::factor].float()


class EncodedHoles(Holes):
    """Like `Holes`, but with `data.holes` holes per picture, encoded once and cached on disk.

    Without an accelerator, encoding would take as long as the training itself.
    """

    name = "holes"  # of the cache

    def __init__(self, given: Material) -> None:
        super().__init__(given)
        about, key = given.config.data, given.world.key
        self.holes = about.holes
        kind = "smooth" if given.model.smooth_holes else "black"
        if given.model.grey_holes:  # their latents are scaled
            kind = f"grey-{given.model.scale_factor:.6g}"
        cache = about.folder / f"{self.name}-{kind}-{given.weights}-{key}-{self.holes}.npy"
        if not cache.exists():
            save_array(cache, self._encoded().half().numpy())
        self.encoded = np.load(cache, mmap_mode="r")

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Encoded pictures with holes (B, C + 1, h, w) float32."""
        which = rng.integers(self.holes, size=len(rows))
        return torch.from_numpy(self.encoded[rows * self.holes + which]).float()

    def prepared(self, drawn: Tensor) -> Tensor:
        """Return `drawn`, which is encoded already."""
        return drawn

    def weight(self, rows: np.ndarray, drawn: Tensor) -> Tensor:
        """Weights as in `Holes`, from the mask beside the latents."""
        return KNOWN_WEIGHT + (1 - KNOWN_WEIGHT) * self.model.mask_in(drawn)

    def _encoded(self) -> Tensor:
        """Encode all pictures: (N * holes, C + 1, h, w), the holes of a picture in succession."""
        parts = []
        for start in range(0, len(self.world), ENCODE_BATCH):
            rows = np.arange(start, min(start + ENCODE_BATCH, len(self.world)))
            rows = rows.repeat(self.holes)
            images = to_tensor(self.world.images[rows])
            holes = self.drawn(np.random.default_rng([SPLITS["train"], start]), self.world, rows)
            parts.append(encoded_holes(self.model, images, holes).cpu())
        return torch.cat(parts)


class WordedHoles(EncodedHoles):
    """Encoded holes, many of them around objects, with token ids that say what belongs there.

    The conditions are `Conditioning`s: `concat` as in `EncodedHoles`, `context` (B, L) int64.
    """

    name = "worded-holes"

    def __init__(self, given: Material) -> None:
        if not len(given.world.labels):
            check_sentences(given.world)
        super().__init__(given)
        self.tokenizer = given.model.tokenizer
        self.dropout = given.config.loss.condition_dropout
        self.wordings = given.config.data.captions
        self.empty = self.tokenizer([""])[0]
        rng, shown = np.random.default_rng(0), self.examples.inputs
        cells = self._cells(shown)
        texts = [said_of(given.held_out, row, hole, rng) for row, hole in enumerate(cells)]
        tokens = self.tokenizer(texts)
        self.examples = replace(
            self.examples,
            inputs=Conditioning(concat=shown, context=tokens),
            empty=Conditioning(concat=shown, context=self.empty.expand_as(tokens)),
        )
        self.tokens = torch.stack([self._wordings(index) for index in range(len(self.encoded))])

    def drawn(self, rng: np.random.Generator, world: World, rows: np.ndarray) -> Tensor:
        """Draw holes: around an object of the picture if there is one, or of any kind."""
        height, width = world.images.shape[1:3]
        holes = []
        for row in rows:
            boxes = world.about[row]["boxes"]
            if boxes and rng.random() < AROUND_SHARE:
                box = boxes[int(rng.integers(len(boxes)))]
                sides = [box[side] for side in ("x0", "y0", "x1", "y1")]
                holes.append(masks.around(rng, width, height, sides))
            else:
                holes.append(masks.draw(rng, width, height))
        return in_cells(holes, self.model.factor)

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Conditioning:
        """Encoded holes and token ids; a share of the words is left out."""
        at = rows * self.holes + rng.integers(self.holes, size=len(rows))
        tokens = self.tokens[at, rng.integers(self.wordings, size=len(rows))]
        tokens[torch.from_numpy(rng.random(len(rows)) < self.dropout)] = self.empty
        return Conditioning(concat=torch.from_numpy(self.encoded[at]).float(), context=tokens)

    def weight(self, rows: np.ndarray, drawn: Conditioning) -> Tensor:
        """Weights as in `Holes`."""
        return super().weight(rows, drawn.concat)

    def _wordings(self, index: int) -> Tensor:
        """Token ids (wordings, L) of one hole."""
        rng = np.random.default_rng([SPLITS["train"], index, 1])
        (cells,) = self._cells(torch.from_numpy(self.encoded[[index]]))
        about = index // self.holes, cells
        return self.tokenizer([said_of(self.world, *about, rng) for _ in range(self.wordings)])

    def _cells(self, concat: Tensor) -> Tensor:
        """Latent cells that are in the holes of encoded pictures: (B, h, w) bool."""
        return self.model.mask_in(concat)[:, 0] > 0.5


def said_of(world: World, row: int, cells: Tensor, rng: np.random.Generator) -> str:
    """Say what is in the hole `cells`, (h, w) bool, of a picture: objects that lie in it, or land.

    Of objects that are partly outside nothing is said, since they are continued anyway. Of a
    user's own picture, whose places nobody has named, it is one of the sentences about all of it.
    """
    about = world.about[row]
    if not len(world.labels):
        return about["captions"][int(rng.integers(len(about["captions"])))]
    labels = world.labels[row]
    factor = labels.shape[0] // cells.shape[0]
    hole = cells.numpy().repeat(factor, 0).repeat(factor, 1)
    things: dict[str, int] = {}
    for box in about["boxes"]:
        if hole[box["y0"] : box["y1"], box["x0"] : box["x1"]].mean() >= INSIDE_SHARE:
            things[box["label"]] = things.get(box["label"], 0) + 1
    land = np.bincount(labels[hole], minlength=len(CLASSES))
    land = land + 1e-9 * np.bincount(labels.ravel(), minlength=len(CLASSES))  # a hole in an object
    land[[IDS[name] for name in BOX_CLASSES]] = 0
    return describe_part(things, tuple(CLASSES)[int(land.argmax())], about["attributes"], rng)


def holes_of(given: Material) -> Holes:
    """Return `WordedHoles` for a model that reads words; else holes as `data.holes` says."""
    if given.model.conditioning == "hybrid":
        if not given.config.data.holes:
            raise TrainingError("data.holes must be 1 or more for a model that reads words, got 0.")
        return WordedHoles(given)
    return EncodedHoles(given) if given.config.data.holes else Holes(given)


@torch.no_grad()
def encoded_holes(model: LatentDiffusion, images: Tensor, holes: Tensor) -> Tensor:
    """Encode pictures (B, 3, H, W) in [-1, 1] with holes (B, 1, H, W) of 0 and 1.

    Returns: (B, C + 1, h, w) float32.
    """
    with autocast(model.device):
        return model.condition_hole(images, holes).concat.float()


def in_cells(holes: Sequence[np.ndarray], factor: int) -> Tensor:
    """Grow masks (H, W) of 0 and 1 to whole latent cells: (B, 1, H, W) float32."""
    return torch.from_numpy(np.stack([to_cells(hole, factor) for hole in holes]))[:, None].float()
