"""Bookmarks: the last steps of a run, saved to disk from time to time.

After a cancel, an error or the end of the process, the same request resumes from there and gives
the same picture. A step's tensors are all that the next one needs, since noise is tied to seed,
step and place and not to earlier draws. Saving is cheap: the tensors are about as small as the
picture, and a step of a run that is worth saving takes seconds.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ldm.diffusion.samplers import Step
from ldm.events import Unfinished
from ldm.files import put_in_place
from ldm.outputs.unfinished import KEY, REQUEST, UnfinishedRuns, head_of, place_in
from ldm.requests.as_json import to_dict

WORTH = 5.0  # s: a run that took less is not worth saving
EVERY = 10.0  # s between two writes of a run
RUN = "run"  # key of the file's metadata, beside what `ldm.outputs.unfinished` reads
NEEDED = ("x_t", "x0")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Page:
    """The part of a bookmark that belongs to one sampling."""

    total: int  # steps
    since: Step | None = None  # the step to resume after; None: begin
    bookmark: Bookmark | None = None  # None: nothing is kept
    name: str = ""

    @property
    def left(self) -> range:
        """Indices of the steps that are still to be taken."""
        return range(0 if self.since is None else self.since.index + 1, self.total)

    def mark(self, step: Step, done: int, total: int) -> None:
        """Keep a step that the sampling has finished; its run is at `done` of `total` steps."""
        if self.bookmark is not None:
            self.bookmark.mark(self.name, step, done, total)


class Bookmark:
    """The last step of each sampling of a run.

    Args:
        path: The file, see `ldm.outputs.unfinished`; written when there is something to keep. None:
            nothing is kept.
        request: The request of the run, with all fields filled in.
        model: Identifies the model and its weights; steps of another one are not resumed.
        device: Device to load latents to.
    """

    def __init__(
        self, path: Path | None, request: Any, model: str, device: torch.device | str = "cpu"
    ) -> None:
        self.path, self.request, self.model = path, request, model
        # the last step by sampling; (done, total) of the run's steps
        self.steps, self._place = ({}, (0, 0)) if path is None else _read(path, model, device)
        self.was_there = path is not None and path.exists()
        self.is_resumed = bool(self.steps)
        self.is_done = False
        self._is_written = self.is_resumed
        self._marked = time.monotonic()
        self._due = self._marked + WORTH

    @property
    def unfinished(self) -> Unfinished | None:
        """State of the run; None: it may not be kept or has taken no step.

        Whether the run was worth keeping is known when it is over: only then is there a file.
        """
        is_begun = self.path is not None and self.steps
        return Unfinished(self.request, *self._place) if is_begun else None

    def page(self, name: str, shape: tuple[int, ...], grid: Sequence[int], memory: int) -> Page:
        """Return the page of one sampling, with the stored step if it fits the sampling.

        Args:
            name: Identifies the sampling in its run.
            shape: (B, C, h, w) of its latents.
            grid: The time steps that it visits.
            memory: Most tensors that its sampler remembers from earlier steps.
        """
        since, total = self.steps.get(name), len(grid)
        if since is not None:
            is_whole = since.total == total and 0 <= since.index < total
            is_here = is_whole and since.t == grid[since.index]
            remembers = len(since.memory) == min(memory, since.index + 1)
            parts = (since.x_t, since.x0, *since.memory)
            fits = all(one.shape == shape and one.dtype == torch.float32 for one in parts)
            since = since if is_here and remembers and fits and _is_finite(since) else None
        return Page(total, since, self, name)

    def mark(self, sampling: str, step: Step, done: int, total: int) -> None:
        """Keep a finished step of a sampling; write the file if it is due."""
        self.steps[sampling] = step
        self._place = done, total
        now, before = time.monotonic(), self._marked
        self._marked = now
        if now + (now - before) >= self._due:  # due before the next step ends
            self.write()

    def write(self) -> None:
        """Write the file; an error of the disk is logged and does not end the run."""
        self._due = time.monotonic() + EVERY
        # a run cannot resume from latents that are not finite
        steps = {name: step for name, step in self.steps.items() if _is_finite(step)}
        if self.path is None or not steps:
            return
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            tensors = {REQUEST: self._request} | _tensors(steps)
            save_file(tensors, part, self._metadata(steps))
            put_in_place(part, self.path)
            self._is_written = True
            UnfinishedRuns(self.path.parent).prune()
        except (OSError, SafetensorError) as error:
            log.warning("a run cannot go on later, %s: %s", self.path.parent, error)
        finally:
            part.unlink(missing_ok=True)

    def finish(self) -> None:
        """Delete the file, since the pictures are saved."""
        self.is_done = True
        if self.path is None:
            return
        try:
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()
        except OSError:  # there is no such folder, or it holds other files
            pass

    def close(self) -> None:
        """End the bookmark; write the file if the run is not finished and worth keeping."""
        if not self.is_done and (self._is_written or time.monotonic() >= self._due):
            self.write()

    @cached_property
    def _request(self) -> Tensor:
        """The request's JSON as bytes: it may hold pictures of a hundred megabytes."""
        text = json.dumps(to_dict(self.request)).encode()
        return torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def _metadata(self, steps: dict[str, Step]) -> dict[str, str]:
        places = {name: (step.index, step.total, step.t) for name, step in steps.items()}
        run = json.dumps({"model": self.model, "places": places})
        return {KEY: head_of(Unfinished(self.request, *self._place)), RUN: run}


def _is_finite(step: Step) -> bool:
    return all(bool(torch.isfinite(part).all()) for part in (step.x_t, step.x0, *step.memory))


def _tensors(steps: dict[str, Step]) -> dict[str, Tensor]:
    tensors = {}
    for name, step in steps.items():
        tensors |= {f"{name}/x_t": step.x_t, f"{name}/x0": step.x0}
        tensors |= {f"{name}/{number}": part for number, part in enumerate(step.memory)}
    # safetensors refuses tensors that share memory
    return {name: part.detach().cpu().contiguous().clone() for name, part in tensors.items()}


def _read(
    path: Path, model: str, device: torch.device | str
) -> tuple[dict[str, Step], tuple[int, int]]:
    """Read the steps and (done, total) of a file; no steps if damaged or of another model."""
    nothing = {}, (0, 0)
    if not path.exists():
        return nothing
    try:
        with safe_open(path, "pt") as file:
            about, run = (json.loads(file.metadata()[key]) for key in (KEY, RUN))
            if run["model"] != model:
                return nothing
            parts: dict[str, dict[str, Tensor]] = {}
            # copies: Windows deletes no file that a tensor maps
            for key in set(file.keys()) - {REQUEST}:
                name, _, part = key.rpartition("/")
                parts.setdefault(name, {})[part] = file.get_tensor(key).to(device, copy=True)
        steps = {name: _step(run["places"][name], found) for name, found in parts.items()}
        return steps, place_in(about)
    except Exception as error:  # a file may hold anything: then the run begins anew
        log.warning("%s is damaged, its run begins anew: %s", path.name, error)
        return nothing


def _step(place: list[int], parts: dict[str, Tensor]) -> Step:
    memory = sorted((name for name in parts if name not in NEEDED), key=int)
    x_t, x0 = (parts[name] for name in NEEDED)
    return Step(*map(int, place), x_t, x0, tuple(parts[name] for name in memory))
