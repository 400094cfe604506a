"""Estimates of run time on this machine, learned from tiny runs and from every finished run.

A network's time is its number of floating-point operations divided by a rate, which depends on how
much work there is at once. So times are stored with the amount of work and interpolated.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldm.canvas.facts import Bands, Facts, Line, Work
from ldm.canvas.plan import Canvas, Plan
from ldm.files import put_in_place

KEPT = 16  # times that are kept per part
NEAR = 1.15  # amounts of work whose ratio is below this share one time
TRUST = 0.5  # weight of a new time against the stored one
DOUBT = 0.15  # the same for one that took over SLOW times as long: another program may have run
SLOW = 2.0
LONGEST = 0.2  # seconds: after a run that takes longer, no larger size is calibrated
REST = (0.02, 3e-7)  # default time outside of the networks: seconds per request and per px
ON = " on "  # in a name: the model on its first stage
log = logging.getLogger(__name__)


@dataclass
class Rates:
    """Measured times of one part: (work, seconds) pairs, the latest last."""

    times: list[tuple[float, float]] = field(default_factory=list)

    def seconds(self, work: float) -> float | None:
        """Estimate the time of an amount of work; None if nothing was measured.

        The rate is interpolated log-log between the two nearest times; beyond the largest work its
        rate holds; below the smallest, the time falls with the square root of the work.
        """
        if not self.times:
            return None
        times = sorted(self.times)
        rates = [(math.log(w), s / w) for w, s in times]
        at = math.log(work)
        if at <= rates[0][0]:  # with little work the device is not busy, so time falls slowly
            return max(work * rates[0][1], times[0][1] * (work / times[0][0]) ** 0.5)
        for (low, slow), (high, fast) in zip(rates, rates[1:], strict=False):
            if at <= high:
                share = (at - low) / (high - low)
                return work * math.exp((1 - share) * math.log(slow) + share * math.log(fast))
        return work * rates[-1][1]

    def learn(self, work: float, seconds: float) -> None:
        """Record a time; it is averaged with a stored one of nearly the same work (see NEAR).

        Beyond `KEPT` of them, the oldest is dropped.
        """
        near = (time for time in self.times if 1 / NEAR < work / time[0] < NEAR)
        if (before := next(near, None)) is not None:
            self.times.remove(before)
            new, old = seconds / work, before[1] / before[0]
            trust = DOUBT if new > SLOW * old else TRUST
            seconds = work * (trust * new + (1 - trust) * old)
        self.times = [*self.times, (work, seconds)][-KEPT:]


@dataclass
class Calibration:
    """What was measured of one model on this machine."""

    facts: Facts
    rates: dict[str, Rates]  # work is operations for "unet" and "decoder", px for "rest"

    def seconds(self, canvas: Canvas, steps: int, plan: Plan) -> float | None:
        """Estimate the seconds of UNet and decoder for a canvas; None: nothing measured yet."""
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
            if canvas.inverts:  # one picture, without guidance
                step += canvas.inverts * self._of("unet", facts.operations("unet", 1, seen, 1))
            unet, decoder = unet + times * steps * views * step, decoder + times * decode
        return unet + decoder

    def rest(self, pixels: int) -> float:
        """Estimate the seconds outside of the networks, for `pixels` px that are read and made."""
        known = self._of("rest", pixels)
        return REST[0] + REST[1] * pixels if known is None else known

    def _of(self, part: str, work: float) -> float | None:
        rates = self.rates.get(part)
        return None if rates is None or work <= 0 else rates.seconds(work)

    def learn(self, part: str, work: float, seconds: float) -> None:
        """Record the time that a part of a finished run took."""
        if work > 0 and seconds > 0:
            self.rates.setdefault(part, Rates()).learn(work, seconds)


def calibrate(
    facts: Facts, runs: Mapping[str, Callable[[int], Any]], side: int, unseen: int = 0
) -> Calibration:
    """Time each network on squares of three doubling sides, stopping after a run over LONGEST.

    Args:
        facts: Facts of the model.
        runs: "unet" and "decoder" -> function that runs the network whole on a square of the given
            side in cells and waits until it has finished.
        side: The smallest side, in cells.
        unseen: Warm-up runs of each size before the timed ones.
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
    """Return the seconds of the faster of two runs."""
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


class Store:
    """Calibrations by name, in a JSON file or in memory only.

    Args:
        path: The file; if it cannot be read, it is started anew. None: in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, Calibration] | None = None

    def get(self, name: str) -> Calibration | None:
        """Return the calibration stored under a name; None: there is none."""
        if self._known is None:
            self._known = {} if self.path is None else _read(self.path)
        return self._known.get(name)

    def on_same(self, name: str) -> Calibration | None:
        """Return the calibration of any model on the same first stage; None: there is none.

        Names agree from the last `ON`: in the hash of the first stage and, after it, in the device
        and precision that `Machine.key` adds.
        """
        self.get(name)
        _, on, stage = name.rpartition(ON)
        made = (made for other, made in self._known.items() if other.endswith(on + stage))
        return next(made, None) if on else None

    def times(self, part: str) -> Rates:
        """Pool the times of a part over all models, for a part that hardly depends on the model."""
        self.get("")
        pooled = Rates()
        for made in self._known.values():
            for work, seconds in made.rates.get(part, Rates()).times:
                pooled.learn(work, seconds)
        return pooled

    def put(self, name: str, made: Calibration) -> None:
        """Store a calibration; if the file cannot be written, it is kept in memory only."""
        self.get(name)
        self._known[name] = made
        if self.path is None:
            return
        text = json.dumps({key: dataclasses.asdict(value) for key, value in self._known.items()})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            beside.write_text(text, "utf-8")
            put_in_place(beside, self.path)
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
