"""Where a run stands, kept on the disk from time to time: after a cancel, an error or the end of
the process the same request goes on from there, to the same picture.

A step's latents are all that the next one needs, since noise is tied to its place and not to what
was drawn before. They are as small as the picture, and a step that is worth keeping takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ldm.diffusion.samplers import Step
from ldm.events import Unfinished
from ldm.unfinished import KEPT, KEY, UnfinishedRuns, described

EVERY = 10.0  # s of a run between two writings
WORTH = 5.0  # s: what took less is made again as quickly
RUN = "run"  # key of the file's metadata, beside what `ldm.unfinished` reads
NEEDED = ("x_t", "x0")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Page:
    """One sampling's place in a bookmark, or in none."""

    total: int  # steps
    since: Step | None = None  # the step to go on after
    bookmark: Bookmark | None = None
    name: str = ""

    @property
    def left(self) -> range:
        """The steps that are to be taken."""
        return range(0 if self.since is None else self.since.index + 1, self.total)

    def mark(self, step: Step, done: int, total: int) -> None:
        """The sampling has come to a step, and its run to `done` of `total`."""
        if self.bookmark is not None:
            self.bookmark.mark(self.name, step, done, total)


class Bookmark:
    """The last step of each sampling of a run.

    Args:
        path: The file, see `ldm.unfinished`; written when there is something to keep. None:
            nothing is kept.
        request: What is met, with all fields filled in.
        weights: Names those of the model; with others nothing is gone on with.
        device: Where latents are to be.
    """

    def __init__(
        self, path: Path | None, request: Any, weights: str, device: torch.device | str = "cpu"
    ) -> None:
        self.path, self.request, self.weights = path, request, weights
        # the steps by sampling; how many of the run are done, and of how many
        self.steps, self._place = ({}, (0, 0)) if path is None else _read(path, weights, device)
        self.is_resumed = bool(self.steps)
        self.is_done = False
        self._begin = self._written = time.monotonic()

    @property
    def unfinished(self) -> Unfinished | None:
        """What can go on if the run ends now; None: it is not worth it."""
        is_worth = self.is_resumed or time.monotonic() - self._begin >= WORTH
        if self.path is None or not self._place[0] or not is_worth:
            return None
        return Unfinished(self.request, *self._place)

    def page(self, name: str, shape: tuple[int, ...], total: int) -> Page:
        """The place of one sampling.

        Args:
            name: What it is called in its run.
            shape: (B, C, h, w) of its latents.
            total: Its steps.
        """
        since = self.steps.get(name)
        if since is not None:
            fits = all(part.shape == shape for part in (since.x_t, since.x0, *since.memory))
            since = since if fits and since.total == total and 0 <= since.index < total else None
        return Page(total, since, self, name)

    def mark(self, sampling: str, step: Step, done: int, total: int) -> None:
        """A sampling has come to a step, its run to `done` of `total` steps."""
        self.steps[sampling] = step
        self._place = done, total
        if time.monotonic() - self._written >= EVERY:
            self.write()

    def write(self) -> None:
        """Put it on the disk if it is worth it; a run does not fail for want of room."""
        self._written = time.monotonic()
        unfinished = self.unfinished
        if unfinished is None or not all(map(_is_finite, self.steps.values())):
            return
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file(_tensors(self.steps), part, self._metadata(unfinished))
            os.replace(part, self.path)
            for old in UnfinishedRuns(self.path.parent).paths()[KEPT:]:
                old.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            log.warning("a run cannot go on later, %s: %s", self.path.parent, error)
        finally:
            part.unlink(missing_ok=True)

    def finish(self) -> None:
        """The pictures are saved: there is nothing to go on with."""
        self.is_done = True
        if self.path is None:
            return
        try:
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()
        except OSError:  # it was never there, or others are
            pass

    def close(self) -> None:
        """The run is over; what it has not finished is kept."""
        if not self.is_done:
            self.write()

    def _metadata(self, unfinished: Unfinished) -> dict[str, str]:
        places = {name: (step.index, step.total, step.t) for name, step in self.steps.items()}
        run = json.dumps({"weights": self.weights, "places": places})
        return {KEY: described(unfinished), RUN: run}


def _is_finite(step: Step) -> bool:
    """Numbers that grew without bound are nothing to go on with."""
    return bool(torch.isfinite(step.x_t).all())


def _tensors(steps: dict[str, Step]) -> dict[str, Tensor]:
    tensors = {}
    for name, step in steps.items():
        tensors |= {f"{name}/x_t": step.x_t, f"{name}/x0": step.x0}
        tensors |= {f"{name}/{number}": part for number, part in enumerate(step.memory)}
    # safetensors takes no two names of the same memory
    return {name: part.detach().cpu().contiguous().clone() for name, part in tensors.items()}


def _read(
    path: Path, weights: str, device: torch.device | str
) -> tuple[dict[str, Step], tuple[int, int]]:
    """The steps in a file, and where its run stood; none if it is damaged or of other weights."""
    nothing = {}, (0, 0)
    if not path.exists():
        return nothing
    try:
        with safe_open(path, "pt") as file:
            about, run = (json.loads(file.metadata()[key]) for key in (KEY, RUN))
            if run["weights"] != weights:
                return nothing
            parts: dict[str, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118  (it is no dictionary)
                name, _, part = key.rpartition("/")
                parts.setdefault(name, {})[part] = file.get_tensor(key).to(device)
        steps = {name: _step(run["places"][name], found) for name, found in parts.items()}
        return steps, (int(about["step"]), int(about["total"]))
    except Exception as error:  # whatever is in it: the run begins anew
        log.warning("%s is damaged, its run begins anew: %s", path.name, error)
        return nothing


def _step(place: list[int], parts: dict[str, Tensor]) -> Step:
    memory = sorted((name for name in parts if name not in NEEDED), key=int)
    x_t, x0 = (parts[name] for name in NEEDED)
    return Step(*map(int, place), x_t, x0, tuple(parts[name] for name in memory))
