"""What is kept of jobs that are over."""

from types import SimpleNamespace

import numpy as np

from ldm.events import Progress, Queued, Result
from ldm.jobs import job as module
from ldm.jobs.job import Job, forgotten, published

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


def test_saved_pictures_are_left_to_their_files():
    (job,) = jobs_of(Queued(0))
    assert published(job, SAVED) == Result((), (), paths=("a.png",))
    unsaved = Result((), (PIXELS,))
    assert published(job, unsaved) is unsaved


def test_pictures_of_a_comparison_count_once_and_those_it_made_smaller_too():
    """Its request holds the one it was given; its pictures may have begun from smaller ones."""
    given, fitted = (SimpleNamespace(png=bytes(size)) for size in (100, 30))
    request = SimpleNamespace(image=given)
    comparison = SimpleNamespace(request=request)
    made = SimpleNamespace(image=fitted)
    event = Result((comparison, made, made, request), ())
    assert Job("1", comparison, event).request_bytes == 130
