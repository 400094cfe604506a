"""Peak memory of a block of code: memory of its own, and pages mapped from files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
EVERY = 0.002  # seconds between two samples
KINDS = ("RssAnon", "RssFile")
STATUS = Path("/proc/self/status")


@dataclass
class Growth:
    """Peaks of memory in bytes above the value at the start, each kind by itself."""

    own: int = 0  # memory that is no mapped file
    mapped: int = 0  # pages of files, which the system can reclaim when it needs memory


@contextmanager
def watched() -> Iterator[Growth]:
    """Sample the memory of this process during the block and update the yielded result.

    Memory that is taken and freed between two samples is missed.
    """
    growth, before, ended = Growth(), _now(), threading.Event()

    def look() -> None:
        own, mapped = (now - then for now, then in zip(_now(), before, strict=True))
        growth.own, growth.mapped = max(growth.own, own), max(growth.mapped, mapped)

    def keep_looking() -> None:
        while not ended.wait(EVERY):
            look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield growth
    finally:
        ended.set()
        thread.join()
        look()


def _now() -> list[int]:
    """Return the bytes of each of KINDS; Linux only."""
    lines = STATUS.read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return [1024 * int(fields[kind].split()[0]) for kind in KINDS]
