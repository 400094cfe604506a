"""The queue in front of the studio: any page can submit, follow and cancel a job by its id.

One worker thread runs the jobs, their owners by turns. A job that nobody follows any more is
cancelled when another one waits. Followers see the job's latest event: a slow reader misses some
previews, never the end. Importing this module needs no torch; the studio is made in the worker.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ldm.errors import RequestError
from ldm.events import Cancelled, Estimate, Event, Queued
from ldm.jobs.job import Job, forgotten, published
from ldm.jobs.line import ANYTHING, Limits, Line
from ldm.jobs.runner import Runner

if TYPE_CHECKING:
    from ldm.studio import Studio

RETRY = 60.0  # s, after which a model that could not be prepared is tried again
REPEAT = 5.0  # s, after which a follower gets the latest event again: only then can it be closed


class JobQueue:
    """A queue of jobs that one worker thread runs.

    Args:
        studio_factory: Makes the studio, in the worker, when the first job or `warm_up` comes.
        limits: What each visitor may ask for.
    """

    def __init__(self, studio_factory: Callable[[], Studio], limits: Limits = ANYTHING) -> None:
        self._runner = Runner(studio_factory, limits)
        self._limits = limits
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting = Line(limits)
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._warm: deque[str] = deque()  # presets still to be loaded
        self._asked: dict[str, float] = {}  # preset -> time of the latest request to load it, in s
        self._warmed: set[str] = set()  # presets whose latest loading is over, even if it failed
        self._closed = False
        self._worker: threading.Thread | None = None

    def submit(self, request: Any, owner: str = "") -> str:
        """Put a request in the queue and return the job's id.

        Args:
            request: Any request, comparison or progression.
            owner: Whoever asks; owners take turns.

        Raises:
            RequestError: If the queue is full or closed, or the run would take too long.
        """
        seconds = self._runner.checked(request)
        with self._changed:
            if self._closed:
                raise RequestError("the studio is shutting down and takes no more jobs.")
            job = Job(secrets.token_hex(8), request, Queued(0), owner, seconds)
            self._waiting.add(job)
            self._jobs[job.id] = job
            self._renumber()
            self._forget_old()
            self._start()
            self._changed.notify_all()
        return job.id

    def follow(
        self, job_id: str, pace: float = 0.0, is_heard: Callable[[], bool] | None = None
    ) -> Iterator[Event]:
        """Iterate over the job's events, from the latest one so far to its end.

        A job may have many followers, in any threads. Closing the iterator does not stop the job.
        While nothing happens, the latest event comes again every REPEAT seconds.

        Args:
            job_id: As returned by `submit`.
            pace: Least seconds from handling an event to the next; the job's end does not wait.
            is_heard: Whether the events still reach somebody; None: while the iterator is open.

        Raises:
            RequestError: If there is no such job.
        """
        return self._events(self._find(job_id), pace, is_heard)

    def _events(
        self, job: Job, pace: float, is_heard: Callable[[], bool] | None
    ) -> Iterator[Event]:
        seen = -1
        with self._changed:
            job.followers += is_heard is None
        try:
            while True:
                with self._changed:
                    if seen >= 0:
                        self._changed.wait_for(lambda: job.is_done, pace)
                    self._changed.wait_for(lambda: job.version != seen, REPEAT)  # noqa: B023
                    seen, event, done = job.version, job.event, job.is_done
                    if is_heard is not None and is_heard():
                        job.seen = time.monotonic()
                yield event
                if done:
                    return
        finally:
            with self._changed:
                if is_heard is None:
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
            None while its model is not measured; that happens as soon as no job waits. Of a
            comparison, the other models are measured when they are first used.

        Raises:
            LDMError: If the request cannot be met or would take too long; in one sentence.
        """
        found = self._estimate(request, wait)
        self._limits.check_seconds(found and found.seconds)
        return found

    def _estimate(self, request: Any, wait: float) -> Estimate | None:
        name = request.preset
        if (found := self._runner.estimate(request)) is not None:
            return found
        if time.monotonic() - self._asked.get(name, -math.inf) > RETRY:  # may succeed by now
            self.warm_up(name)
        with self._changed:
            self._changed.wait_for(lambda: name in self._warmed or self._closed, wait)
        return self._runner.estimate(request)

    def close(self, timeout: float = 10.0) -> bool:
        """Cancel all jobs and end the worker; return whether it ended within `timeout` seconds."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                self._waiting.remove(job)
                self._set(job, Cancelled())
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
            self._renumber()

    def _renumber(self) -> None:
        """Tell the waiting jobs their places, if they have changed; the caller holds the lock."""
        for job, place in self._waiting.places(self._running):
            if job.event != place:
                self._set(job, place)

    def _next(self) -> Job | None:
        """Take the job out whose turn it is; the caller holds the lock."""
        while self._waiting and any(map((job := self._waiting.first).gives_way_to, self._waiting)):
            self._waiting.remove(job)
            self._set(job, Cancelled())
        return self._waiting.pop() if self._waiting else None

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
                job = self._next()
                preset = self._warm.popleft() if job is None else None
                self._running = job
                self._renumber()
            if preset is not None:
                self._runner.warm_up(preset)
                with self._changed:
                    self._warmed.add(preset)
                    self._changed.notify_all()
            else:
                self._run(job)
                with self._changed:
                    self._running = None
                    self._renumber()

    def _in_line(self) -> list[Job]:
        """Return the waiting jobs."""
        with self._changed:
            return list(self._waiting)

    def _run(self, job: Job) -> None:
        for event in self._runner.run(job, self._in_line):
            self._publish(job, published(job, event))
