"""What a training run tells about itself while it runs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ldm.training.config import TrainConfig

log = logging.getLogger(__name__)


class Stats:
    """Writes means of the logged terms every `log_every` steps, as JSON and to the log."""

    def __init__(self, path: Path, config: TrainConfig, enabled: bool) -> None:
        self.path = path
        self.config = config
        self.enabled = enabled
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.since = time.perf_counter()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(
        self, step: int, terms: dict[str, Tensor], rate: float, compared: dict[str, float]
    ) -> None:
        """Add the terms of one step; the device is synchronised only when a line is written.

        One is written for what was `compared`, too.
        """
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += 1
        is_due = step % self.config.log_every == 0 or step == self.config.steps
        if self.enabled and (is_due or compared):
            self._write(step, rate, compared)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of the speed what is done meanwhile."""
        begin = time.perf_counter()
        yield
        self.since += time.perf_counter() - begin

    def _write(self, step: int, rate: float, compared: dict[str, float]) -> None:
        seconds = time.perf_counter() - self.since
        images = self.count * self.config.batch_size * self.config.accumulate
        line = {"step": step, "images_per_second": round(images / seconds, 2), "rate": rate}
        line |= {name: float(total) / self.count for name, total in self.sums.items()}
        line |= compared
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        about = "  ".join(f"{name} {value:.4g}" for name, value in line.items() if name != "step")
        log.info("step %d / %d  %s", step, self.config.steps, about)
        self.sums, self.count, self.since = {}, 0, time.perf_counter()
