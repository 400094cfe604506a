"""Running one job on the studio, which is made when the first one needs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ldm.errors import LDMError, RequestError
from ldm.events import Cancelled, Estimate, Event, Failed, Progress, Result, Unfinished
from ldm.jobs.job import Job, cut_short
from ldm.jobs.line import Limits, duration
from ldm.requests.comparison import Comparison

if TYPE_CHECKING:
    from ldm.studio import Studio

log = logging.getLogger(__name__)


class Runner:
    """The studio of a queue; `run` and `warm_up` belong to one thread, the rest to any.

    Args:
        studio_factory: Makes the studio.
        limits: What a run may take.
    """

    def __init__(self, studio_factory: Callable[[], Studio], limits: Limits) -> None:
        self._factory = studio_factory
        self._limits = limits
        self._studio: Studio | None = None

    def estimate(self, request: Any) -> Estimate | None:
        """Estimate a request; None while there is no studio or its model is not measured.

        Raises:
            LDMError: If the request cannot be met; in one sentence.
        """
        studio = self._studio
        return None if studio is None else studio.estimate(request)

    def expected(self, request: Any) -> float | None:
        """Expected time of a run in s; None: not known, or its run will say what is wrong."""
        try:
            found = self.estimate(request)
        except LDMError:
            return None
        return found and found.seconds

    def checked(self, request: Any) -> float | None:
        """Check the expected time of a run, and return it as `expected` does.

        Of a comparison whose models are not all measured, the pictures of those that are count.

        Raises:
            RequestError: If it is too much; in one sentence.
        """
        seconds = least = self.expected(request)
        if seconds is None and self._limits.seconds is not None and isinstance(request, Comparison):
            least = sum(self.expected(one) or 0.0 for row in request.rows() for one in row)
        self._limits.check_seconds(least)
        return seconds

    def warm_up(self, preset_name: str) -> None:
        """Make the studio and load a preset; an error is logged, for the first job tells it."""
        try:
            self._make_studio().load(preset_name)
        except LDMError as error:
            log.warning("could not prepare %s: %s", preset_name, error)
        except Exception:
            log.exception("could not prepare %s", preset_name)

    def run(self, job: Job, waiting: Callable[[], Iterable[Job]]) -> Iterator[Event]:
        """Run a job; yield its events, of which the last is its end. The caller publishes each.

        Args:
            job: The job. It ends early if it is cancelled, if nobody follows it any more and it has
                to give way to one that waits, and if it has taken much too long and others wait.
            waiting: Returns the jobs that wait.
        """
        try:
            yield from self._events(job, waiting)
        except LDMError as error:
            yield self._failed(job, str(error))
        except Exception:
            log.exception("job %s failed", job.id)
            yield self._failed(job, f"something went wrong here; the log says what ({job.id}).")
        if not job.is_done:
            yield Failed(f"the run ended without a picture ({job.id}).")

    def _events(self, job: Job, waiting: Callable[[], Iterable[Job]]) -> Iterator[Event]:
        began = time.monotonic()
        events = self._make_studio().run(job.request)
        for event in events:
            if not isinstance(event, Result):
                if job.cancelled or any(map(job.gives_way_to, waiting())):
                    events.close()
                    yield event.kept or Cancelled(self._left(event))
                    return
                try:
                    self._check_time(job, began, waiting)
                except RequestError as error:
                    events.close()
                    if event.kept is None:
                        raise
                    yield cut_short(event.kept, str(error))
                    return
            yield event

    def _check_time(self, job: Job, began: float, waiting: Callable[[], Iterable[Job]]) -> None:
        """Check what a run is expected to take, once that is known, and what it has taken.

        Whoever waits behind a run of their own is in no hurry.

        Raises:
            RequestError: If it is too much; in one sentence.
        """
        if job.seconds is None:  # its model was not measured before it was loaded
            job.seconds = self.checked(job.request)
        seconds = time.monotonic() - began
        if self._limits.is_overtime(seconds) and any(job.owner != one.owner for one in waiting()):
            raise RequestError(f"others wait, and this has taken {duration(round(seconds))}.")

    def _make_studio(self) -> Studio:
        self._studio = self._studio or self._factory()
        return self._studio

    def _left(self, event: Event) -> Unfinished | None:
        """What can be resumed of a run that ends here; whatever happens, its end must be told."""
        try:
            return self._studio.resumable(event) if self._studio else None
        except Exception:
            log.exception("it could not be found out whether a run can be resumed")
            return None

    def _failed(self, job: Job, why: str) -> Event:
        """The end of a job by an error, or with the pictures that it has made and a note."""
        kept = job.event.kept if isinstance(job.event, Progress) else None
        left = Failed(why, self._left(job.event))
        return left if kept is None else cut_short(kept, why)
