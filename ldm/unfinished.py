"""Runs that ended before their end, and can go on: a file each, named after the whole request.

A file is a safetensors file of latents, which `ldm.tasks.bookmark` writes and reads, and of the
request's JSON as bytes, since it may hold pictures; what stands in its head tells of the run. This
module needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldm.errors import RequestError
from ldm.events import Unfinished
from ldm.request_json import from_dict, to_dict

FOLDER = "unfinished"
KEPT = 16  # files; older ones go
SUFFIX = ".unfinished"
PART_SECONDS = 3600.0  # a file that was being written so long ago was never finished
KEY = "unfinished"  # of the head's metadata: JSON
REQUEST = "request"  # the tensor of the request's bytes
MAX_HEAD_BYTES = 2**20
MAX_REQUEST_BYTES = 2**30


@dataclass(frozen=True)
class UnfinishedRuns:
    """Those in a folder, which need not exist."""

    folder: Path

    def path_of(self, request: Any) -> Path:
        """Where the run of a request is kept whose fields are all filled in."""
        text = json.dumps(_canonical(to_dict(request)), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}{SUFFIX}"

    def paths(self) -> list[Path]:
        """All files, the newest first."""
        return [path for _, path in sorted(_aged(self.folder, SUFFIX), reverse=True)]

    def newest(self, task: str) -> Unfinished | None:
        """The latest run of a task.

        Passed over is what tells nothing, and what another version began: its request would not
        find it.
        """
        for path in self.paths():
            found = _read(path, task)
            if found is not None and self.path_of(found.request) == path:
                return found
        return None

    def has(self, request: Any) -> bool:
        """Whether the run of a request can go on."""
        return self.path_of(request).exists()

    def forget(self, request: Any) -> None:
        """Let go of what a request's run has computed, if anything is kept of it."""
        self.path_of(request).unlink(missing_ok=True)

    def prune(self) -> None:
        """Let go of the oldest runs, and of what was left half-written.

        Raises:
            OSError: If a file cannot be removed.
        """
        now = time.time_ns()
        parts = _aged(self.folder, ".part")
        old = [path for written, path in parts if now - written > PART_SECONDS * 1e9]
        for path in [*self.paths()[KEPT:], *old]:
            path.unlink(missing_ok=True)


def head_of(unfinished: Unfinished) -> str:
    """What the head of a file says of its run."""
    about = {"task": unfinished.request.task, "step": unfinished.step, "total": unfinished.total}
    return json.dumps(about)


def place_in(about: Any) -> tuple[int, int]:
    """Step and total that a head says.

    Raises:
        ValueError: If they are none.
    """
    step, total = about["step"], about["total"]
    if not all(isinstance(number, int) for number in (step, total)) or not 0 < step <= total:
        raise ValueError(f"step {step} of {total}")
    return step, total


def _aged(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """Files with the time at which they were written, in ns."""
    aged = []
    for path in folder.glob(f"*{suffix}"):
        try:
            aged.append((path.stat().st_mtime_ns, path))
        except OSError:  # its run was finished meanwhile
            continue
    return aged


def _canonical(values: Any) -> Any:
    """Requests that are equal are written alike: a guidance of 3 is one of 3.0."""
    if isinstance(values, dict):
        return {key: _canonical(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_canonical(value) for value in values]
    return float(values) if isinstance(values, int) else values


def _read(path: Path, task: str) -> Unfinished | None:
    """What a file tells, if it is of this task; whatever else is in it, nothing."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEAD_BYTES:
                return None
            head = json.loads(file.read(length))
            about = json.loads(head["__metadata__"][KEY])
            if about["task"] != task:
                return None
            start, end = head[REQUEST]["data_offsets"]
            if not 0 <= start < end <= start + MAX_REQUEST_BYTES:
                return None
            file.seek(8 + length + start)
            request = from_dict(json.loads(file.read(end - start)))
        return Unfinished(request, *place_in(about))
    except (OSError, ValueError, TypeError, KeyError, struct.error, RecursionError, RequestError):
        return None
