"""Rate and distortion of one picture: how many bytes tell how much of it (DDPM Sec. 4.3, Fig. 5).

This module needs no torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ldm.images.sheet import sheet, shrunk_to

MESSAGES = 100  # default number: with all time steps the code is two hundredths shorter
SHOWN = 10  # pictures of the sheet, and rows of the table
ROWS = ("sent", "expected")  # of the sheet: fields of a RatePoint
COLUMNS = ("t", "bytes", "bits_per_pixel", "rmse", "bytes_without_condition")


@dataclass(frozen=True)
class RatePoint:
    """What a receiver of the messages down to time step `t` has been sent, and how far off it is.

    Args:
        t: Time step of the last message.
        bits: Length of the code so far, by a model that knows the condition.
        bits_without: The same with the empty condition; None: the model has none.
        rmse: Of the picture that the receiver then expects, in levels of 0 to 255.
        sent: x_t, decoded, (H, W, 3) uint8; None: it is not kept.
        expected: The picture, like `sent`.
    """

    t: int
    bits: float
    bits_without: float | None
    rmse: float
    sent: np.ndarray | None = field(default=None, repr=False)
    expected: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RateCurve:
    """The rate-distortion curve of a picture of `pixels` pixels; the points from noise on."""

    pixels: int
    points: tuple[RatePoint, ...]

    @property
    def shown(self) -> list[RatePoint]:
        """The points whose pictures are kept."""
        return [point for point in self.points if point.expected is not None]

    def rows(self, points: Sequence[RatePoint]) -> Iterator[tuple]:
        """Return the numbers of points in the order of COLUMNS."""
        for point in points:
            without = None if point.bits_without is None else point.bits_without / 8
            yield point.t, point.bits / 8, point.bits / self.pixels, point.rmse, without

    def to_csv(self) -> str:
        """Return all points as CSV; an unknown number is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(self.rows(self.points))
        return text.getvalue()

    def sheet(self, picture: np.ndarray, title: str = "") -> np.ndarray:
        """Draw x_t and what is expected after so many bytes, and last the picture (H, W, 3)."""
        shown = self.shown
        above = [f"{size(one.bits)}, RMSE {one.rmse:.0f}" for one in shown]
        rows = [[*(getattr(one, name) for one in shown), picture] for name in ROWS]
        small = [[shrunk_to(image, 2, len(row)) for image in row] for row in rows]
        return sheet(small, [*above, "the picture"], ROWS, title)


def size(bits: float) -> str:
    """Return a length in words: "45 bytes", "1.6 kB"."""
    count = bits / 8
    if count < 9.95:
        return f"{count:.1f} bytes"
    return f"{count:.0f} bytes" if count < 999.5 else f"{count / 1000:.1f} kB"
