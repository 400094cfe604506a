"""Running a comparison: its pictures one after the other, then a sheet of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ldm.comparison import Comparison
from ldm.events import Progress, Result
from ldm.sheet import fitted, sheet

Run = Callable[[Any], Iterator[Progress | Result]]


def compared(
    comparison: Comparison, run: Run, save: Callable[[np.ndarray], Path]
) -> Iterator[Progress | Result]:
    """Make all pictures; closing the iterator stops the work within a step.

    Args:
        comparison: What is compared.
        run: Meets one request, see `ldm.studio.Studio.run`. What it has saved stays, whatever
            comes after it.
        save: Writes the sheet; gives its path.

    Yields:
        Progress in pictures, then one Result: the sheet, whose request is the comparison, and the
        pictures, row by row. Its only image is the sheet: as many others may be large, and they
        are in their files.
    """
    begin, made, images = time.perf_counter(), [], []
    rows = comparison.rows()
    requests = [request for row in rows for request in row]
    for request in requests:
        with closing(run(request)) as events:
            for event in events:
                if isinstance(event, Result):
                    images.append(fitted(event.images[0], len(rows), len(rows[0])))
                    made.append(replace(event, images=()))
                else:
                    yield _progress(event, len(made), len(requests), time.perf_counter() - begin)
    image = sheet_of(comparison, images)
    yield Result(
        requests=(comparison, *(result.requests[0] for result in made)),
        images=(image,),
        seconds=time.perf_counter() - begin,
        notes=tuple(dict.fromkeys(note for result in made for note in result.notes)),
        paths=(save(image), *(result.paths[0] for result in made)),
        memory_bytes=max((result.memory_bytes or 0 for result in made), default=0) or None,
    )


def sheet_of(comparison: Comparison, images: list[np.ndarray]) -> np.ndarray:
    """The pictures of a comparison, row by row and small enough, on one sheet."""
    width = len(comparison.across.values)
    rows = [images[start : start + width] for start in range(0, len(images), width)]
    above, *beside = map(comparison.labels, comparison.axes)
    return sheet(rows, above, *beside, title=comparison.title())


def _progress(event: Progress, done: int, total: int, seconds: float) -> Progress:
    """Of all pictures. The time that is left is told by those that are done; the model of the
    first has to be loaded."""
    share = event.step / event.total if event.total and event.stage != "decoding" else 0.0
    left = seconds / (done + share) * (total - done - share) if done else None
    return Progress("comparing", done, total, seconds, left, event.preview)
