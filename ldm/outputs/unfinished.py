"""Unfinished runs that can resume: one file each, named by a hash of the whole request.

A safetensors file holds the latents, which `ldm.tasks.bookmark` writes and reads, and the request's
JSON as bytes, since it may contain pictures; metadata in its header describe the run. This module
needs no torch.
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
from ldm.requests.as_json import from_dict, to_dict

FOLDER = "unfinished"
KEPT = 16  # most files; older ones are deleted
SUFFIX = ".unfinished"
PART_SECONDS = 3600.0  # age of a half-written file from which it counts as abandoned
KEY = "unfinished"  # key of the header's metadata; its value is JSON
REQUEST = "request"  # name of the tensor of the request's bytes
MAX_HEAD_BYTES = 2**20
MAX_REQUEST_BYTES = 2**30


@dataclass(frozen=True)
class UnfinishedRuns:
    """The unfinished runs in a folder, which need not exist."""

    folder: Path

    def path_of(self, request: Any) -> Path:
        """Return the file for the run of a request whose fields are all filled in."""
        text = json.dumps(_canonical(to_dict(request)), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}{SUFFIX}"

    def paths(self) -> list[Path]:
        """Return all files, the newest first."""
        return [path for _, path in sorted(_aged(self.folder, SUFFIX), reverse=True)]

    def newest(self, task: str) -> Unfinished | None:
        """Return the latest unfinished run of a task; None: there is none.

        Unreadable files are skipped, and those of other versions, whose name does not match their
        request.
        """
        for path in self.paths():
            found = _read(path, task)
            if found is not None and self.path_of(found.request) == path:
                return found
        return None

    def has(self, request: Any) -> bool:
        """Whether there is an unfinished run of a request."""
        return self.path_of(request).exists()

    def forget(self, request: Any) -> None:
        """Delete the unfinished run of a request, if there is one."""
        self.path_of(request).unlink(missing_ok=True)

    def prune(self) -> None:
        """Delete the oldest runs beyond KEPT, and abandoned half-written files.

        Raises:
            OSError: If a file cannot be removed.
        """
        now = time.time_ns()
        parts = _aged(self.folder, ".part")
        old = [path for written, path in parts if now - written > PART_SECONDS * 1e9]
        for path in [*self.paths()[KEPT:], *old]:
            path.unlink(missing_ok=True)


def head_of(unfinished: Unfinished) -> str:
    """Return the JSON that describes a run in the header of its file."""
    about = {"task": unfinished.request.task, "step": unfinished.step, "total": unfinished.total}
    return json.dumps(about)


def place_in(about: Any) -> tuple[int, int]:
    """Return step and total from the description in a header.

    Raises:
        ValueError: If they are invalid.
    """
    step, total = about["step"], about["total"]
    if not all(isinstance(number, int) for number in (step, total)) or not 0 < step <= total:
        raise ValueError(f"step {step} of {total}")
    return step, total


def _aged(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """Return (time of writing in ns, path) of the files with a suffix."""
    aged = []
    for path in folder.glob(f"*{suffix}"):
        try:
            aged.append((path.stat().st_mtime_ns, path))
        except OSError:  # its run was finished meanwhile
            continue
    return aged


def _canonical(values: Any) -> Any:
    """Convert integers to floats, so that equal requests are written alike: 3 and 3.0."""
    if isinstance(values, dict):
        return {key: _canonical(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_canonical(value) for value in values]
    return float(values) if isinstance(values, int) else values


def _read(path: Path, task: str) -> Unfinished | None:
    """Read the run in a file; None: the file is of another task or damaged."""
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
