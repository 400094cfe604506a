"""Time and memory of the models on this machine: estimated before a run, learned after it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ldm.canvas.calibration import Calibration, Store
from ldm.canvas.estimate import calibration_of
from ldm.canvas.facts import Facts
from ldm.canvas.plan import Resources
from ldm.events import Estimate, Result
from ldm.runtime.memory import peak_resident, reset_peak, resident
from ldm.tasks.covering import RunContext
from ldm.tasks.estimating import bytes_beside, canvases, expected, pixels

log = logging.getLogger(__name__)


class Machine:
    """The calibrations of the models on this machine.

    Args:
        path: JSON file of the calibrations; None: they are kept in memory only.
        kind: Device and precision; each kind is calibrated separately.
        device: Device whose memory is measured; None: the memory of the process.
    """

    def __init__(self, path: Path | None, kind: str = "", device: Any = None) -> None:
        self.store = Store(path)
        self.kind = kind
        self.device = device
        self._resident: int | None = None  # bytes in use between two runs

    def key(self, name: str) -> str:
        """Return the key of a model in the store."""
        return f"{name}, {self.kind}" if self.kind else name

    def of(self, name: str) -> Calibration | None:
        """Return the calibration of a model; None: there is none."""
        return self.store.get(self.key(name))

    def know(self, name: str, model: Any) -> Calibration:
        """Return the calibration of a loaded model; measure it now if there is none."""
        known = self.of(name)
        if known is None:
            known = calibration_of(model, self.store.on_same(self.key(name)))
            known.rates["rest"] = self.store.times("rest")  # nearly the same for all models
            self.store.put(self.key(name), known)
        self._resident = resident(self.device)
        return known

    def estimate(self, name: str, request: Any, resources: Resources) -> Estimate | None:
        """Estimate a resolved request; None: there is no calibration of its model.

        Raises:
            MemoryBudgetError: If it cannot be made with these resources; says what could.
        """
        known = self.of(name)
        if known is None:
            return None
        found = expected(request, known, _left_of(resources, request))
        now = resident(self.device) if self._resident is None else self._resident
        memory = now + bytes_beside(request) + found.memory
        return Estimate(found.seconds, memory, found.plan.why)

    def watch(self, name: str, model: Any, request: Any, resources: Resources) -> Watch:
        """Begin to measure a run."""
        self._resident = resident(self.device)
        return Watch(self, name, model, request, resources)

    def facts(self, name: str, model: Any) -> Facts:
        """Return the facts of a loaded model."""
        known = self.of(name) or self.know(name, model)
        return known.facts


class Watch:
    """One run: its estimate, and the time and memory that it takes."""

    def __init__(
        self, machine: Machine, name: str, model: Any, request: Any, resources: Resources
    ) -> None:
        self.machine, self.name, self.model, self.request = machine, name, model, request
        self.context = RunContext(self._facts, _left_of(resources, request))
        known = machine.of(name)
        self.estimate = known and machine.estimate(name, request, resources)
        reset_peak(machine.device)
        self._begin = time.perf_counter()

    def _facts(self) -> Facts:
        """Return the facts of the model; measuring them does not count as time of the run."""
        with self.paused():
            return self.machine.facts(self.name, self.model)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time spent in the context, such as that of whoever reads the events."""
        begin = time.perf_counter()
        yield
        self._begin += time.perf_counter() - begin

    def finished(self, result: Result) -> Result:
        """Return the result with the notes, the estimate and the peak memory of the run."""
        self.seconds = time.perf_counter() - self._begin
        return replace(
            result,
            notes=(*result.notes, *self.context.notes, *self._resumed()),
            estimate=None if self.context.resumed else self.estimate,
            memory_bytes=peak_resident(self.machine.device),
        )

    def _resumed(self) -> list[str]:
        if self.context.resumed:
            return ["It went on after step {} of {}.".format(*self.context.resumed[-1])]
        was_there = self.context.bookmark is not None and self.context.bookmark.was_there
        return ["What was kept of it could not be used; it began anew."] * was_there

    def learn(self, event: Any) -> None:
        """Add the times of the run to the calibration, given its last event."""
        is_known = self.machine.of(self.name) is not None
        if not (isinstance(event, Result) and is_known and self.context.is_usual):
            return
        try:
            self._learn()
        except Exception:  # the pictures are made and saved: nothing may spoil them now
            log.exception("nothing was learned of %s", self.name)

    def _learn(self) -> None:
        known = self.machine.know(self.name, self.model)
        networks = 0.0
        for timing in self.context.timings:
            work = known.facts.operations(timing.part, timing.pictures, timing.cells, timing.passes)
            known.learn(timing.part, work, timing.seconds)
            networks += timing.seconds * timing.times
        made = pixels(self.request, known.facts, canvases(self.request, known.facts))
        known.learn("rest", made, self.seconds - networks)
        self.machine.store.put(self.machine.key(self.name), known)


def _left_of(resources: Resources, request: Any) -> Resources:
    """Return the resources for a request's canvases: what it holds beside them is taken off."""
    return replace(resources, memory=max(0, resources.memory - bytes_beside(request)))
