"""Progressions: x_t and the predicted x0 of one picture, step by step, as a sheet and a film.

This is progressive generation (DDPM Sec. 4.3, Fig. 6). This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ldm.errors import RequestError
from ldm.events import Frame, Result
from ldm.images.sheet import sheet, shrunk_to
from ldm.requests import REQUESTS, takes_start_image
from ldm.requests.comparison import Comparison, StandsForRequest

FRAMES = 10  # default number of frames
MOST = 50  # most frames
FILM_SIDE = 512  # px: the longest side of a picture whose file plays its steps
ROWS = ("expected", "with its noise")
WIDE = 1.5  # frames of pictures with a larger aspect ratio go from top to bottom


@dataclass(frozen=True)
class Progression(StandsForRequest):
    """A picture whose sampling steps are shown; it can be used like a request.

    Args:
        request: Request whose task allows a picture to start from, see `takes_start_image`.
        frames: Number of steps to show, evenly spread from first to last; all if there are fewer.

    Raises:
        RequestError: If the request is of another task, or the number is out of range.
    """

    request: Any
    frames: int = FRAMES

    def __post_init__(self) -> None:
        if type(self.request) not in REQUESTS.values():
            raise RequestError(f"only a request has steps, got {self.request!r:.40}.")
        if not takes_start_image(type(self.request)):
            raise RequestError(
                "the steps of text-to-image, semantic, layout and class-conditional can be shown, "
                f"got {self.request.task!r}."
            )
        is_whole = isinstance(self.frames, int) and not isinstance(self.frames, bool)
        if not is_whole or not 2 <= self.frames <= MOST:
            raise RequestError(f"frames must be 2 to {MOST}, got {self.frames!r:.40}.")
        self.settle()

    def sheet(self, frames: Sequence[Frame], picture: np.ndarray, title: str = "") -> np.ndarray:
        """Draw all frames: predicted x0 above x_t, or beside it if the picture is wide (see WIDE).

        Args:
            frames: Frames in their order; those of a smaller canvas are enlarged.
            picture: The finished picture (H, W, 3).
            title: Text above the frames.
        """
        above = [f"step {frame.step} of {frame.total}, t = {frame.t}" for frame in frames]
        rows = [[frame.expected for frame in frames], [frame.noisy for frame in frames]]
        beside: Sequence[str] = ROWS
        if picture.shape[1] > WIDE * picture.shape[0]:
            rows, above, beside = [*map(list, zip(*rows, strict=True))], ROWS, above
        size = shrunk_to(frames[-1].noisy, len(rows), len(above)).shape
        shown = [[_as_large(frame, size) for frame in row] for row in rows]
        return sheet(shown, above, beside, title)

    def film(self, frames: Sequence[Frame], picture: np.ndarray) -> list[np.ndarray]:
        """Return the predicted x0 of each frame, then the finished picture.

        There is no film of a picture larger than FILM_SIDE: it would take many times its file.
        """
        if max(picture.shape) > FILM_SIDE:
            return []
        return [*(_as_large(frame.expected, picture.shape) for frame in frames), picture]


def shown_steps(total: int, frames: int) -> set[int]:
    """Choose the steps to show, from 1 to `total`: evenly spread, with the first and the last."""
    return {round(at) for at in np.linspace(1, total, min(frames, total))}


def lacks_sheet(asked: Any, made: Result) -> bool:
    """Whether a comparison or a progression was requested and ended without its sheet."""
    sheets = (Comparison, Progression)
    return isinstance(asked, sheets) and not any(isinstance(one, sheets) for one in made.requests)


def _as_large(frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Scale a frame to the size of an array of this shape."""
    if frame.shape == shape:
        return frame
    return np.asarray(Image.fromarray(frame).resize(shape[1::-1], Image.Resampling.BICUBIC))
