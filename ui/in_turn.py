"""Reads the files of visitors one after the other, however many arrive at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Read = TypeVar("Read")
# A picture of 40 megapixels, a file of some 100 kB, takes up to 2 GB while it is read. One thread,
# not a lock: each thread that has read one keeps hundreds of megabytes of it for its next.
_READER = ThreadPoolExecutor(1, "reader")


def in_turn(read: Callable[..., Read], *about: object) -> Read:
    """Return `read(*about)`, or raise what it raises; it must not call this function itself."""
    return _READER.submit(read, *about).result()
