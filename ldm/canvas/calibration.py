"""How fast this machine is with a model: learned from tiny runs and from every finished one.

A network's time is its floating-point operations over a rate, and the rate depends on how much
there is to do at once; so times are kept beside the amount of work and read between them.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldm.canvas.facts import Bands, Facts, Line, Work
from ldm.canvas.plan import Canvas, Plan

KEPT = 16  # times per part
NEAR = 1.15  # works whose ratio is below it share a time
TRUST = 0.5  # of a new time against the kept one
LONGEST = 0.2  # seconds: a calibration goes no further
REST = (0.02, 3e-7)  # seconds of a request and per px, but for the networks, until it is known
log = logging.getLogger(__name__)


@dataclass
class Rates:
    """How long work has taken: (operations, seconds), the latest measurement last."""

    times: list[tuple[float, float]] = field(default_factory=list)

    def seconds(self, work: float) -> float | None:
        """For so much work: the rate between the two nearest times, beyond them the nearest's."""
        if not self.times:
            return None
        times = sorted(self.times)
        rates = [(math.log(w), s / w) for w, s in times]
        at = math.log(work)
        if at <= rates[0][0]:  # little work takes as long as a little more
            return max(work * rates[0][1], times[0][1] * (work / times[0][0]) ** 0.5)
        for (low, slow), (high, fast) in zip(rates, rates[1:], strict=False):
            if at <= high:
                share = (at - low) / (high - low)
                return work * math.exp((1 - share) * math.log(slow) + share * math.log(fast))
        return work * rates[-1][1]

    def learn(self, work: float, seconds: float) -> None:
        """Add a measurement; one of about as much work is averaged in, the oldest go."""
        near = (time for time in self.times if 1 / NEAR < work / time[0] < NEAR)
        if (before := next(near, None)) is not None:
            self.times.remove(before)
            seconds = work * (TRUST * seconds / work + (1 - TRUST) * before[1] / before[0])
        self.times = [*self.times, (work, seconds)][-KEPT:]


@dataclass
class Calibration:
    """What is known of one model on this machine."""

    facts: Facts
    rates: dict[str, Rates]  # "unet" and "decoder" over operations, "rest" over px

    def seconds(self, canvas: Canvas, steps: int, plan: Plan) -> float | None:
        """How long the networks will take for a canvas; None: not known yet."""
        facts, batch, windows = self.facts, plan.batch, plan.windows
        views = len(windows.corners(canvas.rows, canvas.columns)) if windows else 1
        seen = math.prod(windows.size) if windows else canvas.cells
        full, left = divmod(canvas.count, batch)
        unet = decoder = 0.0
        for pictures, times in ((batch, full), (left, 1)):
            if not pictures or not times:
                continue
            step = self._of("unet", facts.operations("unet", pictures, seen, canvas.passes))
            decode = self._of("decoder", facts.operations("decoder", pictures, canvas.cells))
            if step is None or decode is None:
                return None
            unet, decoder = unet + times * steps * views * step, decoder + times * decode
        return unet + decoder

    def rest(self, pixels: int) -> float:
        """How long all but the networks will take, for so many px that are read and made."""
        known = self._of("rest", pixels)
        return REST[0] + REST[1] * pixels if known is None else known

    def _of(self, part: str, work: float) -> float | None:
        rates = self.rates.get(part)
        return None if rates is None or work <= 0 else rates.seconds(work)

    def learn(self, part: str, work: float, seconds: float) -> None:
        """Take in what a part of a finished run took."""
        if work > 0 and seconds > 0:
            self.rates.setdefault(part, Rates()).learn(work, seconds)


def calibrate(
    facts: Facts, runs: dict[str, Callable[[int], Any]], side: int, unseen: int = 0
) -> Calibration:
    """Time each network on squares of growing side, until that takes long.

    Args:
        facts: Of the model.
        runs: "unet" and "decoder": runs it whole on a square of so many cells a side, to its end.
        side: The smallest one, in cells.
        unseen: Runs of each size before those that are timed.
    """
    made = Calibration(facts, {})
    for part, run in runs.items():
        for doublings in range(3):
            cells = side << doublings
            for _ in range(unseen):
                run(cells)
            seconds = _time(lambda run=run, cells=cells: run(cells))
            made.learn(part, facts.operations(part, 1, cells * cells), seconds)
            if seconds > LONGEST:
                break
    return made


def _time(run: Callable[[], Any]) -> float:
    """The shorter of two runs."""
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


class Store:
    """Calibrations by name, in a JSON file or in memory only.

    Args:
        path: A file that cannot be read is begun anew; None: in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, Calibration] | None = None

    def get(self, name: str) -> Calibration | None:
        """What is known under a name."""
        if self._known is None:
            self._known = {} if self.path is None else _read(self.path)
        return self._known.get(name)

    def times(self, part: str) -> Rates:
        """What is known of a part that hardly depends on the model, of all models together."""
        self.get("")
        pooled = Rates()
        for made in self._known.values():
            for work, seconds in made.rates.get(part, Rates()).times:
                pooled.learn(work, seconds)
        return pooled

    def put(self, name: str, made: Calibration) -> None:
        """Keep it; without a disk to write on it is kept until the end."""
        self.get(name)
        self._known[name] = made
        if self.path is None:
            return
        text = json.dumps({key: dataclasses.asdict(value) for key, value in self._known.items()})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            beside.write_text(text, "utf-8")
            beside.replace(self.path)
        except OSError as error:
            log.info("%s is not written: %s", self.path, error)


def _read(path: Path) -> dict[str, Calibration]:
    try:
        values = json.loads(path.read_text("utf-8"))
        return {name: _calibration(value) for name, value in values.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.info("%s is measured anew: %s", path, error)
        return {}


def _calibration(value: dict[str, Any]) -> Calibration:
    kinds = {"Line": Line, "Bands": Bands, "Work": Work, "int": int}
    facts = {
        f.name: kinds[f.type](**value["facts"][f.name])
        if f.type != "int"
        else value["facts"][f.name]
        for f in dataclasses.fields(Facts)
    }
    rates = {
        k: Rates([(float(w), float(s)) for w, s in v["times"]]) for k, v in value["rates"].items()
    }
    return Calibration(Facts(**facts), rates)
