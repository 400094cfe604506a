"""What a stretch of code takes of memory: its own and mapped from files, at the worst moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
EVERY = 0.002  # seconds between two looks
KINDS = ("RssAnon", "RssFile")


@dataclass
class Growth:
    """Bytes above those at the start, at the worst moment of each kind."""

    own: int = 0  # memory that is no mapped file
    mapped: int = 0  # pages of files: the system takes them back when it needs the room


@contextmanager
def watched() -> Iterator[Growth]:
    """Look at this process again and again; the result is filled in as it goes.

    What comes and goes between two looks is missed.
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
    """Bytes of each of KINDS; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return [1024 * int(fields[kind].split()[0]) for kind in KINDS]
