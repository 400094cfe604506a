"""Files of runs that were ended: what they tell, to whom, and how they go."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ldm.cli import main
from ldm.errors import LDMError, RequestError
from ldm.events import Cancelled, Failed, Unfinished
from ldm.outputs.unfinished import KEPT, UnfinishedRuns
from ldm.requests import TextToImage
from ldm.requests.as_json import to_dict
from ldm.studio import Studio
from ldm.tasks import bookmark
from tests.ended import REQUEST, steps_of, stopped
from ui.run import Visit
from ui.unfinished import Kept
from ui.words import strip

ROOT = Path(__file__).parents[1]


def test_the_newest_of_a_task_is_told_and_can_be_forgotten(made):
    runs = made.unfinished
    assert runs.newest("text-to-image") is None
    first, second = (stopped(made, replace(REQUEST, seed=seed), 3) for seed in (1, 2))
    os.utime(runs.path_of(first.request), (1, 1))
    assert runs.newest("text-to-image") == second
    assert runs.newest("layout") is None
    runs.path_of(second.request).write_bytes(b"nothing")
    assert runs.newest("text-to-image") == first
    assert runs.has(first.request)
    runs.forget(first.request)
    assert not runs.has(first.request)
    runs.forget(first.request)


def test_what_another_version_began_is_passed_over(made):
    """Its request has other fields by now, and another name."""
    path = made.unfinished.path_of(stopped(made, REQUEST, 3).request)
    path.rename(path.with_stem("0123456789abcdef"))
    assert made.unfinished.newest("text-to-image") is None


def test_equal_requests_have_one_file(tmp_path):
    runs = UnfinishedRuns(tmp_path)
    one, other = (replace(REQUEST, guidance_scale=scale) for scale in (3, 3.0))
    assert one == other
    assert runs.path_of(one) == runs.path_of(other)
    assert runs.path_of(one) != runs.path_of(replace(one, seed=6))


def file_with(path, about, request=None):
    """A file whose head says this of a run, and nothing else."""
    request = json.dumps(to_dict(REQUEST) if request is None else request).encode()
    head = {"__metadata__": {"unfinished": about}}
    head["request"] = {"dtype": "U8", "shape": [len(request)], "data_offsets": [0, len(request)]}
    head = json.dumps(head).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + request)


PLACE = {"task": "text-to-image", "step": 3, "total": 6}


@pytest.mark.parametrize(
    "about",
    [
        *("[]", "{}", "x", '{"task": 5}'),
        *(json.dumps(PLACE | {"step": step}) for step in (0, -5, 7, 10**30, None, "3", 2.5)),
        json.dumps(PLACE).replace("3", "Infinity"),
    ],
)
def test_a_head_that_tells_nothing_is_passed_over(tmp_path, about):
    runs = UnfinishedRuns(tmp_path)
    file_with(runs.path_of(REQUEST), about)
    assert runs.newest("text-to-image") is None


@pytest.mark.parametrize("request_", [5, {}, {"task": "x"}, {"task": "layout"}, ["task"]])
def test_a_file_without_a_request_is_passed_over(tmp_path, request_):
    runs = UnfinishedRuns(tmp_path)
    file_with(runs.path_of(REQUEST), json.dumps(PLACE), request_)
    assert runs.newest("text-to-image") is None
    file_with(runs.path_of(REQUEST), json.dumps(PLACE))
    assert runs.newest("text-to-image") == Unfinished(REQUEST, 3, 6)


def test_a_head_without_an_end_is_not_read(tmp_path):
    (tmp_path / "a.unfinished").write_bytes(b"\xff" * 8 + b"{" * 100)
    assert UnfinishedRuns(tmp_path).newest("text-to-image") is None


def test_what_was_left_half_written_goes(made):
    stopped(made, REQUEST, 1)
    old, new = (made.unfinished.folder / f"{name}.part" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (1, 1))
    stopped(made, replace(REQUEST, seed=6), 1)
    assert (old.exists(), new.exists()) == (False, True)


def test_only_the_latest_files_stay(made):
    seeds = range(KEPT + 2)
    for seed in seeds:
        request = stopped(made, replace(REQUEST, seed=seed), 1).request
        os.utime(made.unfinished.path_of(request), (seed + 1, seed + 1))
    stopped(made, replace(REQUEST, seed=99), 1)
    assert len(made.unfinished.paths()) == KEPT


def test_a_process_that_is_killed_goes_on_in_another(tmp_path):
    """Within a step, with SIGKILL: nothing can be put in order any more."""
    request = TextToImage(prompt="a calm lake", width=128, height=128, seed=3, steps=5)
    code = f"""
import os, signal
from ldm.requests import TextToImage
from ldm.studio import Studio
from ldm.tasks import bookmark
bookmark.WORTH = bookmark.EVERY = 0
for event in Studio(device="cpu", data_dir={str(tmp_path)!r}).run({request!r}):
    if event.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    here = Studio(device="cpu", data_dir=tmp_path)
    known = here.unfinished.newest("text-to-image")
    assert isinstance(known, Unfinished)
    assert (known.step, known.total) == (3, 5)
    *events, result = here.run(known.request)
    assert steps_of(events) == [3, 4, 5]
    *_, whole = Studio(device="cpu", data_dir=tmp_path / "other").run(request)
    assert np.array_equal(result.images[0], whole.images[0])


def visit_with(made, *, is_shared, unfinished=(), is_new=True, is_busy=False):
    visit = Visit(unfinished=list(unfinished))
    jobs = SimpleNamespace(is_busy_with=lambda request: is_busy)
    Kept(jobs, made and made.unfinished, is_shared).look(visit, "text-to-image", is_new=is_new)
    return visit.rest


def test_who_is_told_of_what_was_stopped(made):
    """On a page for many, nobody is told of what others have stopped."""
    said = stopped(made, REQUEST, 3)
    assert visit_with(made, is_shared=True) == said
    assert visit_with(made, is_shared=True, is_busy=True) is None  # somebody is at it
    assert visit_with(made, is_shared=True, is_new=False) is None
    assert visit_with(made, is_shared=False) is None
    assert visit_with(made, is_shared=False, unfinished=[said]) == said
    made.unfinished.forget(said.request)
    assert visit_with(made, is_shared=True, unfinished=[said]) is None
    assert visit_with(None, is_shared=True, unfinished=[said]) is None


def test_a_visit_knows_what_was_finished(made):
    visit = Visit()
    visit.ended(Cancelled())
    assert visit.rest is None
    first = stopped(made, replace(REQUEST, count=2), 2)
    second = stopped(made, replace(REQUEST, seed=8), 3)
    for said in (first, second, replace(first, step=4)):
        visit.ended(Cancelled(said))
    assert [rest.step for rest in visit.unfinished] == [3, 4]
    *_, result = made.run(replace(first.request, guidance_scale=None))  # by hand
    visit.ended(result)
    assert visit.unfinished == [second]
    visit.ended(Failed("the disk is full.", replace(second, step=5)))
    assert visit.rest.step == 5
    assert len(visit.pictures) == 2


def test_one_goes_on_if_it_is_kept_and_nobody_is_at_it(made):
    said, busy = stopped(made, REQUEST, 3), []
    kept = Kept(SimpleNamespace(is_busy_with=busy.__contains__), made.unfinished)
    visit = Visit(unfinished=[said])
    assert kept.request(visit) == said.request
    busy.append(said.request)
    with pytest.raises(RequestError, match="goes on already, in another window"):
        kept.request(visit)
    assert visit.rest == said
    kept.discard(visit)  # the run that is at it keeps its file
    assert made.unfinished.has(said.request)
    visit, busy[:] = Visit(unfinished=[said]), []
    kept.discard(visit)
    assert not made.unfinished.has(said.request)
    assert visit.rest is None
    visit = Visit(unfinished=[said])
    with pytest.raises(RequestError, match="is not kept any more; Generate begins anew"):
        kept.request(visit)
    assert visit.rest is None  # it is not offered once more


def test_the_strip_tells_of_another_run_what_is_left(made):
    said = stopped(made, REQUEST, 3)
    assert "rest" not in strip(None)
    own = strip(Cancelled(said), rest=said)
    assert "Stopped after step 3 of 6" in own
    assert '<div class="rest"></div>' in own
    line = '<div class="rest">Stopped before, after step 3 of 6: a red house</div>'
    assert line in strip(Failed("x", said), rest=said)
    assert line in strip(None, rest=said)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (LDMError("enough."), 2)])
def test_a_command_that_is_ended_says_how_to_go_on(
    tiny, tmp_path, capsys, monkeypatch, error, code
):
    monkeypatch.setattr(bookmark, "WORTH", 0)
    command = ["sample", "text-to-image", "--prompt", "a lake", "--width", "16", "--height", "16"]
    command += ["--steps", "4", "--out", str(tmp_path)]

    def ended(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("ldm.tasks.sampling.decoded", ended)
        assert main([*command, "--variations", "7:0.5, new:0.2"]) == code
    says = r"Stopped after step 4 of 4; the same command with (.*) goes on from there\.\n"
    flags = shlex.split(re.search(says, capsys.readouterr().err)[1])
    assert main([*command, *flags]) == 0
    assert "It went on after step 4 of 4." in capsys.readouterr().err
