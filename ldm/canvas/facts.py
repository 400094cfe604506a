"""What is known of a model's networks: memory, work and time go by it, without the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MOST_GAPS = 160 * 2**20  # bytes, between small tensors; large ones are mapped, without gaps


@dataclass(frozen=True)
class Line:
    """Bytes of activations at the worst moment, as a line over the canvas' latent cells.

    Args:
        fixed: Of any canvas.
        per_cell: Of each latent cell.
        gaps: What malloc leaves between tensors, per byte of them, up to MOST_GAPS.
    """

    fixed: float
    per_cell: float
    gaps: float = 0.0

    def at(self, cells: int) -> int:
        """Bytes for a canvas of so many cells, all pictures of a batch together."""
        tensors = max(0.0, self.fixed + self.per_cell * cells)
        return round(tensors + min(self.gaps * tensors, MOST_GAPS))

    def doubled(self) -> Line:
        """The same of numbers twice as wide."""
        return replace(self, fixed=2 * self.fixed, per_cell=2 * self.per_cell)


@dataclass(frozen=True)
class Bands:
    """What a network in bands takes."""

    per_column: float  # bytes: the smallest budget, per column of latent cells
    spilled: float  # bytes on the disk at the worst moment, per latent cell

    def least(self, columns: int) -> int:
        """The smallest budget for a canvas of so many columns."""
        return math.ceil(self.per_column * columns)

    def doubled(self) -> Bands:
        """The same of numbers twice as wide."""
        return Bands(2 * self.per_column, 2 * self.spilled)


@dataclass(frozen=True)
class Work:
    """Floating-point operations of a network per picture.

    Convolutions go by the cell, attention by the pair of cells; the context is fixed.
    """

    fixed: float
    per_cell: float
    per_pair: float

    def of(self, pictures: int, cells: int) -> float:
        """For so many pictures of so many cells each."""
        return pictures * (self.fixed + self.per_cell * cells + self.per_pair * cells**2)

    def times(self, factor: float) -> Work:
        """So many times as much."""
        return Work(factor * self.fixed, factor * self.per_cell, factor * self.per_pair)


@dataclass(frozen=True)
class Facts:
    """What is known of a model's networks: each run whole, and each in bands."""

    factor: int  # px per latent cell
    multiple: int  # px: sides are multiples of it
    unet: Line
    decoder: Line
    encoder: Line
    unet_bands: Bands
    decoder_bands: Bands
    encoder_bands: Bands
    unet_work: Work
    guided_work: Work  # of the UNet under two conditions at once, what is the same counted once
    decoder_work: Work
    trained_rows: int = 0  # latent cells of a training picture; 0: nobody knows
    trained_columns: int = 0
    cells_at_once: int = 0  # latent cells of a batch; 0: as on a CPU

    def operations(self, part: str, pictures: int, cells: int, passes: int = 1) -> float:
        """Of "unet" or "decoder" for so many pictures of so many cells each.

        Args:
            part: The network.
            pictures: At once.
            cells: Of a picture.
            passes: 2: under two conditions at once.
        """
        if passes == 1:
            return getattr(self, f"{part}_work").of(pictures, cells)
        return self.guided_work.of(pictures, cells)

    def in_float32(self) -> Facts:
        """What the same model takes in float32, if these are of half precision."""
        networks = ("unet", "decoder", "encoder")
        names = [name + of for name in networks for of in ("", "_bands")]
        return replace(self, **{name: getattr(self, name).doubled() for name in names})

    @property
    def size_multiple(self) -> int:
        """As a `LatentDiffusion` calls it."""
        return self.multiple

    @property
    def trained_size(self) -> tuple[int, int] | None:
        """Height and width in px of the training pictures; None: nobody knows."""
        size = (self.factor * self.trained_rows, self.factor * self.trained_columns)
        return size if all(size) else None
