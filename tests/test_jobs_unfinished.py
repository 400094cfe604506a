"""What a job says of a run that can go on, and whether somebody is at it."""

import threading

import pytest

from ldm.errors import LDMError
from ldm.events import Cancelled, Failed, Progress, Result, Unfinished
from tests.gate import WAIT, end, quick, wait_until

UNFINISHED = Unfinished("it", 1, 3)


class Half:
    """A request that has come to its first step, and goes on when it is let."""

    def __init__(self):
        self.is_there, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self):
        yield Progress("sampling", 1, 3, unfinished=UNFINISHED)
        self.is_there.set()
        assert self.may_go_on.wait(WAIT)
        yield Progress("sampling", 2, 3, unfinished=UNFINISHED)
        yield Result((), ())


@pytest.fixture
def half(queue):
    request = Half()
    request.id = queue.submit(request)
    assert request.is_there.wait(WAIT)
    yield request
    request.may_go_on.set()


def test_a_cancelled_run_says_what_can_go_on(queue, half):
    queue.cancel(half.id)
    half.may_go_on.set()
    assert end(queue, half.id) == Cancelled(UNFINISHED)


def test_a_failed_run_says_what_can_go_on(queue):
    def request():
        yield Progress("sampling", 1, 3, unfinished=UNFINISHED)
        raise LDMError("enough.")

    assert end(queue, queue.submit(request)) == Failed("enough.", UNFINISHED)


def test_what_is_not_kept_cannot_go_on(queue, half, monkeypatch):
    monkeypatch.setattr("tests.gate.FakeStudio.resumable", lambda self, event: None)
    queue.cancel(half.id)
    half.may_go_on.set()
    assert end(queue, half.id) == Cancelled()


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_an_end_is_told_even_if_what_is_left_cannot_be_found_out(
    queue, half, monkeypatch, is_cancelled
):
    def broken(*_):
        raise PermissionError(13, "denied")

    def failing():
        yield Progress("sampling", 1, 3, unfinished=UNFINISHED)
        raise LDMError("enough.")

    monkeypatch.setattr("tests.gate.FakeStudio.resumable", broken)
    if is_cancelled:
        queue.cancel(half.id)
    half.may_go_on.set()
    assert end(queue, half.id) == (Cancelled() if is_cancelled else Result((), ()))
    assert end(queue, queue.submit(failing)) == Failed("enough.")
    assert end(queue, queue.submit(quick)) == Result((), ())


def test_it_is_known_what_is_at_work_or_waits(queue, half):
    queue.submit(quick)
    assert all(map(queue.is_busy_with, ("it", half, quick)))
    assert not queue.is_busy_with("other")
    half.may_go_on.set()
    end(queue, half.id)
    wait_until(lambda: not queue.is_busy_with("it"))
