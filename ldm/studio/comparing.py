"""Running a comparison: its pictures one after the other, then a sheet of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ldm.errors import LDMError
from ldm.events import Estimate, Progress, Result
from ldm.images.sheet import sheet, shrunk_to
from ldm.outputs.titles import axis_said, headline
from ldm.requests.comparison import Comparison

Run = Callable[[Any], Iterator[Progress | Result]]


def compared(
    comparison: Comparison, run: Run, save: Callable[[np.ndarray, Result], Path]
) -> Iterator[Progress | Result]:
    """Make all pictures of a comparison; closing the iterator stops the work within a step.

    Args:
        comparison: The comparison.
        run: Runs one request and saves its picture, see `ldm.studio.Studio.run`.
        save: Saves the sheet, given its pixels and the first picture's result; returns its path.

    Yields:
        Progress counted in pictures, then one Result: first the sheet, whose request is the
        comparison, then the pictures, row by row. Its only image is the sheet; the pictures, which
        may be many and large, are in their files. After an error, the Result holds the pictures
        made before it, with a note and no sheet; `kept` of a Progress is such a Result, too.

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
                        images.append(shrunk_to(event.images[0], len(rows), len(rows[0])))
                        made.append(replace(event, images=()))
                        seconds = time.perf_counter() - begin
                        yield _progress(Progress("sampling"), made, len(requests), seconds)
                    else:
                        yield _progress(event, made, len(requests), time.perf_counter() - begin)
        image = sheet_of(comparison, images, [result.requests[0] for result in made])
        path = save(image, made[0])
    except (LDMError, MemoryError) as error:
        if not made:
            raise
        why = "there is not enough memory" if isinstance(error, MemoryError) else str(error)
        yield _without_sheet(made, len(requests), time.perf_counter() - begin, why)
        return
    result = _result(made, time.perf_counter() - begin)
    if len(images) > 1 and all(np.array_equal(image, images[0]) for image in images):
        verb = "change" if comparison.down else "changes"
        note = f"All are the same: {comparison.fields()} {verb} nothing here."
        result = replace(result, notes=(*result.notes, note))
    yield replace(
        result,
        requests=(comparison, *result.requests),
        images=(image,),
        paths=(path, *result.paths),
    )


def expected(comparison: Comparison, of: Callable[[Any], Estimate | None]) -> Estimate | None:
    """Estimate all pictures, each by `of`: summed time, largest memory, all notes; None: one is
    not known.

    The sheet itself takes little and is not counted.
    """
    found = [of(request) for row in comparison.rows() for request in row]
    if any(one is None or one.seconds is None for one in found):
        return None
    worst = max(found, key=lambda one: one.memory_bytes)
    notes = dict.fromkeys(note for one in found for note in one.notes)
    return replace(worst, seconds=sum(one.seconds for one in found), notes=tuple(notes))


def _result(made: list[Result], seconds: float) -> Result:
    """Combine several results into one, without their images, which are in their files."""
    return Result(
        requests=tuple(result.requests[0] for result in made),
        images=(),
        seconds=seconds,
        notes=tuple(dict.fromkeys(note for result in made for note in result.notes)),
        paths=tuple(result.paths[0] for result in made),
        memory_bytes=max(result.memory_bytes or 0 for result in made) or None,
    )


def _without_sheet(made: list[Result], total: int, seconds: float, why: str = "") -> Result:
    """Return the pictures alone; `why` is the sentence of the error that ended the comparison."""
    result = _result(made, seconds)
    note = f"{len(made)} of {total} pictures were made, and no sheet" + (f": {why}" if why else ".")
    return replace(result, notes=(*result.notes, note))


def sheet_of(comparison: Comparison, images: list[np.ndarray], requests: list[Any]) -> np.ndarray:
    """Draw the pictures of a comparison on one sheet.

    Args:
        comparison: The comparison.
        images: Its pictures, row by row and small enough.
        requests: The request of each, with all settings filled in.
    """
    width = len(comparison.across.values)
    rows = [images[start : start + width] for start in range(0, len(images), width)]
    above, *beside = (comparison.labels(axis, axis_said) for axis in comparison.axes)
    title = headline(requests, {axis.name for axis in comparison.axes})
    return sheet(rows, above, *beside, title=title)


def _progress(event: Progress, made: list[Result], total: int, seconds: float) -> Progress:
    """Return the progress of the whole comparison, given that of one of its pictures.

    The time left is extrapolated from the finished pictures; it is unknown during the first one,
    whose model may have to be loaded.
    """
    if not made and not event.total:
        return replace(event, seconds=seconds)
    is_begun = event.total and event.stage != "inverting"  # its steps come before all others
    share = event.step / event.total if is_begun else 0.0
    done = len(made) + (1.0 if event.stage == "decoding" else share)  # only the decode is left
    left = seconds / done * (total - done) if made else None
    kept = _without_sheet(made, total, seconds) if made else None
    return Progress("comparing", len(made), total, seconds, left, event.preview, kept)
