"""As many threads as other programs leave processors.

Threads of a network wait for each other hundreds of times a step. OpenMP lets them spin while they
wait, which is what makes a small network fast on two cores; but beside a program that keeps one of
these cores busy, all spin until the one on that core has had its turn, and a step takes many times
as long. With one thread less there is nothing to wait for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import torch

WINDOW = 0.25  # seconds, at least: the system counts in hundredths
STALE = 2.0  # seconds: what was on average in so long a time says nothing of now
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # what a container may use: "200000 100000" is 2 processors
Event = TypeVar("Event")


@dataclass(frozen=True)
class Reading:
    """Processor seconds since some moment."""

    clock: float  # seconds
    everyone: float
    ours: float  # of this process

    @staticmethod
    def now() -> Reading:
        """What the system has counted."""
        all_times, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = all_times.idle + getattr(all_times, "iowait", 0.0)
        guests = getattr(all_times, "guest", 0.0) + getattr(all_times, "guest_nice", 0.0)
        everyone = sum(all_times) - idle - guests  # guests are counted as users too
        return Reading(time.perf_counter(), everyone, own.user + own.system)


class Cores:
    """Sets torch's threads while something runs on the CPU.

    Args:
        most: Threads; None: torch's own number, or what the container may use if that is less.
        processors: Of the machine.
        read: What has been used so far.
    """

    def __init__(
        self,
        most: int | None = None,
        processors: int | None = None,
        read: Callable[[], Reading] = Reading.now,
    ) -> None:
        self.most = most or min(torch.get_num_threads(), quota())
        self.processors = processors or psutil.cpu_count() or 1
        self._read = read
        self._last = read()
        self._threads = self.most

    def threads(self) -> int:
        """How many to take now; cheap enough for every step."""
        now, last = self._read(), self._last
        seconds = now.clock - last.clock
        if seconds < WINDOW:
            return self._threads
        self._last = now
        if seconds < STALE:
            others = (now.everyone - last.everyone - (now.ours - last.ours)) / seconds
            self._threads = max(1, min(self.most, round(self.processors - others)))
        return self._threads

    @contextmanager
    def fit(self) -> Iterator[None]:
        """Take as many threads as fit now; afterwards it is as before."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads())
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def fitted(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; each is worked for with as many threads as fit then."""
        with self.fit():
            for event in events:
                yield event
                torch.set_num_threads(self.threads())


def quota(path: Path = QUOTA) -> int:
    """Processors that the container may use; a large number where nothing limits it."""
    try:
        share, period = path.read_text().split()
        return max(1, math.ceil(int(share) / int(period)))
    except (OSError, ValueError):  # no container, or "max"
        return 2**16
