"""Conversion of boxes to token ids, as in the published layout model (LDM App. E.2.1).

Every object takes three slots: class, top-left and bottom-right corner. Corners lie on a square
grid of floor(sqrt(vocab_size)) points per side, numbered row by row. They share their ids with the
classes; the slot tells them apart. The last two slots are the corners of the picture itself, here
always the whole picture. Empty slots hold the largest id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LabelledBox = tuple[int, float, float, float, float]
"""Class index, then left, top, right, bottom as fractions of the canvas."""


class LayoutTokens:
    """The tokenizer of layouts.

    Args:
        vocab_size: Number of ids.
        length: Ids per layout.
    """

    def __init__(self, vocab_size: int, length: int) -> None:
        self.vocab_size = vocab_size
        self.length = length
        self.side = math.isqrt(vocab_size)
        self.none = vocab_size - 1

    @property
    def max_boxes(self) -> int:
        """Most boxes of a layout."""
        return (self.length - 2) // 3

    def __call__(self, layouts: Sequence[Sequence[LabelledBox]]) -> Tensor:
        """Convert layouts to ids, (B, length) int64.

        Raises:
            ValueError: If a layout has more than `max_boxes` boxes, or a class has no id.
        """
        import torch  # noqa: PLC0415  (the catalog answers without it)

        rows = [self.encode(layout) for layout in layouts]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.length)

    def encode(self, layout: Sequence[LabelledBox]) -> list[int]:
        """Return the ids of one layout; boxes are clipped to the canvas."""
        if len(layout) > self.max_boxes:
            raise ValueError(f"at most {self.max_boxes} boxes, got {len(layout)}")
        ids = []
        for label, *box in layout:
            if not 0 <= label < self.none:
                raise ValueError(f"a class must be in 0..{self.none - 1}, got {label}")
            left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in box)
            ids += [label, self.corner(left, top), self.corner(right, bottom)]
        ids += [self.none] * (self.length - 2 - len(ids))
        return [*ids, self.corner(0.0, 0.0), self.corner(1.0, 1.0)]

    def corner(self, x: float, y: float) -> int:
        """Return the id of a point, given in fractions of the canvas."""
        last = self.side - 1
        return round(y * last) * self.side + round(x * last)

    def unconditional(self) -> Tensor:
        """Return the ids of no layout, (1, length) int64; it even lacks the picture's corners."""
        import torch  # noqa: PLC0415

        return torch.full((1, self.length), self.none)
