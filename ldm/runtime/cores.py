"""Choice of torch's number of threads by the processors that other programs leave free.

The threads of a network wait for each other hundreds of times per step. OpenMP lets them spin while
they wait, which makes a small network fast on two cores. But if another program keeps one of these
cores busy, all threads spin until the one on that core gets its turn, and a step takes many times
as long. With one thread less this does not happen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import torch

WINDOW = 0.25  # shortest interval between readings in seconds; the system counts in hundredths
STALE = 2.0  # seconds: the average over a longer interval says nothing about the present load
CGROUP = Path("/sys/fs/cgroup")  # what a container may use
Event = TypeVar("Event")


@dataclass(frozen=True)
class Reading:
    """Processor seconds used so far, since an arbitrary start."""

    clock: float  # seconds
    everyone: float  # processor seconds of all processes
    ours: float  # processor seconds of this process

    @staticmethod
    def now() -> Reading:
        """Read the system's present counts."""
        all_times, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = all_times.idle + getattr(all_times, "iowait", 0.0)
        guests = getattr(all_times, "guest", 0.0) + getattr(all_times, "guest_nice", 0.0)
        everyone = sum(all_times) - idle - guests  # guests are counted as users too
        return Reading(time.perf_counter(), everyone, own.user + own.system)


class Cores:
    """Sets torch's number of threads while something runs on the CPU.

    Args:
        most: Most threads; None: torch's default, or the container's limit if it is lower.
        processors: Processors of the machine; None: as counted by the system.
        read: Returns the processor time used so far.
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
        """Return the number of threads to use now; cheap enough to call at every step."""
        now, last = self._read(), self._last
        seconds = now.clock - last.clock
        if seconds < WINDOW:
            return self._threads
        self._last = now
        if seconds < STALE:
            others = (now.everyone - last.everyone - (now.ours - last.ours)) / seconds
            self._threads = max(1, min(self.most, round(self.processors - others)))
        return self._threads

    def watch(self) -> None:
        """Watch the load for a moment if it is not known: after a pause `threads` knows nothing."""
        now = self._read()
        if not 0 <= now.clock - self._last.clock < STALE:
            self._last = now
        time.sleep(max(0.0, WINDOW - (now.clock - self._last.clock)))

    @contextmanager
    def fit(self) -> Iterator[None]:
        """Use the number of threads that fits now, and restore the old one afterwards."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads())
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def fitted(self, events: Iterator[Event]) -> Iterator[Event]:
        """Pass events on; the work for each one uses the number of threads that fits then."""
        with self.fit():
            for event in events:
                yield event
                torch.set_num_threads(self.threads())


def quota(folder: Path = CGROUP) -> int:
    """Return the processors that the container may use; a large number if there is no limit."""
    for names in (
        ("cpu.max",),  # "200000 100000" is 2 processors
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),  # cgroup version 1
    ):
        with suppress(OSError, ValueError):  # no such file, or "max"
            share, period = map(int, " ".join((folder / n).read_text() for n in names).split())
            if share > 0 and period > 0:  # -1: no limit
                return max(1, math.ceil(share / period))
    return 2**16
