"""What those who follow a job are told, and when."""

import threading
import time

from ldm.errors import LDMError
from ldm.events import Failed, Progress, Queued, Result
from tests.gate import WAIT, Gate, end, quick, wait_until


def test_follow_shows_the_way_from_the_queue_to_the_result(queue, busy):
    gate = Gate(2)
    events = queue.follow(queue.submit(gate))
    assert next(events) == Queued(1)
    busy.let(1000)
    order = [Queued, Progress, Result]  # its turn may be told before its first step
    seen = [order.index(type(event)) for event in iter_with(gate, events)]
    assert seen == sorted(seen)
    assert seen[-1] == order.index(Result)


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


def test_a_follower_may_hear_less_often_and_of_the_end_at_once(queue):
    """A page that is told of every step of a fast model keeps its browser busy with it."""

    def request():
        for step in range(1, 301):
            time.sleep(0.001)
            yield Progress("sampling", step, 300)
        yield Result((), ())

    begin = time.monotonic()
    told = [*queue.follow(queue.submit(request), 0.1)]
    seconds = time.monotonic() - begin
    steps = [event.step for event in told if isinstance(event, Progress)]
    assert isinstance(told[-1], Result)
    assert steps == sorted(steps)
    assert len(steps) >= 3
    assert len(told) <= seconds / 0.1 + 2
    told = [*queue.follow(queue.submit(request), 2 * WAIT)]
    assert isinstance(told[-1], Result)
    assert len(told) == 2


def test_the_preview_of_a_job_that_failed_is_let_go(queue):
    def request():
        yield Progress("sampling", 1, 3, preview="picture of step 1")
        raise LDMError("no more.")

    job_id = queue.submit(request)
    assert end(queue, job_id) == Failed("no more.")
    assert queue._jobs[job_id].preview is None


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
