"""The queue: jobs one at a time, what it can hold, and what it forgets."""

import random
import threading
import time
from types import SimpleNamespace

import pytest

from ldm import jobs as module
from ldm.errors import LDMError, RequestError
from ldm.events import Cancelled, Estimate, Progress, Queued, Result
from ldm.jobs import JobQueue, job
from ldm.jobs.line import MAX_QUEUED
from tests.gate import WAIT, FakeStudio, end, quick, wait_until

# submitting


def test_a_job_runs_and_ends_in_its_result(queue):
    assert end(queue, queue.submit(quick)) == Result((), ())


def test_no_worker_and_no_studio_before_the_first_job():
    made = []
    queue = JobQueue(lambda: made.append(1) or FakeStudio())
    assert queue._worker is None
    end(queue, queue.submit(quick))
    end(queue, queue.submit(quick))
    assert made == [1]
    queue.close()


def test_jobs_run_in_order_one_at_a_time(queue):
    running, order = [], []

    def request(number):
        def run():
            running.append(number)
            order.append(number)
            assert len(running) == 1
            yield Progress("sampling", 1, 1)
            running.remove(number)
            yield Result((), ())

        return run

    ids = [queue.submit(request(i)) for i in range(30)]
    assert all(isinstance(end(queue, job_id), Result) for job_id in ids)
    assert order == list(range(30))


def test_a_waiting_job_knows_its_place(queue, busy):
    ids = [queue.submit(quick) for _ in range(3)]
    assert [queue.status(job_id) for job_id in ids] == [Queued(1), Queued(2), Queued(3)]


def test_places_move_up(queue, busy):
    first, second, third = (queue.submit(quick) for _ in range(3))
    queue.cancel(second)
    assert queue.status(first) == Queued(1)
    assert queue.status(third) == Queued(2)
    busy.let(1000)
    assert isinstance(end(queue, third), Result)


@pytest.mark.parametrize("call", ["follow", "status", "cancel"])
def test_an_unknown_job_is_told_at_once(queue, call):
    with pytest.raises(RequestError, match="there is no job 'nope'"):
        getattr(queue, call)("nope")


# warming up


def test_warm_up_loads_in_the_worker_and_returns_at_once():
    studio, hold = FakeStudio(), threading.Event()
    queue = JobQueue(lambda: hold.wait(WAIT) and studio)
    queue.warm_up("demo")
    job_id = queue.submit(quick)
    assert queue.status(job_id) == Queued(0)
    hold.set()
    assert isinstance(end(queue, job_id), Result)
    queue.close()
    assert studio.loaded == ["demo"]


@pytest.mark.parametrize("error", [LDMError("not on disk."), ZeroDivisionError()])
def test_a_failed_warm_up_is_logged_and_stops_nothing(queue, caplog, error):
    queue._runner._factory = lambda: studio
    studio = FakeStudio()

    def load(preset_name):
        raise error

    studio.load = load
    queue.warm_up("demo")
    wait_until(lambda: "could not prepare demo" in caplog.text)
    assert isinstance(end(queue, queue.submit(quick)), Result)


# estimates


class Measuring(FakeStudio):
    """Knows what a preset takes as soon as it has loaded it."""

    def estimate(self, request):
        return Estimate(1.0, 2, request.preset) if request.preset in self.loaded else None


def test_an_estimate_waits_for_a_model_to_be_measured_if_asked_to():
    hold = threading.Event()
    queue = JobQueue(lambda: hold.wait(WAIT) and Measuring())
    requests = [SimpleNamespace(preset=name) for name in ("demo", "other")]
    assert [queue.estimate(request) for request in requests] == [None, None]
    hold.set()
    assert queue.estimate(requests[1], wait=WAIT) == Estimate(1.0, 2, "other")
    assert queue.estimate(requests[0]) == Estimate(
        1.0, 2, "demo"
    )  # the second one did not push it out
    assert queue._runner._studio.loaded == ["demo", "other"]
    queue.close()


def test_an_estimate_of_a_model_that_cannot_be_loaded_does_not_wait_for_ever(queue):
    queue._runner._factory = Measuring
    queue._runner._make_studio().load = lambda name: 1 / 0
    assert queue.estimate(SimpleNamespace(preset="demo"), wait=WAIT) is None


def test_a_model_that_could_not_be_loaded_is_tried_again_later(queue, monkeypatch):
    queue._runner._factory = Measuring
    studio = queue._runner._make_studio()
    load, studio.load = studio.load, lambda name: 1 / 0
    request = SimpleNamespace(preset="demo")
    assert queue.estimate(request, wait=WAIT) is None
    studio.load = load
    assert queue.estimate(request, wait=WAIT) is None  # not at every key that is pressed
    monkeypatch.setattr(module, "RETRY", 0.0)
    assert queue.estimate(request, wait=WAIT) == Estimate(1.0, 2, "demo")


# limits


def test_a_full_queue_says_so(queue, busy):
    for _ in range(MAX_QUEUED):
        queue.submit(quick)
    with pytest.raises(RequestError, match="100 jobs are waiting already"):
        queue.submit(quick)


def test_old_jobs_are_forgotten_and_recent_ones_kept(queue):
    ids = [queue.submit(quick) for _ in range(50)]
    for _ in range(job.KEPT_JOBS):
        end(queue, queue.submit(quick))
    ids += [queue.submit(quick)]
    assert len(queue._jobs) <= job.KEPT_JOBS + 2
    with pytest.raises(RequestError, match="too long ago"):
        queue.follow(ids[0])
    assert isinstance(end(queue, ids[-1]), Result)


def test_a_waiting_job_is_never_forgotten(queue, busy, monkeypatch):
    monkeypatch.setattr(job, "KEPT_JOBS", 1)
    waiting = queue.submit(quick)
    for _ in range(5):
        queue.cancel(queue.submit(quick))
    assert queue.status(waiting) == Queued(1)


def test_a_thousand_jobs_from_eight_threads_none_lost_or_doubled(queue):
    """Each job is either run once and finished, or cancelled and never run after that."""
    ran, ids, lock = [], {}, threading.Lock()

    def request(key):
        def run():
            with lock:
                ran.append(key)
            yield Progress("sampling", 1, 1)
            yield Result((key,), ())

        return run

    def client(number):
        chance = random.Random(number)
        for i in range(125):
            key = (number, i)
            while True:
                try:
                    job_id = queue.submit(request(key))
                    break
                except RequestError:  # full: what a person would do
                    time.sleep(0.001)
            if chance.random() < 0.5:
                queue.cancel(job_id)
            ids[key] = end(queue, job_id)

    clients = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(60)
    assert len(ids) == 1000
    assert len(ran) == len(set(ran))
    finished = {key for key, event in ids.items() if isinstance(event, Result)}
    assert all(event.requests == (key,) for key, event in ids.items() if key in finished)
    assert finished <= set(ran)
    assert {type(event) for event in ids.values()} == {Result, Cancelled}
    assert len(queue._waiting) == 0
