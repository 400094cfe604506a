"""The queue in front of the studio: any page can submit, follow and cancel a job by its id.

One worker thread runs the jobs in order. A job that nobody follows any more is cancelled when
another one waits. Followers see the job's latest event: a slow reader misses some previews, never
the end. Importing this module needs no torch; the studio is made in the worker.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ldm.errors import LDMError, RequestError
from ldm.events import Cancelled, Estimate, Event, Failed, Progress, Queued, Result, Unfinished
from ldm.job import Job, cut_short, forgotten, published

if TYPE_CHECKING:
    from ldm.studio import Studio

MAX_QUEUED = 100
RETRY = 60.0  # s, after which a model that could not be prepared is tried again

log = logging.getLogger(__name__)


class JobQueue:
    """A queue of jobs that one worker thread runs in order.

    Args:
        studio_factory: Makes the studio, in the worker, when the first job or `warm_up` comes.
    """

    def __init__(self, studio_factory: Callable[[], Studio]) -> None:
        self._factory = studio_factory
        self._studio: Studio | None = None
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._warm: deque[str] = deque()  # presets still to be loaded
        self._asked: dict[str, float] = {}  # preset -> time of the latest request to load it, in s
        self._warmed: set[str] = set()  # presets whose latest loading is over, even if it failed
        self._closed = False
        self._worker: threading.Thread | None = None

    def submit(self, request: Any) -> str:
        """Put a request at the end of the queue and return the job's id.

        Raises:
            RequestError: If the queue is full or closed.
        """
        with self._changed:
            if self._closed:
                raise RequestError("the studio is shutting down and takes no more jobs.")
            if len(self._waiting) >= MAX_QUEUED:
                raise RequestError(f"{MAX_QUEUED} jobs are waiting already; try again later.")
            before = len(self._waiting) + (self._running is not None)
            job = Job(secrets.token_hex(8), request, Queued(before))
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._forget_old()
            self._start()
            self._changed.notify_all()
        return job.id

    def follow(self, job_id: str, pace: float = 0.0) -> Iterator[Event]:
        """Iterate over the job's events, from the latest one so far to its end.

        A job may have many followers, in any threads. Closing the iterator does not stop the job.

        Args:
            job_id: As returned by `submit`.
            pace: Least seconds from handling an event to the next; the job's end does not wait.

        Raises:
            RequestError: If there is no such job.
        """
        return self._events(self._find(job_id), pace)

    def _events(self, job: Job, pace: float) -> Iterator[Event]:
        seen = -1
        with self._changed:
            job.followers += 1
        try:
            while True:
                with self._changed:
                    if seen >= 0:
                        self._changed.wait_for(lambda: job.is_done, pace)
                    while job.version == seen:
                        self._changed.wait()
                    seen, event, done = job.version, job.event, job.is_done
                yield event
                if done:
                    return
        finally:
            with self._changed:
                job.followers -= 1
                job.seen = time.monotonic()

    def status(self, job_id: str) -> Event:
        """Return the job's latest event.

        Raises:
            RequestError: If there is no such job.
        """
        job = self._find(job_id)
        job.seen = time.monotonic()
        return job.event

    def request(self, job_id: str) -> Any:
        """Return the job's request.

        Raises:
            RequestError: If there is no such job.
        """
        return self._find(job_id).request

    def cancel(self, job_id: str) -> bool:
        """Stop a job: a waiting one at once, the running one within a step.

        If its latest progress has `kept` pictures, it ends with a result of these.

        Returns:
            False if it was over already.

        Raises:
            RequestError: If there is no such job.
        """
        job = self._find(job_id)
        with self._changed:
            if job.is_done:
                return False
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._set(job, Cancelled())
                self._renumber()
            return True

    def is_busy_with(self, request: Any) -> bool:
        """Whether a running or waiting job is for this request; see `Job.meets`."""
        with self._changed:
            going = [*self._waiting, *([self._running] if self._running else [])]
        return any(job.meets(request) for job in going)

    def warm_up(self, preset_name: str) -> None:
        """Make the studio and load a preset in the background, before the first job needs it."""
        with self._changed:
            self._warm.append(preset_name)
            self._warmed.discard(preset_name)
            self._asked[preset_name] = time.monotonic()
            self._start()
            self._changed.notify_all()

    def estimate(self, request: Any, wait: float = 0.0) -> Estimate | None:
        """Estimate the time and memory of a request.

        Args:
            request: Any request, or a comparison.
            wait: Most seconds to wait until an unmeasured model is loaded and measured.

        Returns:
            None while its model is not measured; that happens as soon as no job waits.

        Raises:
            LDMError: If the request cannot be met; in one sentence.
        """
        name = request.preset
        if (found := self._known(request)) is not None:
            return found
        if time.monotonic() - self._asked.get(name, -math.inf) > RETRY:  # may succeed by now
            self.warm_up(name)
        with self._changed:
            self._changed.wait_for(lambda: name in self._warmed or self._closed, wait)
        return self._known(request)

    def _known(self, request: Any) -> Estimate | None:
        studio = self._studio
        return None if studio is None else studio.estimate(request)

    def close(self, timeout: float = 10.0) -> bool:
        """Cancel all jobs and end the worker; return whether it ended within `timeout` seconds."""
        with self._changed:
            self._closed = True
            for job in list(self._waiting):
                self._set(job, Cancelled())
            self._waiting.clear()
            for job in self._jobs.values():
                job.cancelled = True
            self._changed.notify_all()
        # an interrupt can come between making the thread and its start
        if self._worker is None or not self._worker.is_alive():
            return True
        self._worker.join(timeout)
        return not self._worker.is_alive()

    def _find(self, job_id: str) -> Job:
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            raise RequestError(f"there is no job {job_id!r:.40}; it may be too long ago.")
        return job

    def _start(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
            self._worker.start()

    def _set(self, job: Job, event: Event) -> None:
        """Publish an event; the caller holds the lock."""
        job.event = event
        job.version += 1
        if job.is_done:
            job.preview = None
        self._changed.notify_all()

    def _publish(self, job: Job, event: Event) -> None:
        with self._changed:
            self._set(job, event)

    def _renumber(self) -> None:
        for position, job in enumerate(self._waiting, start=self._running is not None):
            if job.event != Queued(position):
                self._set(job, Queued(position))

    def _forget_old(self) -> None:
        """Drop finished jobs to keep memory bounded; the caller holds the lock."""
        for job in forgotten(self._jobs.values()):
            del self._jobs[job.id]

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._warm or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft() if self._waiting else None
                preset = self._warm.popleft() if job is None else None
                self._running = job
                self._renumber()
            if preset is not None:
                self._warm_studio(preset)
            else:
                self._run(job)
                with self._changed:
                    self._running = None
                    self._renumber()

    def _warm_studio(self, preset_name: str) -> None:
        try:
            self._make_studio().load(preset_name)
        except LDMError as error:  # the first job will report it again
            log.warning("could not prepare %s: %s", preset_name, error)
        except Exception:
            log.exception("could not prepare %s", preset_name)
        with self._changed:
            self._warmed.add(preset_name)
            self._changed.notify_all()

    def _make_studio(self) -> Studio:
        self._studio = self._studio or self._factory()
        return self._studio

    def _run(self, job: Job) -> None:
        try:
            events = self._make_studio().run(job.request)
            for event in events:
                given_up = self._waiting and job.is_abandoned
                if (job.cancelled or given_up) and not isinstance(event, Result):
                    events.close()
                    self._publish(job, event.kept or Cancelled(self._left(event)))
                    return
                self._publish(job, published(job, event))
        except LDMError as error:
            self._fail(job, str(error))
        except Exception:
            log.exception("job %s failed", job.id)
            self._fail(job, f"something went wrong here; the log says what ({job.id}).")
        if not job.is_done:
            self._publish(job, Failed(f"the run ended without a picture ({job.id})."))

    def _left(self, event: Event) -> Unfinished | None:
        """What can be resumed of a run that ends here; whatever happens, its end must be told."""
        try:
            return self._studio.resumable(event) if self._studio else None
        except Exception:
            log.exception("it could not be found out whether a run can be resumed")
            return None

    def _fail(self, job: Job, why: str) -> None:
        """End a job with an error, or with the pictures that it has made and a note."""
        kept = job.event.kept if isinstance(job.event, Progress) else None
        left = Failed(why, self._left(job.event))
        self._publish(job, left if kept is None else cut_short(kept, why))
