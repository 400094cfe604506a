"""What is kept of jobs that are over."""

from types import SimpleNamespace

import numpy as np
import pytest

from ldm import job as module
from ldm.events import Progress, Queued, Result
from ldm.job import Job, forgotten

PIXELS = np.zeros((4, 5, 3), np.uint8)  # 60 bytes
SAVED = Result((), (PIXELS,), paths=("a.png",))


def jobs_of(*events, sent=0):
    """Jobs in this order, the oldest first, whose requests hold so many bytes of a picture."""
    request = SimpleNamespace(image=SimpleNamespace(png=bytes(sent)), prompt="a lake")
    return [Job(str(number), request, event) for number, event in enumerate(events)]


def test_jobs_with_large_pictures_are_forgotten_sooner(monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 250)
    jobs = jobs_of(*[SAVED] * 4, sent=100)
    assert forgotten(jobs) == [jobs[1], jobs[0]]
    monkeypatch.setattr(module, "KEPT_BYTES", 50)
    assert forgotten(jobs) == [jobs[2], jobs[1], jobs[0]]  # the last one's page may still ask


def test_jobs_that_are_not_over_are_neither_forgotten_nor_counted(monkeypatch):
    monkeypatch.setattr(module, "KEPT_JOBS", 1)
    jobs = jobs_of(SAVED, Progress("sampling", 1, 2), SAVED, Queued(1))
    assert forgotten(jobs) == [jobs[0]]


@pytest.mark.parametrize(
    ("limit", "value", "kept"),
    [("KEPT_RESULTS", 2, 2), ("KEPT_RESULT_BYTES", 130, 2), ("KEPT_RESULT_BYTES", 10, 1)],
)
def test_pictures_of_older_jobs_are_left_to_their_files(monkeypatch, limit, value, kept):
    monkeypatch.setattr(module, limit, value)
    jobs = jobs_of(*[SAVED] * 5)
    assert forgotten(jobs) == []
    assert [len(job.event.images) for job in jobs] == [0] * (5 - kept) + [1] * kept
    assert all(job.event.paths == ("a.png",) for job in jobs)


def test_pictures_that_were_not_saved_are_kept(monkeypatch):
    monkeypatch.setattr(module, "KEPT_RESULTS", 1)
    jobs = jobs_of(Result((), (PIXELS,)), SAVED)
    forgotten(jobs)
    assert len(jobs[0].event.images) == 1
