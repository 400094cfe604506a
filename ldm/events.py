"""Events of a run, in the order in which they can occur, and the records that they carry.

Exactly one of Result, Failed and Cancelled ends a run. The repr of an event leaves out pixels. This
module needs no torch.
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
    seconds: float | None = None  # until its turn, about; None: not known


@dataclass(frozen=True)
class Unfinished:
    """A run that has reached `step` of `total` and can resume there when it is requested again."""

    request: Any = field(repr=False)  # with all fields filled in
    step: int
    total: int


@dataclass(frozen=True)
class Progress:
    """The run is at `step` of `total` in `stage`."""

    stage: str  # for the user, such as "sampling", "enlarging" or "decoding"
    step: int = 0
    total: int = 0
    seconds: float = 0.0  # since the run began
    seconds_left: float | None = None  # None: not known yet
    # (H, W, 3) uint8, all pictures of the batch in a grid
    preview: np.ndarray | None = field(default=None, repr=False)
    # the result if the run is cancelled now; its pictures are saved already
    kept: Result | None = field(default=None, repr=False)
    unfinished: Unfinished | None = None  # None: the run is not kept, or no step is done
    detail: str = ""  # for the user: what the steps of this part of the run make


@dataclass(frozen=True)
class Frame:
    """A picture at one of its steps: x_t, decoded, and what is expected of it."""

    step: int  # from 1
    total: int
    t: int  # its time step
    expected: np.ndarray = field(repr=False)  # (H, W, 3) uint8: x0 as predicted at t
    noisy: np.ndarray = field(repr=False)  # (H, W, 3) uint8: x_t, from which that is predicted


@dataclass(frozen=True)
class Estimate:
    """Estimated time and memory of a request on this machine, before it runs."""

    seconds: float | None  # None: not known yet
    memory_bytes: int  # peak of the process; on a GPU, of the memory allocated there
    plan: str  # how the canvas is covered, in a sentence
    notes: tuple[str, ...] = ()  # for the user, on what will have no effect


@dataclass(frozen=True)
class Result:
    """The finished pictures, each with the request that makes exactly that one (count 1)."""

    requests: tuple[Any, ...]
    # (H, W, 3) uint8 RGB; of a comparison, the sheet alone
    images: tuple[np.ndarray, ...] = field(repr=False)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()  # for the user, e.g. words that the model has never seen
    paths: tuple[Path, ...] = ()  # the saved PNGs, filled in by the studio
    estimate: Estimate | None = None  # made before the run; None: there was none
    memory_bytes: int | None = None  # peak, of the process or on the GPU; None: not measured


@dataclass(frozen=True)
class Failed:
    """The run ended in an error that `message` explains in one sentence."""

    message: str
    unfinished: Unfinished | None = None  # where the run can resume; None: nothing was kept


@dataclass(frozen=True)
class Cancelled:
    """The run was cancelled."""

    unfinished: Unfinished | None = None  # where the run can resume; None: too little was done


Event = Queued | Progress | Result | Failed | Cancelled
ENDS = (Result, Failed, Cancelled)
