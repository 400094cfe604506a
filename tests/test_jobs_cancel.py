"""Jobs that are cancelled, that fail, or on which the queue is closed."""

import logging
import threading

import pytest

from ldm.errors import LDMError, RequestError
from ldm.events import Cancelled, Failed, Progress, Result
from ldm.jobs import JobQueue, job
from tests.gate import WAIT, FakeStudio, Gate, end, quick, wait_until

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


def test_what_a_cancelled_run_has_made_is_its_result(queue):
    """A comparison's pictures are finished one after the other."""
    made = Result(("one",), (), paths=("1.png",))
    at_two, go_on, closed = threading.Event(), threading.Event(), []

    def request():
        try:
            yield Progress("comparing", 0, 3)
            yield Progress("comparing", 1, 3, kept=made)
            at_two.set()
            assert go_on.wait(WAIT)
            yield Progress("comparing", 1, 3, kept=made)
            raise AssertionError
        finally:
            closed.append(True)

    job_id = queue.submit(request)
    assert at_two.wait(WAIT)
    queue.cancel(job_id)
    go_on.set()
    assert end(queue, job_id) == made
    assert closed == [True]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), LDMError("enough.")])
def test_what_was_made_before_an_unexpected_error_is_the_result(queue, error):
    made = Result(("one",), (), notes=("cancelled",), paths=("1.png",))

    def request():
        yield Progress("comparing", 1, 3, kept=made)
        raise error

    job_id = queue.submit(request)
    why = "enough." if isinstance(error, LDMError) else f"the log says what ({job_id})."
    ended = end(queue, job_id)
    assert (ended.requests, ended.paths) == (made.requests, made.paths)
    assert ended.notes[0] == "cancelled"
    assert ended.notes[1].endswith(why)


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

    queue._runner._factory = factory
    assert end(queue, queue.submit(quick)) == Failed("this machine has no cuda device.")
    assert isinstance(end(queue, queue.submit(quick)), Result)


# closing


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


def test_close_says_whether_the_worker_has_ended(queue, busy):
    assert not queue.close(timeout=0.01)
    busy.let(1)
    assert queue.close(WAIT)


def test_close_without_a_job():
    queue = JobQueue(FakeStudio)
    assert queue.close()
    assert queue.close()


def test_a_job_that_nobody_looks_at_gives_way_to_one_that_waits(queue, monkeypatch):
    """A page that is closed takes its job's id along."""
    gate = Gate(3)
    left = queue.submit(gate)
    events = queue.follow(left)
    while not isinstance(next(events), Progress):
        pass
    monkeypatch.setattr(job, "PATIENCE", 0.0)
    gate.let(1)
    assert isinstance(next(events), Progress)  # followed, or nobody waits: it goes on
    waiting = queue.submit(quick)
    gate.let(1)
    assert isinstance(next(events), Progress)
    follower = queue.follow(waiting)
    next(follower)
    events.close()
    gate.let(1)
    assert isinstance(end(queue, waiting), Result)
    assert queue.status(left) == Cancelled()


def test_a_page_that_is_closed_leaves_its_queue_and_all_of_it_is_made(queue, monkeypatch):
    """None of its jobs gives way to another one of them: nobody looks at any."""
    gate = Gate(3)
    running = queue.submit(gate)
    behind = [queue.submit(quick), queue.submit(quick)]
    queue.follow(running).close()
    monkeypatch.setattr(job, "PATIENCE", 0.0)
    gate.let(1000)
    wait_until(lambda: isinstance(queue.status(behind[-1]), Result))
    for job_id in (running, *behind):
        assert isinstance(queue.status(job_id), Result)


def test_a_job_that_was_left_ends_in_peace_if_nobody_waits(queue, monkeypatch):
    monkeypatch.setattr(job, "PATIENCE", 0.0)
    gate = Gate(3)
    left = queue.submit(gate)
    queue.follow(left).close()
    gate.let(1000)
    assert isinstance(end(queue, left), Result)
