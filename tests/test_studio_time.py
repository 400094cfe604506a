"""What is left of a run, told from the time that its steps took."""

import itertools

from ldm.events import Progress
from ldm.studio import timing


def test_the_time_left_is_measured(monkeypatch):
    """At one second a step, what is left of ten steps after two of them is eight seconds."""
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    events = (Progress("sampling", step, 10) for step in (1, 2))
    timed = list(timing.timed(events, begin=0))
    assert [event.seconds_left for event in timed] == [9, 8]


def test_the_time_left_begins_anew_with_another_canvas(monkeypatch):
    """Ten small steps took a second each, the two large ones take a hundred."""
    clock = iter([0, *range(1, 11), 20, 120, 220])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    small = [Progress("sampling", step, 12) for step in range(1, 11)]
    large = [Progress("enlarging"), *(Progress("sampling", step, 12) for step in (10, 11))]
    *_, enlarging, first, second = timing.timed(iter([*small, *large]), begin=0)
    assert (enlarging.seconds_left, first.seconds_left) == (None, None)
    assert second.seconds_left == 100


def test_no_less_is_left_than_was_expected(monkeypatch):
    """Two quick steps know nothing of a decode that takes most of the time."""
    clock = iter([30, 31, 32, 33, 82, 90])  # it was loaded in 30 s
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    steps = [Progress("sampling", step, 2) for step in range(3)]
    events = [*steps, Progress("decoding", 2, 2), Progress("decoding", 2, 2)]
    timed = timing.timed(iter(events), begin=0, expected=50.0)
    assert [event.seconds_left for event in timed] == [49, 48, 47, 0, 0]


def test_what_is_left_follows_slow_and_quick_steps_by_and_by(monkeypatch):
    """A step of 1 s and one of 9 s in turn: from the speed alone 99 s were left, then 490."""
    times = [0, *(10 * pair + more for pair in range(25) for more in (1, 10))]
    clock = iter(times)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    events = (Progress("sampling", step, 100) for step in range(1, len(times)))
    left = [event.seconds_left for event in timing.timed(events, begin=0, expected=400.0)]
    rises = [after - before for before, after in itertools.pairwise(left)]
    assert max(rises) < 5
    assert left[0] < 405
    assert 190 < left[-1] < 250  # half of what was expected to be left, half of what its speed says


def test_a_run_that_goes_on_is_timed_from_where_it_does(monkeypatch):
    clock = iter([0, 1, 2, 3])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    events = (Progress("sampling", step, 60) for step in (50, 51, 52))
    timed = list(timing.timed(events, begin=0, is_resumed=True))
    assert [event.seconds_left for event in timed] == [None, 9, 8]
