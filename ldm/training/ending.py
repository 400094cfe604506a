"""A training that is asked to end does so after its step, when there is something to save."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl+C, and what a timeout or a shutdown sends


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether the process was asked to end, meanwhile.

    The second time it ends at once. Only the main thread is told of signals: elsewhere it is False.
    """
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            signal.default_int_handler(number, frame)
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
