"""Pictures with holes: the condition of inpainting.

N: scenes; B: batch; C: channels of the latents; H, W: height and width of the pictures in px;
h, w: of their latents.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ldm.data import masks
from ldm.data.masks import to_cells
from ldm.latent_diffusion import LatentDiffusion
from ldm.runtime.device import autocast
from ldm.training.autoencoder import to_tensor
from ldm.training.condition import EXAMPLES, Condition, Examples, Material
from ldm.training.world import SPLITS, save_array

ENCODE_BATCH = 16  # scenes per batch of the encoder
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
        holes = draw_holes(rng, images, given.model.factor)
        inputs = given.model.condition_hole(images, holes).concat.cpu()
        self.examples = Examples(inputs, shown=images.masked_fill(holes.bool(), 0.0))

    def draw(self, rng: np.random.Generator, rows: np.ndarray) -> Tensor:
        """Pictures and holes of 0 and 1, concatenated: (B, 3 + 1, H, W) uint8."""
        images = torch.from_numpy(self.world.images[rows]).permute(0, 3, 1, 2)
        return torch.cat([images, draw_holes(rng, images, self.model.factor).byte()], dim=1)

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

    def __init__(self, given: Material) -> None:
        super().__init__(given)
        about, key = given.config.data, given.world.key
        self.holes = about.holes
        kind = "smooth" if given.model.smooth_holes else "black"
        cache = about.folder / f"holes-{kind}-{given.weights}-{key}-{self.holes}.npy"
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
        """Weights as in `Holes`, from the mask channel in [-1, 1]."""
        return KNOWN_WEIGHT + (1 - KNOWN_WEIGHT) * (drawn[:, -1:] + 1) / 2

    def _encoded(self) -> Tensor:
        """Encode all pictures: (N * holes, C + 1, h, w), the holes of a picture in succession."""
        parts = []
        for start in range(0, len(self.world), ENCODE_BATCH):
            images = to_tensor(self.world.images[start : start + ENCODE_BATCH])
            images = images.repeat_interleave(self.holes, dim=0)
            rng = np.random.default_rng([SPLITS["train"], start])
            holes = draw_holes(rng, images, self.model.factor)
            parts.append(encoded_holes(self.model, images, holes).cpu())
        return torch.cat(parts)


def holes_of(given: Material) -> Holes:
    """Return `EncodedHoles` if `data.holes` is above 0, else `Holes`."""
    return EncodedHoles(given) if given.config.data.holes else Holes(given)


@torch.no_grad()
def encoded_holes(model: LatentDiffusion, images: Tensor, holes: Tensor) -> Tensor:
    """Encode pictures (B, 3, H, W) in [-1, 1] with holes (B, 1, H, W) of 0 and 1.

    Returns: (B, C + 1, h, w) float32.
    """
    with autocast(model.device):
        return model.condition_hole(images, holes).concat.float()


def draw_holes(rng: np.random.Generator, images: Tensor, factor: int) -> Tensor:
    """Draw a hole of whole latent cells for each picture: (B, 1, H, W) of 0 and 1."""
    height, width = images.shape[2:]
    drawn = [to_cells(masks.draw(rng, width, height), factor) for _ in images]
    return torch.from_numpy(np.stack(drawn))[:, None].float()
