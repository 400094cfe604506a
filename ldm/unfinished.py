"""Runs that ended before their end, and can go on: a file each, named after the whole request.

`ldm.tasks.bookmark` writes and reads the latents in them; what is here only tells what there is.
This module needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldm.errors import RequestError
from ldm.events import Unfinished
from ldm.request_json import from_dict, to_dict

FOLDER = "unfinished"
KEPT = 8  # files; older ones go
SUFFIX = ".safetensors"
KEY = "unfinished"  # of the file's metadata: JSON
MAX_HEADER_BYTES = 2**27  # the request's pictures are in it


@dataclass(frozen=True)
class UnfinishedRuns:
    """Those in a folder, which need not exist."""

    folder: Path

    def path_of(self, request: Any) -> Path:
        """Where the run of a request is kept whose fields are all filled in."""
        text = json.dumps(to_dict(request), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}{SUFFIX}"

    def paths(self) -> list[Path]:
        """All files, the newest first."""
        aged = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                aged.append((path.stat().st_mtime_ns, path))
            except OSError:  # its run was finished meanwhile
                continue
        return [path for _, path in sorted(aged, reverse=True)]

    def newest(self, task: str) -> Unfinished | None:
        """The latest run of a task; files that tell nothing are passed over."""
        found = (_read(path) for path in self.paths())
        return next((one for one in found if one is not None and one.request.task == task), None)

    def has(self, request: Any) -> bool:
        """Whether the run of a request can go on."""
        return self.path_of(request).exists()

    def forget(self, request: Any) -> None:
        """Let go of what a request's run has computed, if anything is kept of it."""
        self.path_of(request).unlink(missing_ok=True)


def described(unfinished: Unfinished) -> str:
    """What a file says of its run."""
    request = to_dict(unfinished.request)
    return json.dumps({"request": request, "step": unfinished.step, "total": unfinished.total})


def _read(path: Path) -> Unfinished | None:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, MAX_HEADER_BYTES)))
        about = json.loads(header["__metadata__"][KEY])
        request = from_dict(about["request"])
        return Unfinished(request, int(about["step"]), int(about["total"]))
    except (OSError, ValueError, TypeError, KeyError, struct.error, RecursionError, RequestError):
        return None
