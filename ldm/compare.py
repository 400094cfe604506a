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
from ldm.errors import LDMError
from ldm.events import Progress, Result
from ldm.sheet import fitted, sheet

Run = Callable[[Any], Iterator[Progress | Result]]


def compared(
    comparison: Comparison, run: Run, save: Callable[[np.ndarray, Result], Path]
) -> Iterator[Progress | Result]:
    """Make all pictures; closing the iterator stops the work within a step.

    Args:
        comparison: What is compared.
        run: Meets one request and saves its picture, see `ldm.studio.Studio.run`.
        save: Writes the sheet, given the first picture's result too; gives its path.

    Yields:
        Progress in pictures, then one Result: the sheet, whose request is the comparison, and the
        pictures, row by row. Its only image is the sheet: as many others may be large, and they
        are in their files. After an error it has the pictures made before, without a sheet, and
        a note.

    Raises:
        LDMError: If the first picture cannot be made.
    """
    begin, made, images = time.perf_counter(), [], []
    rows = comparison.rows()
    requests = [request for row in rows for request in row]
    try:
        for request in requests:
            with closing(run(request)) as events:
                for event in events:
                    if isinstance(event, Result):
                        images.append(fitted(event.images[0], len(rows), len(rows[0])))
                        made.append(replace(event, images=()))
                    else:
                        seconds = time.perf_counter() - begin
                        yield _progress(event, len(made), len(requests), seconds)
        images = [sheet_of(comparison, images)]
        sheets = [(comparison, save(images[0], made[0]))]
        notes = [note for result in made for note in result.notes]
    except (LDMError, MemoryError) as error:
        if not made:
            raise
        sheets, images = [], []
        what = "there is not enough memory" if isinstance(error, MemoryError) else str(error)
        notes = [f"{len(made)} of {len(requests)} pictures were made, and no sheet: {what}"]
    seconds = time.perf_counter() - begin
    yield _result(sheets, images, made, notes, seconds)


def _result(
    sheets: list[tuple[Comparison, Path]],
    images: list[np.ndarray],
    made: list[Result],
    notes: list[str],
    seconds: float,
) -> Result:
    pairs = [*sheets, *((result.requests[0], result.paths[0]) for result in made)]
    requests, paths = zip(*pairs, strict=True)
    return Result(
        requests=requests,
        images=tuple(images),
        seconds=seconds,
        notes=tuple(dict.fromkeys(notes)),
        paths=paths,
        memory_bytes=max(result.memory_bytes or 0 for result in made) or None,
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
    if not done and not event.total:
        return replace(event, seconds=seconds)
    share = event.step / event.total if event.total and event.stage != "decoding" else 0.0
    left = seconds / (done + share) * (total - done - share) if done else None
    return Progress("comparing", done, total, seconds, left, event.preview)
