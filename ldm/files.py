"""Files that are written whole or not at all: beside their place, and then put there.

This module needs no torch.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

TRIES, PAUSE = 10, 0.05  # s; a scanner looks at a new file for less


def put_in_place(part: Path, path: Path) -> None:
    """Move a finished file to its place, over one that is there, in one step.

    Windows refuses this while any program has the file at `path` open, as virus scanners and
    indexers do with every new one for a moment: there it is tried again.

    Raises:
        OSError: If it cannot be moved.
    """
    for _ in range(TRIES if os.name == "nt" else 0):
        with suppress(PermissionError):
            os.replace(part, path)
            return
        time.sleep(PAUSE)
    os.replace(part, path)
