"""Whose turn it is, when it comes, and what a page that many share does not let in."""

import random
from dataclasses import replace

import pytest

from ldm import jobs as module
from ldm.errors import RequestError
from ldm.events import Cancelled, Estimate, Failed, Progress, Queued, Result, Unfinished
from ldm.jobs import JobQueue, runner
from ldm.jobs.job import Job
from ldm.jobs.line import ANYTHING, Limits, Line
from ldm.requests import TextToImage
from ldm.requests.comparison import Axis, Comparison
from tests.gate import WAIT, FakeStudio, Gate, end, quick, wait_until


def job(owner="", seconds=None, event=None):
    return Job("", None, event or Queued(0), owner, seconds)


def line_of(*owners, limits=ANYTHING):
    line = Line(limits)
    for owner in owners:
        line.add(job(owner))
    return line


def served(line):
    return "".join(line.pop().owner for _ in range(len(line)))


def test_the_jobs_of_one_owner_keep_their_order():
    line, jobs = Line(ANYTHING), [job("a", seconds) for seconds in range(5)]
    for one in jobs:
        line.add(one)
    assert [line.pop() for _ in jobs] == jobs


@pytest.mark.parametrize(
    ("came", "order"),
    [("aaaab", "abaaa"), ("aaabbc", "abcaba"), ("abcabc", "abcabc"), ("aaaabbbb", "abababab")],
)
def test_owners_take_turns(came, order):
    line = line_of(*came)
    assert "".join(one.owner for one in line) == order  # as the waiting ones are told
    assert served(line) == order


def test_who_comes_while_a_turn_is_taken_comes_after_it():
    line = line_of(*"aaa")
    line.pop()
    line.add(job("b"))
    assert served(line) == "baa"
    line.add(job("a"))
    line.add(job("b"))
    assert served(line) == "ba"


def test_who_had_a_turn_in_this_round_comes_after_who_had_none():
    line = line_of(*"ab")
    line.pop()
    line.pop()
    line.add(job("a"))
    line.add(job("c"))
    assert served(line) == "ca"


def test_nobody_waits_for_ever_while_new_ones_come():
    line = line_of(*"aa")
    for i in range(100):
        line.add(job(f"new {i}"))
        if line.pop().owner == "a" and not any(one.owner == "a" for one in line):
            break
    assert i < 5


def test_what_was_taken_out_does_not_cost_a_turn():
    line = line_of(*"aaaaa")
    for one in line:
        line.remove(one)
    line.add(job("b"))
    line.add(job("b"))
    line.add(job("a"))
    assert served(line) == "bab"


def test_who_takes_the_first_of_several_out_keeps_their_turns():
    line = line_of(*"aaaaaa")
    for one in [*line][:5]:
        line.remove(one)
    for _ in range(3):
        line.add(job("b"))
    assert served(line) == "abbb"


def test_all_that_comes_is_served_once():
    rng, line, came, gone = random.Random(0), Line(ANYTHING), [], []
    for _ in range(500):
        if len(line) and rng.random() < 0.5:
            gone.append(line.pop())
        elif len(line) < 50:
            came.append(job(rng.choice("abcd")))
            line.add(came[-1])
    gone += [line.pop() for _ in range(len(line))]
    assert sorted(map(id, gone)) == sorted(map(id, came))
    for owner in "abcd":
        own = [one for one in came if one.owner == owner]
        assert [one for one in gone if one.owner == owner] == own


def test_a_waiting_job_is_told_when_its_turn_comes():
    line = Line(ANYTHING)
    for seconds in (12.0, None, 5.0):
        line.add(job("a", seconds))
    told = [place for _, place in line.places(job(seconds=33.0))]
    assert told == [Queued(1, 35.0), Queued(2, 45.0), Queued(3)]  # the second may take any time
    running = job(seconds=33.0, event=Progress("sampling", 3, 4, seconds_left=4.0))
    assert next(line.places(running))[1] == Queued(1, 5.0)  # the run itself knows better
    assert [place for _, place in line.places(None)] == [Queued(0), Queued(1, 15.0), Queued(2)]


def test_one_owner_has_so_many_places():
    line = line_of(*"aab", limits=Limits(waiting=2))
    with pytest.raises(RequestError, match=r"^2 of your jobs are waiting already"):
        line.add(job("a"))
    line.add(job("b"))
    line.pop()
    line.add(job("a"))


class Slow(Gate):
    def __init__(self, seconds, steps=3):
        super().__init__(steps)
        self.estimate = Estimate(seconds, 0, "whole")


@pytest.fixture
def shared():
    """A queue whose runs may take ten minutes."""
    queue = JobQueue(FakeStudio, Limits(seconds=600.0))
    yield queue
    queue.close()


def test_what_would_take_too_long_is_refused_at_once(shared):
    end(shared, shared.submit(quick))
    says = "this takes about 2.0 h and runs here may take 10 min; fewer pixels, pictures or steps"
    with pytest.raises(RequestError, match=says):
        shared.submit(Slow(7200))
    with pytest.raises(RequestError, match=says):
        shared.estimate(type("Request", (), {"preset": "", "estimate": Estimate(7200, 0, "")}))
    gate = Slow(600)
    gate.let(3)
    assert isinstance(end(shared, shared.submit(gate)), Result)


def test_what_would_take_too_long_is_refused_when_its_model_is_loaded(shared):
    gate = Slow(7200)
    job_id = shared.submit(gate)  # there is no studio yet that could tell
    told = end(shared, job_id)
    assert isinstance(told, Failed)
    assert "about 2.0 h" in told.message
    assert gate.closed.wait(WAIT)


def test_a_comparison_is_refused_for_what_is_known_of_it(shared, monkeypatch):
    """The other models of it are measured when they are first used, which may be never."""
    end(shared, shared.submit(quick))

    def estimate(_, request):
        known = not isinstance(request, Comparison) and request.preset != "new"
        return Estimate(400.0, 0, "whole") if known else None

    monkeypatch.setattr(FakeStudio, "estimate", estimate)
    about = TextToImage(prompt="x"), Axis("preset", ("new", "demo-text-to-image"))
    with pytest.raises(RequestError, match="this takes about 13 min and runs here may take 10"):
        shared.submit(Comparison(*about, Axis("seed", (1, 2))))
    assert isinstance(end(shared, shared.submit(Comparison(*about))), Failed)  # it was let in


def test_a_run_that_takes_much_longer_than_any_may_ends_if_others_wait(shared, monkeypatch):
    gate, now = Gate(4), [0.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    job_id = shared.submit(gate)
    assert gate.started.wait(WAIT)
    now[0] = 1000.0
    gate.let(1)
    wait_until(lambda: shared.status(job_id) == Progress("sampling", 1, 4))  # nobody waits
    own, waiting = shared.submit(quick), shared.submit(quick, "another")
    now[0] = 899.0
    gate.let(1)
    wait_until(lambda: shared.status(job_id) == Progress("sampling", 2, 4))
    now[0] = 901.0
    gate.let(1)
    told = end(shared, job_id)
    assert isinstance(told, Failed)
    assert told.message == "others wait, and this has taken 15 min."
    assert isinstance(end(shared, waiting), Result)
    assert isinstance(end(shared, own), Result)


def test_whoever_waits_behind_a_run_of_their_own_is_in_no_hurry(shared, monkeypatch):
    gate, now = Gate(2), [0.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    job_id = shared.submit(gate)
    assert gate.started.wait(WAIT)
    shared.submit(quick)
    now[0] = 1000.0
    gate.let(2)
    assert isinstance(end(shared, job_id), Result)


class Saving(FakeStudio):
    """Keeps what a run has done when it is closed, as the studio does."""

    kept = False

    def run(self, request):
        try:
            yield from request()
        finally:
            self.kept = True

    def resumable(self, event):
        return Unfinished(None, 1, 4) if self.kept else None


def overtime(gate, monkeypatch):
    """The end of a run that has taken too long at its first step, while another one waits."""
    queue, now = JobQueue(Saving, Limits(seconds=1.0)), [0.0]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    job_id = queue.submit(gate)
    assert gate.started.wait(WAIT)
    queue.submit(quick, "another")
    now[0] = 100.0
    gate.let(1)
    told = end(queue, job_id)
    queue.close()
    return told


def test_a_run_that_ends_for_the_others_can_go_on(monkeypatch):
    told = overtime(Gate(4), monkeypatch)
    assert told == Failed("others wait, and this has taken 2 min.", Unfinished(None, 1, 4))


def test_what_it_has_made_is_its_result(monkeypatch):
    kept = Result(("a request",), ())

    class Made(Gate):
        def __call__(self):
            for event in super().__call__():
                yield replace(event, kept=kept) if isinstance(event, Progress) else event

    told = overtime(Made(4), monkeypatch)
    assert told.requests == kept.requests
    assert told.notes == ("Only one picture was made: others wait, and this has taken 2 min.",)


# runs whose answers nobody reads


def test_a_run_gives_way_whose_answers_are_not_read(queue, monkeypatch):
    monkeypatch.setattr("ldm.jobs.job.PATIENCE", 0.0)
    gate, is_read = Gate(3), [True]
    unread = queue.submit(gate)
    events = queue.follow(unread, is_heard=lambda: is_read[0])
    gate.let(1)
    while next(events) != Progress("sampling", 1, 3):
        pass
    waiting = queue.submit(quick)
    monkeypatch.setattr("ldm.jobs.job.PATIENCE", 60.0)
    gate.let(1)
    while next(events) != Progress("sampling", 2, 3):
        pass
    is_read[0] = False
    follower = queue.follow(waiting)
    next(follower)
    monkeypatch.setattr("ldm.jobs.job.PATIENCE", 0.0)
    gate.let(1)
    assert isinstance(end(queue, waiting), Result)
    assert queue.status(unread) == Cancelled()


def test_a_waiting_job_that_nobody_reads_is_passed_over(queue, busy, monkeypatch):
    monkeypatch.setattr("ldm.jobs.job.PATIENCE", 0.0)
    gate = Gate(1)
    unread, waiting = queue.submit(gate), queue.submit(quick)
    follower = queue.follow(waiting)
    next(follower)
    queue.cancel(busy.id)
    busy.let(1)
    assert isinstance(end(queue, waiting), Result)
    assert queue.status(unread) == Cancelled()
    assert not gate.started.is_set()


def test_a_follower_of_a_job_that_waits_can_be_closed(queue, busy, monkeypatch):
    """Whoever closes the iterator can do so only between two events."""
    monkeypatch.setattr(module, "REPEAT", 0.01)
    events = queue.follow(queue.submit(quick))
    assert [next(events), next(events), next(events)] == [Queued(1)] * 3
