"""The line of waiting jobs: whose turn it is, when it comes, and what is not let in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ldm.errors import RequestError
from ldm.events import Progress, Queued
from ldm.jobs.job import Job

MAX_QUEUED = 100  # waiting jobs of all owners
ROUND = 5.0  # s: the times that a waiting job is told are multiples of this
OVERTIME = 1.5  # times the longest expected time, from which a run ends if others wait


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask of a page that many share; None: as much as they like."""

    waiting: int | None = None  # waiting jobs of one owner
    seconds: float | None = None  # expected time of one run

    def check_seconds(self, expected: float | None) -> None:
        """Refuse a run that is expected to take too long; None: it is not known.

        Raises:
            RequestError: If it takes longer; in one sentence.
        """
        if expected is not None and self.seconds is not None and expected > self.seconds:
            raise RequestError(
                f"this takes about {duration(expected)} and runs here may take "
                f"{duration(self.seconds)}; fewer pixels, pictures or steps take less."
            )

    def is_overtime(self, seconds: float) -> bool:
        """Whether a run has taken much longer than any should be expected to."""
        return self.seconds is not None and seconds > OVERTIME * self.seconds


ANYTHING = Limits()


class Line:
    """Waiting jobs. Owners take turns; the jobs of one owner keep their order.

    Each owner has one job in a round. Whoever comes while a round is served belongs to the next
    one, so that nobody is overtaken for ever, however many come.

    Args:
        limits: What is let in.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: list[Job] = []  # in the order in which they came
        self._round = 0  # that is served
        self._served: set[str] = set()  # owners whose job of this round was served

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: Job) -> bool:
        return job in self._jobs

    def __iter__(self) -> Iterator[Job]:
        """Iterate over a copy, in the order in which they will run."""
        return iter(sorted(self._jobs, key=lambda job: job.turn))

    def add(self, job: Job) -> None:
        """Put a job at its owner's end of the line.

        Raises:
            RequestError: If too many wait already, of all owners or of this one.
        """
        if len(self._jobs) >= MAX_QUEUED:
            raise RequestError(f"{MAX_QUEUED} jobs are waiting already; try again later.")
        own = [other for other in self._jobs if other.owner == job.owner]
        most = self._limits.waiting
        if most is not None and len(own) >= most:
            raise RequestError(f"{most} of your jobs are waiting already; try again later.")
        begun = self._round + bool(self._served)
        # in a round, those come first who had no job before it
        job.turn = (own[-1].turn[0] + 1, True) if own else (begun, job.owner in self._served)
        self._jobs.append(job)

    @property
    def first(self) -> Job:
        """The job whose turn it is."""
        return next(iter(self))

    def remove(self, job: Job) -> None:
        """Take out a job that gives up its turn, to the next one of its owner."""
        turn, place = job.turn, self._jobs.index(job)
        for later in self._jobs[place + 1 :]:
            if later.owner == job.owner:
                later.turn, turn = turn, later.turn
        del self._jobs[place]

    def pop(self) -> Job:
        """Take out the job whose turn it is."""
        job = self.first
        self._jobs.remove(job)
        if job.turn[0] > self._round:
            self._round, self._served = job.turn[0], set()
        self._served.add(job.owner)
        return job

    def places(self, running: Job | None) -> Iterator[tuple[Job, Queued]]:
        """Yield what each waiting job is to be told: its place, and when its turn comes."""
        left = seconds_left(running) if running else 0.0
        for place, job in enumerate(self, start=running is not None):
            yield job, Queued(place, ROUND * math.ceil(left / ROUND) if left else None)
            left = None if left is None or job.seconds is None else left + job.seconds


def seconds_left(running: Job) -> float | None:
    """Time that a running job still takes, as it says itself or was expected; None: not known."""
    told = running.event.seconds_left if isinstance(running.event, Progress) else None
    return running.seconds if told is None else told


def duration(seconds: float) -> str:
    """Format seconds with a fitting unit: s (with tenths below 10 if not whole), min or h."""
    if seconds < 90:
        is_short = seconds < 10 and isinstance(seconds, float)
        return f"{seconds:.1f} s" if is_short else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
