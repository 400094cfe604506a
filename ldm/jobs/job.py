"""A job of the queue, and which finished jobs are kept."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ldm.events import ENDS, Event, Progress, Result

KEPT_JOBS = 200  # finished jobs that can still be queried
KEPT_BYTES = 256 * 2**20  # of pictures in finished jobs; the newest job is always kept
PATIENCE = 60.0  # s without a look, after which an unfollowed job gives way to a waiting one
LOOKED = 15.0  # s between the last looks at two jobs, from which on they are not of one page


@dataclass(eq=False)
class Job:
    """One request, its latest event and its followers."""

    id: str
    request: Any
    event: Event
    owner: str = ""  # whoever submitted it: owners take turns
    seconds: float | None = None  # expected time of its run; None: not known
    turn: tuple[int, bool] = (
        0,
        False,
    )  # its place among those that wait, see `ldm.jobs.line`
    version: int = 0  # counts the events, so that a follower knows which it has seen
    preview: Any = None  # the latest preview
    cancelled: bool = False
    followers: int = 0
    seen: float = field(default_factory=time.monotonic)  # when somebody last looked, in s

    @property
    def is_done(self) -> bool:
        return isinstance(self.event, ENDS)

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody has looked at it for PATIENCE seconds: its page must have been closed."""
        return not self.followers and time.monotonic() - self.seen > PATIENCE

    def gives_way_to(self, other: Job) -> bool:
        """Whether it is abandoned and somebody looks at a job that waits.

        A page that is closed leaves its running job and those behind it: none gives way to another
        one that nobody has looked at since.
        """
        is_looked_at = other.followers or other.seen > self.seen + LOOKED
        return self.is_abandoned and bool(is_looked_at)

    def meets(self, request: Any) -> bool:
        """Whether it runs `request`: as submitted, or filled in as its latest event states."""
        unfinished = getattr(self.event, "unfinished", None)
        return request in (self.request, unfinished and unfinished.request)

    @property
    def request_bytes(self) -> int:
        """Bytes of the pictures in its request and its result's requests, each counted once."""
        requests = [self.request, *getattr(self.event, "requests", ())]
        fields = [
            vars(getattr(one, "request", one)) for one in requests if hasattr(one, "__dict__")
        ]
        pngs = [getattr(value, "png", b"") for values in fields for value in values.values()]
        return sum(map(len, {id(png): png for png in pngs}.values()))


def forgotten(jobs: Iterable[Job]) -> list[Job]:
    """Return the finished jobs beyond the limits; `jobs` are all jobs, the oldest first."""
    gone, requested = [], 0
    newest_first = reversed([job for job in jobs if job.is_done])
    for number, job in enumerate(newest_first, start=1):
        requested += job.request_bytes
        if number > KEPT_JOBS or (requested > KEPT_BYTES and number > 1):
            gone.append(job)
    return gone


def published(job: Job, event: Event) -> Event:
    """Return an event as followers see it.

    Progress without a new preview repeats the last one, so that no follower can miss it. A result
    whose pictures are saved goes without their pixels.
    """
    if isinstance(event, Result):
        return replace(event, images=()) if event.paths else event
    if not isinstance(event, Progress):
        return event
    if event.preview is not None:
        job.preview = event.preview
        return event
    return replace(event, preview=job.preview)


def cut_short(kept: Result, why: str) -> Result:
    """The result of a run that an error ended, with a note that says what was made and why."""
    number = len(kept.requests)
    made = f"{number} pictures were made" if number > 1 else "one picture was made"
    return replace(kept, notes=(*kept.notes, f"Only {made}: {why}"))
