"""What comes back from a run, in the order in which it can come.

Exactly one of Result, Failed and Cancelled ends a run. Printed, they leave out pixels. This module
needs no torch.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Any

if typing.TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


@dataclass(frozen=True)
class Queued:
    """The job waits; `position` runs are before it (0: it is next)."""

    position: int


@dataclass(frozen=True)
class Unfinished:
    """A run that stands at `step` of `total` and can go on from there, if it is asked for again."""

    request: Any = field(repr=False)  # with all fields filled in
    step: int
    total: int


@dataclass(frozen=True)
class Progress:
    """The run is at `step` of `total` in `stage`."""

    stage: str  # "loading the model", "sampling", "enlarging", "decoding"
    step: int = 0
    total: int = 0
    seconds: float = 0.0  # since the run began
    seconds_left: float | None = None  # None: not known yet
    # (H, W, 3) uint8, all pictures of the batch side by side
    preview: np.ndarray | None = field(default=None, repr=False)
    # what there is if the run is cancelled now, already saved
    kept: Result | None = field(default=None, repr=False)
    unfinished: Unfinished | None = None  # where it stands, if the run is one that may be kept


@dataclass(frozen=True)
class Frame:
    """A picture on its way, at one of its steps."""

    step: int  # from 1
    total: int
    t: int  # the time step that was left
    expected: np.ndarray = field(repr=False)  # (H, W, 3) uint8: x0 as it was predicted at t
    noisy: np.ndarray = field(repr=False)  # (H, W, 3) uint8: x after the step


@dataclass(frozen=True)
class Estimate:
    """What a request will take on this machine, told before it runs."""

    seconds: float | None  # None: not known yet
    memory_bytes: int  # of the process at the worst moment; on a GPU, of the work there
    plan: str  # how the canvas is covered, in a sentence


@dataclass(frozen=True)
class Result:
    """The finished pictures, each with the request that makes exactly that one (count 1)."""

    requests: tuple[Any, ...]
    # (H, W, 3) uint8 RGB; of a comparison, the sheet alone
    images: tuple[np.ndarray, ...] = field(repr=False)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()  # what a person should know, e.g. words the model has never seen
    paths: tuple[Path, ...] = ()  # the saved PNGs, filled in by the studio
    estimate: Estimate | None = None  # what was expected; None: nothing was known of this model
    memory_bytes: int | None = None  # at its worst, of the process or on the GPU; None: not seen


@dataclass(frozen=True)
class Failed:
    """The run ended in an error that `message` explains in one sentence."""

    message: str
    unfinished: Unfinished | None = None  # what can go on, if it is worth trying once more


@dataclass(frozen=True)
class Cancelled:
    """The run was cancelled."""

    unfinished: Unfinished | None = None  # what can go on; None: it had not come far


Event = Queued | Progress | Result | Failed | Cancelled
ENDS = (Result, Failed, Cancelled)
