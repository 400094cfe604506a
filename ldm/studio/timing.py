"""The times that a run's events tell: since its beginning, left, and of loading the model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

from ldm.events import Progress, Result

FOLLOWS = 4.0  # s in which two thirds of a change of the time left are told
LONG_LOADING = 3.0  # s from which the result notes how long loading took


def timed(
    events: Iterator[Progress | Result],
    begin: float,
    expected: float | None = None,
    *,
    is_resumed: bool = False,
) -> Iterator[Progress | Result]:
    """Add the seconds since `begin` to the events and, from the speed so far, the seconds left.

    The steps of a small picture predict neither the large one's nor the decode: at least the rest
    of the time `expected` for the whole run is left, and the speed of a stage counts as much as has
    been done of it. In a resumed run, the first event tells the step at which it begins.
    """
    loaded = start = time.perf_counter()  # `expected` does not include loading the model
    first, stage = 0, "" if is_resumed else None
    steady = _Steady()
    for event in events:
        now = time.perf_counter()
        if isinstance(event, Result):
            yield replace(event, seconds=now - begin)
            continue
        if stage not in (None, event.stage):
            start, first = now, event.step  # each stage has its own unit: steps or bands
        stage = event.stage
        done = event.step - first
        left = (now - start) / done * (event.total - event.step) if done > 0 else None
        if event.total and event.step == event.total:
            left = 0.0
        rest = 0.0 if expected is None else max(0.0, expected - (now - loaded))
        if rest:
            sure = done / (event.total - first) if left else 0.0
            left = max(rest, rest + sure * ((left or 0.0) - rest))
        yield replace(event, seconds=now - begin, seconds_left=steady(left, now))


class _Steady:
    """The time left as it is told: it falls with the clock, and follows what is found by and by."""

    def __init__(self) -> None:
        self.told: float | None = None
        self.at = 0.0  # s, when that was

    def __call__(self, left: float | None, now: float) -> float | None:
        """Return what to tell of `left` s; None and 0 are told as they are."""
        if left and self.told:
            falling = max(0.0, self.told - (now - self.at))
            left = falling + (1 - math.exp((self.at - now) / FOLLOWS)) * (left - falling)
        self.told, self.at = left, now
        return left


def with_loading(result: Result, seconds: float) -> Result:
    """Add a note if loading the model took long, which the estimate does not include."""
    if seconds < LONG_LOADING:
        return result
    return replace(result, notes=(*result.notes, f"The model was loaded in {seconds:.0f} s."))
