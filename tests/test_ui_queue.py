"""A visit's jobs, one after the other, without a page."""

from types import SimpleNamespace

import gradio as gr
import pytest

from ldm.errors import RequestError
from ldm.events import Cancelled
from ldm.jobs import job
from tests.gate import Gate, end, quick
from ui import reload, run, stage, waiting
from ui.run import Visit


@pytest.fixture(autouse=True)
def titled(monkeypatch):
    monkeypatch.setattr(run, "title", lambda request: "a gate" if isinstance(request, Gate) else "")


def broken():
    raise RequestError("seed must be <b>.")
    yield


def nothing():
    yield Cancelled()


def a_stage():
    """What a follower needs of a stage; its updates are what it is told of."""
    return SimpleNamespace(
        running=lambda event, visit, previewed: {"running": event},
        ended=lambda event, visit, *_: {"end": event, "busy": visit.job_id is not None},
        told=str,
    )


def test_the_first_is_followed_and_the_others_wait(queue, busy):
    visit = Visit()
    assert [visit.submit(queue, request) for request in (quick, Gate(), quick)] == [
        True,
        False,
        False,
    ]
    assert list(visit.waiting.values()) == ["a gate", ""]
    first, (second, third) = visit.job_id, visit.waiting
    assert visit.next_job(first) == second
    # one that ended long ago, of an event that another one overtook, takes nothing away
    assert visit.next_job(first) == second
    assert visit.next_job(second) == third
    assert not visit.waiting
    assert visit.next_job(third) is None
    assert visit.submit(queue, quick)


def test_an_error_of_a_run_is_told_before_the_next_takes_its_place(queue, busy, monkeypatch):
    toasts = []
    monkeypatch.setattr(stage.gr, "Warning", toasts.append)
    visit = Visit()
    for request in (broken, nothing):
        visit.submit(queue, request)
    busy.let(10_000)
    told = [update for update in stage.follow(queue, a_stage(), visit) if "end" in update]
    assert [update["busy"] for update in told] == [True, False]
    assert told[1]["end"] == Cancelled()
    assert toasts == ["seed must be &lt;b&gt;."]
    assert visit.followers == 0
    assert visit.job_id is None


def test_what_waits_behind_a_long_run_is_not_taken_for_abandoned(queue, busy):
    visit = Visit(job_id=busy.id)
    visit.submit(queue, quick)
    (waiting,) = visit.waiting
    updates = stage.follow(queue, a_stage(), visit)
    next(updates)
    queue._find(waiting).seen -= job.PATIENCE + 1
    assert queue._find(waiting).is_abandoned
    busy.let(1)
    next(updates)
    assert not queue._find(waiting).is_abandoned


def test_the_queue_is_emptied(queue, busy):
    visit = Visit(job_id=busy.id)
    for _ in range(3):
        visit.submit(queue, quick)
    first, second, third = visit.waiting
    visit.drop_waiting(queue, [second, second, "another page's"])
    assert list(visit.waiting) == [first, third]
    assert end(queue, second) == Cancelled()
    visit.drop_waiting(queue, list(visit.waiting))
    assert not visit.waiting
    assert [end(queue, job_id) for job_id in (first, third)] == [Cancelled()] * 2
    assert visit.job_id == busy.id


def test_a_long_queue_is_listed_in_part_and_found_again_in_whole():
    with gr.Blocks():
        made = waiting.create("text-to-image")
    visit = Visit(waiting={f"job{n}": f"a <lake> {n}" for n in range(11)})
    told = made.show(visit)[made.line]
    assert told.count("data-drop=") == waiting.LISTED
    assert "<li>and 3 more</li>" in told and "11 more in the queue<" in told
    assert told.count("<i data-job=") == 11
    assert "<lake>" not in told
    visit.waiting = {"job": "a lake"}
    assert "<ol>" not in (told := made.show(visit)[made.line]) and "next: a lake" in told


def test_only_pictures_of_the_folder_are_found_by_their_names(tmp_path):
    day = tmp_path / "outputs" / "2026-01-02"
    day.mkdir(parents=True)
    for path in (day / "a.png", day / "b.txt", tmp_path / "c.png"):
        path.write_text("")
    names = ["2026-01-02/a.png", "../c.png", "2026-01-02/b.txt", "a.png", "x/a.png", ""]
    names += [str(tmp_path / "c.png"), str(day / "a.png"), f"{day}/a.png", "2026-01-02/../../c.png"]
    names += [r"\\host\share/a.png", r"2026-01-02/..\a.png", "2026-01-02/C:a.png", "//a.png"]
    assert reload._files(tmp_path / "outputs", names) == [day / "a.png"]
    assert reload._files(None, names) == []
