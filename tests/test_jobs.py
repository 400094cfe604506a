import logging
import random
import threading
import time
from types import SimpleNamespace

import pytest

from ldm import jobs as module
from ldm.errors import LDMError, RequestError
from ldm.events import Cancelled, Failed, Progress, Queued, Result
from ldm.jobs import JobQueue

WAIT = 10  # s; far longer than anything here takes


class FakeStudio:
    """Runs functions as if they were requests: each gives an iterator of events."""

    def __init__(self):
        self.loaded = []

    def run(self, request):
        return request()

    def load(self, preset_name):
        self.loaded.append(preset_name)


def quick():
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


@pytest.fixture
def queue():
    queue = JobQueue(FakeStudio)
    yield queue
    queue.close(WAIT)


@pytest.fixture
def busy(queue):
    """A queue whose worker is inside a job that waits."""
    gate = Gate()
    gate.id = queue.submit(gate)
    assert gate.started.wait(WAIT)
    yield gate
    gate.let(10_000)


def end(queue, job_id):
    """The last event of a job, in a time that cannot hang a test."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(queue.follow(job_id)), daemon=True)
    thread.start()
    thread.join(WAIT)
    assert not thread.is_alive(), "the job does not end"
    return found[-1]


def wait_until(condition):
    limit = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


# submitting and following


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
    assert [queue.status(job_id) for job_id in ids] == [Queued(0), Queued(1), Queued(2)]


def test_places_move_up(queue, busy):
    first, second, third = (queue.submit(quick) for _ in range(3))
    queue.cancel(second)
    assert queue.status(first) == Queued(0)
    assert queue.status(third) == Queued(1)


def test_follow_shows_the_way_from_the_queue_to_the_result(queue, busy):
    gate = Gate(2)
    events = queue.follow(queue.submit(gate))
    assert next(events) == Queued(0)
    busy.let(1000)
    seen = [type(event) for event in [*iter_with(gate, events)]]
    assert set(seen) <= {Progress, Result}
    assert seen[-1] is Result


def iter_with(gate, events):
    """The events, while the gate is opened by one step after each."""
    for event in events:
        yield event
        if isinstance(event, Progress):
            gate.let(1)


def test_following_again_after_the_end_gives_the_end(queue):
    job_id = queue.submit(quick)
    last = end(queue, job_id)
    assert list(queue.follow(job_id)) == [last]
    assert list(queue.follow(job_id)) == [last]


def test_two_followers_see_the_same_end(queue, busy):
    job_id = queue.submit(quick)
    seen = [[], []]
    threads = [
        threading.Thread(target=lambda events=events: events.extend(queue.follow(job_id)))
        for events in seen
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(seen))
    busy.let(1000)
    for thread in threads:
        thread.join(WAIT)
    assert seen[0][-1] == seen[1][-1] == Result((), ())


def test_a_follower_that_leaves_does_not_stop_the_job(queue, busy):
    events = queue.follow(busy.id)
    next(events)
    events.close()
    busy.let(1000)
    assert isinstance(end(queue, busy.id), Result)


def test_a_slow_reader_sees_the_latest_event_and_not_all(queue, busy):
    events = queue.follow(busy.id)
    assert next(events).stage == "loading"
    busy.let(500)
    wait_until(lambda: getattr(queue.status(busy.id), "step", 0) == 500)
    assert next(events).step == 500


def test_a_follower_sees_every_event_that_it_has_time_for(queue):
    gate = Gate(5)
    job_id = queue.submit(gate)
    events = [*iter_with(gate, queue.follow(job_id))]
    steps = [event.step for event in events if isinstance(event, Progress) and event.total]
    assert steps[:4] == [1, 2, 3, 4]  # the end may overtake the last one


def test_a_late_reader_still_gets_the_last_preview(queue):
    hold = threading.Event()

    def request():
        yield Progress("sampling", 1, 3, preview="picture of step 1")
        yield Progress("sampling", 2, 3)
        assert hold.wait(WAIT)
        yield Result((), ())

    job_id = queue.submit(request)
    wait_until(lambda: getattr(queue.status(job_id), "step", 0) == 2)
    assert queue.status(job_id).preview == "picture of step 1"
    hold.set()
    assert end(queue, job_id) == Result((), ())


@pytest.mark.parametrize("call", ["follow", "status", "cancel"])
def test_an_unknown_job_is_told_at_once(queue, call):
    with pytest.raises(RequestError, match="there is no job 'nope'"):
        getattr(queue, call)("nope")


# cancelling


def test_cancel_of_a_waiting_job_takes_it_out(queue, busy):
    ran = []
    job_id = queue.submit(lambda: ran.append(1) or quick())
    assert queue.cancel(job_id)
    assert queue.status(job_id) == Cancelled()
    busy.let(1000)
    end(queue, queue.submit(quick))
    assert ran == []


def test_cancel_of_the_running_job_stops_within_a_step(queue, busy):
    busy.let(3)
    wait_until(lambda: busy.at == 3)
    assert queue.cancel(busy.id)
    busy.let(1)
    assert end(queue, busy.id) == Cancelled()
    assert busy.at == 4
    assert busy.closed.is_set()


def test_cancel_while_the_model_is_loading(queue):
    gate, hold, inside = Gate(), threading.Event(), threading.Event()

    def request():
        yield Progress("loading")
        inside.set()
        assert hold.wait(WAIT)
        yield from gate()

    job_id = queue.submit(request)
    assert inside.wait(WAIT)
    assert queue.cancel(job_id)
    hold.set()
    assert end(queue, job_id) == Cancelled()
    assert gate.at == 0


def test_cancel_of_a_finished_job_changes_nothing(queue):
    job_id = queue.submit(quick)
    last = end(queue, job_id)
    assert queue.cancel(job_id) is False
    assert queue.status(job_id) == last


def test_cancel_of_a_failed_job_changes_nothing(queue):
    job_id = queue.submit(lambda: iter(()))
    assert isinstance(end(queue, job_id), Failed)
    assert queue.cancel(job_id) is False


def test_cancel_of_a_cancelled_job_changes_nothing(queue, busy):
    job_id = queue.submit(quick)
    assert queue.cancel(job_id) is True
    assert queue.cancel(job_id) is False


def test_a_result_that_is_there_already_is_not_thrown_away(queue):
    inside, hold = threading.Event(), threading.Event()

    def request():
        yield Progress("decoding")
        inside.set()
        assert hold.wait(WAIT)
        yield Result((), (), seconds=3)

    job_id = queue.submit(request)
    assert inside.wait(WAIT)
    queue.cancel(job_id)
    hold.set()
    assert end(queue, job_id) == Result((), (), seconds=3)


def test_the_next_job_runs_after_a_cancel(queue, busy):
    following = queue.submit(quick)
    queue.cancel(busy.id)
    busy.let(1)
    assert isinstance(end(queue, following), Result)


def test_a_follower_of_a_waiting_job_hears_of_its_cancel(queue, busy):
    job_id = queue.submit(quick)
    events = queue.follow(job_id)
    next(events)
    queue.cancel(job_id)
    assert list(events) == [Cancelled()]


# failing


def test_an_error_for_people_is_told_in_its_own_words(queue):
    def request():
        yield Progress("loading")
        raise LDMError("width must be a multiple of 16.")

    assert end(queue, queue.submit(request)) == Failed("width must be a multiple of 16.")


def test_an_unexpected_error_is_logged_under_an_id_and_not_shown(queue, caplog):
    def request():
        yield Progress("loading")
        raise ZeroDivisionError("secret detail")

    job_id = queue.submit(request)
    with caplog.at_level(logging.ERROR):
        event = end(queue, job_id)
    assert isinstance(event, Failed)
    assert job_id in event.message
    assert "secret" not in event.message
    wait_until(lambda: f"job {job_id} failed" in caplog.text)
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("error", [LDMError("no."), ZeroDivisionError()])
def test_the_next_job_runs_after_an_error(queue, error):
    def request():
        raise error
        yield

    broken, following = queue.submit(request), queue.submit(quick)
    assert isinstance(end(queue, broken), Failed)
    assert isinstance(end(queue, following), Result)


def test_a_run_without_a_result_is_a_failure(queue):
    event = end(queue, queue.submit(lambda: iter([Progress("sampling", 1, 1)])))
    assert "ended without a picture" in event.message


def test_an_error_while_closing_a_cancelled_run_is_a_failure(queue):
    inside, hold = threading.Event(), threading.Event()

    def request():
        try:
            yield Progress("loading")
            inside.set()
            assert hold.wait(WAIT)
            yield Progress("sampling", 1, 2)
        finally:
            raise LDMError("could not tidy up.")

    job_id = queue.submit(request)
    assert inside.wait(WAIT)
    queue.cancel(job_id)
    hold.set()
    assert end(queue, job_id) == Failed("could not tidy up.")


def test_a_studio_that_cannot_be_made_fails_each_job_until_it_can(queue):
    answers = [LDMError("this machine has no cuda device."), None]

    def factory():
        if error := answers.pop(0):
            raise error
        return FakeStudio()

    queue._factory = factory
    assert end(queue, queue.submit(quick)) == Failed("this machine has no cuda device.")
    assert isinstance(end(queue, queue.submit(quick)), Result)


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
    queue._factory = lambda: studio
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
        return f"of {request.preset}" if request.preset in self.loaded else None


def test_an_estimate_waits_for_a_model_to_be_measured_if_asked_to():
    hold = threading.Event()
    queue = JobQueue(lambda: hold.wait(WAIT) and Measuring())
    requests = [SimpleNamespace(preset=name) for name in ("demo", "other")]
    assert [queue.estimate(request) for request in requests] == [None, None]
    hold.set()
    assert queue.estimate(requests[1], wait=WAIT) == "of other"
    assert queue.estimate(requests[0]) == "of demo"  # the second one did not push it out
    assert queue._studio.loaded == ["demo", "other"]
    queue.close()


def test_an_estimate_of_a_model_that_cannot_be_loaded_does_not_wait_for_ever(queue):
    queue._factory = Measuring
    queue._make_studio().load = lambda name: 1 / 0
    assert queue.estimate(SimpleNamespace(preset="demo"), wait=WAIT) is None


# limits and closing


def test_a_full_queue_says_so(queue, busy):
    for _ in range(module.MAX_QUEUED):
        queue.submit(quick)
    with pytest.raises(RequestError, match="100 jobs are waiting already"):
        queue.submit(quick)


def test_old_jobs_are_forgotten_and_recent_ones_kept(queue):
    ids = [queue.submit(quick) for _ in range(50)]
    for _ in range(module.KEPT_JOBS):
        end(queue, queue.submit(quick))
    ids += [queue.submit(quick)]
    assert len(queue._jobs) <= module.KEPT_JOBS + 2
    with pytest.raises(RequestError, match="too long ago"):
        queue.follow(ids[0])
    assert isinstance(end(queue, ids[-1]), Result)


def test_a_waiting_job_is_never_forgotten(queue, busy, monkeypatch):
    monkeypatch.setattr(module, "KEPT_JOBS", 1)
    waiting = queue.submit(quick)
    for _ in range(5):
        queue.cancel(queue.submit(quick))
    assert queue.status(waiting) == Queued(0)


def test_pictures_of_older_jobs_are_left_to_their_files(queue):
    def request():
        yield Result((), ("pixels",), paths=("a.png",))

    ids = [queue.submit(request) for _ in range(module.KEPT_PICTURES + 5)]
    end(queue, ids[-1])
    queue.submit(quick)
    assert queue.status(ids[0]) == Result((), (), paths=("a.png",))
    assert queue.status(ids[-1]).images == ("pixels",)


def test_close_cancels_all_and_takes_no_more(queue):
    gate = Gate()
    running, waiting = queue.submit(gate), queue.submit(quick)
    assert gate.started.wait(WAIT)
    gate.let(5)
    closing = threading.Thread(target=queue.close)
    closing.start()
    assert end(queue, waiting) == Cancelled()
    gate.let(1)
    assert end(queue, running) == Cancelled()
    closing.join(WAIT)
    assert not queue._worker.is_alive()
    with pytest.raises(RequestError, match="shutting down"):
        queue.submit(quick)


def test_close_without_a_job():
    queue = JobQueue(FakeStudio)
    queue.close()
    queue.close()


def test_a_thousand_jobs_from_eight_threads_none_lost_or_doubled(queue):
    """Each job is either run once and finished, or cancelled and never run after that."""
    ran, ids, lock = [], {}, threading.Lock()

    def request(key):
        def run():
            with lock:
                ran.append(key)
            yield Progress("sampling", 1, 1)
            yield Result((), (key,))

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
    assert all(event.images == (key,) for key, event in ids.items() if key in finished)
    assert finished <= set(ran)
    assert {type(event) for event in ids.values()} == {Result, Cancelled}
    assert len(queue._waiting) == 0
