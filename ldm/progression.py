"""How one picture comes to be: what it holds and what it expects, step by step.

Progressive generation (DDPM Sec. 4.3, Fig. 6). This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ldm.comparison import Comparison, StandsForRequest, title_of
from ldm.errors import RequestError
from ldm.events import Frame, Result
from ldm.requests import REQUESTS, starts
from ldm.sheet import fitted, sheet

FRAMES = 10  # unless told otherwise
MOST = 50
FILM_SIDE = 512  # px: the longest of a picture whose file plays its steps
ROWS = ("expected", "with its noise")
WIDE = 1.5  # a picture so many times as wide as high has its frames from top to bottom


@dataclass(frozen=True)
class Progression(StandsForRequest):
    """A picture whose steps are shown; it can stand where a request can.

    Args:
        request: Of a task that starts from noise.
        frames: Steps that are shown, evenly spread, the last among them; all if there are fewer.

    Raises:
        RequestError: If the request is of another task, or the number is out of range.
    """

    request: Any
    frames: int = FRAMES

    def __post_init__(self) -> None:
        if type(self.request) not in REQUESTS.values():
            raise RequestError(f"only a request has steps, got {self.request!r:.40}.")
        if not starts(type(self.request)):
            raise RequestError(
                "the steps of text-to-image, semantic, layout and class-conditional can be shown, "
                f"got {self.request.task!r}."
            )
        is_whole = isinstance(self.frames, int) and not isinstance(self.frames, bool)
        if not is_whole or not 2 <= self.frames <= MOST:
            raise RequestError(f"frames must be 2 to {MOST}, got {self.frames!r:.40}.")
        self.settle()

    def sheet(self, frames: Sequence[Frame], picture: np.ndarray) -> np.ndarray:
        """All frames side by side: above what is expected, below what there is.

        Args:
            frames: In their order.
            picture: The finished one (H, W, 3). Frames of a smaller canvas before it are enlarged.
        """
        above = [f"step {frame.step} of {frame.total}, t = {frame.t}" for frame in frames]
        rows = [[frame.expected for frame in frames], [frame.noisy for frame in frames]]
        beside: Sequence[str] = ROWS
        if picture.shape[1] > WIDE * picture.shape[0]:
            rows, above, beside = [*map(list, zip(*rows, strict=True))], ROWS, above
        size = fitted(frames[-1].noisy, len(rows), len(above)).shape
        shown = [[_as_large(frame, size) for frame in row] for row in rows]
        return sheet(shown, above, beside, title=title_of(self.request))

    def film(self, frames: Sequence[Frame], picture: np.ndarray) -> list[np.ndarray]:
        """What is expected, frame by frame, and the finished picture; nothing of a large picture,
        whose film would take many times its file."""
        if max(picture.shape) > FILM_SIDE:
            return []
        return [*(_as_large(frame.expected, picture.shape) for frame in frames), picture]


def shown_steps(total: int, frames: int) -> set[int]:
    """Which of the steps from 1 to `total` are shown: evenly spread, the first and the last too."""
    return {round(at) for at in np.linspace(1, total, min(frames, total))}


def lacks_sheet(asked: Any, made: Result) -> bool:
    """Whether a comparison or a progression was asked for, and it ended without its sheet."""
    sheets = (Comparison, Progression)
    return isinstance(asked, sheets) and not any(isinstance(one, sheets) for one in made.requests)


def _as_large(frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A frame at another size."""
    if frame.shape == shape:
        return frame
    return np.asarray(Image.fromarray(frame).resize(shape[1::-1], Image.Resampling.BICUBIC))
