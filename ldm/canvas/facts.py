"""Measured facts of a model's networks, from which memory and work are estimated without it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MOST_GAPS = 160 * 2**20  # bytes: gaps lie between small tensors only, large ones are mapped


@dataclass(frozen=True)
class Line:
    """Peak bytes of activations as a linear function of the canvas' latent cells.

    Args:
        fixed: Bytes for a canvas of any size.
        per_cell: Bytes per latent cell.
        gaps: Bytes that malloc leaves unused per byte of tensors, up to MOST_GAPS in all.
    """

    fixed: float
    per_cell: float
    gaps: float = 0.0

    def at(self, cells: int) -> int:
        """Return the bytes for `cells` latent cells, those of all pictures of a batch together."""
        tensors = max(0.0, self.fixed + self.per_cell * cells)
        return round(tensors + min(self.gaps * tensors, MOST_GAPS))

    def doubled(self) -> Line:
        """Return the line for values of twice the width, e.g. float32 after float16."""
        return replace(self, fixed=2 * self.fixed, per_cell=2 * self.per_cell)


@dataclass(frozen=True)
class Bands:
    """Memory and disk that a network in bands takes."""

    per_column: float  # bytes of the smallest sufficient budget, per column of latent cells
    spilled: float  # peak bytes on the disk, per latent cell

    def least(self, columns: int) -> int:
        """Return the smallest budget in bytes for a canvas of `columns` latent columns."""
        return math.ceil(self.per_column * columns)

    def doubled(self) -> Bands:
        """Return the bytes for values of twice the width."""
        return Bands(2 * self.per_column, 2 * self.spilled)


@dataclass(frozen=True)
class Work:
    """Floating-point operations of a network per picture.

    Convolutions grow with the cells, attention with the pairs of cells; work on the context is
    fixed.
    """

    fixed: float
    per_cell: float
    per_pair: float

    def of(self, pictures: int, cells: int) -> float:
        """Return the operations for `pictures` pictures of `cells` latent cells each."""
        return pictures * (self.fixed + self.per_cell * cells + self.per_pair * cells**2)

    def times(self, factor: float) -> Work:
        """Return the work multiplied by `factor`."""
        return Work(factor * self.fixed, factor * self.per_cell, factor * self.per_pair)


@dataclass(frozen=True)
class Facts:
    """Measured facts of a model's networks: memory whole and in bands, and work."""

    factor: int  # px per latent cell
    multiple: int  # px: sides of a picture are multiples of it
    unet: Line
    decoder: Line
    encoder: Line
    unet_bands: Bands
    decoder_bands: Bands
    encoder_bands: Bands
    unet_work: Work
    guided_work: Work  # of the UNet under two conditions at once, shared work counted once
    decoder_work: Work
    trained_rows: int = 0  # latent rows of a training picture; 0: not known
    trained_columns: int = 0
    cells_at_once: int = 0  # latent cells of a batch; 0: the default of the CPU

    def operations(self, part: str, pictures: int, cells: int, passes: int = 1) -> float:
        """Return the operations of one network for a batch.

        Args:
            part: "unet" or "decoder".
            pictures: Pictures of the batch.
            cells: Latent cells of a picture.
            passes: 1, or 2 for the UNet under two conditions at once (guidance).
        """
        if passes == 1:
            return getattr(self, f"{part}_work").of(pictures, cells)
        return self.guided_work.of(pictures, cells)

    def in_float32(self) -> Facts:
        """Return the facts of the same model in float32, if these are of half precision."""
        networks = ("unet", "decoder", "encoder")
        names = [name + of for name in networks for of in ("", "_bands")]
        return replace(self, **{name: getattr(self, name).doubled() for name in names})

    @property
    def size_multiple(self) -> int:
        """`multiple`, under the name that `LatentDiffusion` gives it."""
        return self.multiple

    @property
    def trained_size(self) -> tuple[int, int] | None:
        """Height and width in px of the training pictures; None: not known."""
        size = (self.factor * self.trained_rows, self.factor * self.trained_columns)
        return size if all(size) else None
