"""Jobs that a test steps through; the fixtures stand in conftest.py."""

import threading
import time

from ldm.events import Progress, Result

WAIT = 10  # s; far longer than anything here takes


class FakeStudio:
    """Runs functions as if they were requests: each gives an iterator of events."""

    def __init__(self):
        self.loaded = []

    def run(self, request):
        return request()

    def resumable(self, event):
        return getattr(event, "unfinished", None)

    def estimate(self, request):
        return getattr(request, "estimate", None)

    def load(self, preset_name):
        self.loaded.append(preset_name)


def quick():
    """A request that is done at once."""
    yield Progress("sampling", 1, 1)
    yield Result((), ())


class Gate:
    """A request that takes a step whenever a test lets it, and notes what became of it."""

    def __init__(self, steps=1000):
        self.steps = steps
        self.at = 0
        self.started = threading.Event()
        self.closed = threading.Event()
        self._allowed = threading.Semaphore(0)

    def __call__(self):
        try:
            yield Progress("loading")
            self.started.set()
            for step in range(1, self.steps + 1):
                assert self._allowed.acquire(timeout=WAIT)
                self.at = step
                yield Progress("sampling", step, self.steps)
            yield Result((), (), seconds=self.steps)
        finally:
            self.closed.set()

    def let(self, steps):
        self._allowed.release(steps)


def end(queue, job_id):
    """The last event of a job, in a time that cannot hang a test."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(queue.follow(job_id)), daemon=True)
    thread.start()
    thread.join(WAIT)
    assert not thread.is_alive(), "the job does not end"
    return found[-1]


def wait_until(condition):
    """Waits for what comes true on another thread."""
    limit = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)
