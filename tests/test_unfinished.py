"""A run that was ended goes on where it stood, to the same picture."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ldm import studio
from ldm.canvas import plan
from ldm.cli import main
from ldm.comparison import Axis, Comparison
from ldm.diffusion.samplers import SAMPLERS, Step
from ldm.errors import LDMError
from ldm.events import Cancelled, Result, Unfinished
from ldm.requests import TextToImage
from ldm.runtime.manager import ModelManager
from ldm.studio import Studio
from ldm.tasks import bookmark
from ldm.tasks.bookmark import Bookmark
from ldm.unfinished import KEPT, UnfinishedRuns
from ui.run import Visit
from ui.unfinished import Kept

ROOT = Path(__file__).parents[1]
REQUEST = TextToImage(prompt="a red house", width=32, height=32, steps=6, seed=5, coarse=0.0)


@pytest.fixture
def made(tmp_path, trained_small, monkeypatch):
    """A studio on a tiny model, to which every run is worth to be kept."""
    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "abc")
    monkeypatch.setattr(bookmark, "WORTH", 0)
    about = {"load": lambda preset: trained_small, "size_of": lambda preset: 1}
    manager = ModelManager(device="cpu", memory_budget=2**30, **about)
    return Studio(data_dir=tmp_path, manager=manager)


def stopped(made, request, after):
    """End a run after so many steps; what it says can go on."""
    events = made.run(request)
    said = next(e.unfinished for e in events if (e.stage, e.step) == ("sampling", after))
    events.close()
    return said


def steps_of(events):
    return [event.step for event in events if getattr(event, "stage", "") == "sampling"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("after", [1, 2, 5, 6])
def test_it_goes_on_to_the_same_picture(made, sampler, after):
    request = replace(REQUEST, sampler=sampler, eta=0.0, count=2)
    *_, whole = made.run(request)
    said = stopped(made, request, after)
    assert (said.step, said.total) == (after, 6)
    *events, result = made.run(said.request)
    assert steps_of(events) == [*range(after, 7)]  # the first tells where it goes on
    assert f"It went on after step {after} of 6." in result.notes
    assert result.estimate is None
    for one, other in zip(result.images, whole.images, strict=True):
        assert np.array_equal(one, other)
    assert not made.unfinished.folder.exists()


@pytest.mark.parametrize("after", [3, 6, 7, 10])
def test_a_large_picture_goes_on_after_its_small_one(made, after):
    request = replace(REQUEST, width=64, height=64, coarse=0.6, sampler="dpmpp_2m", eta=0.0)
    *_, whole = made.run(request)
    stopped(made, request, after)
    *events, result = made.run(request)
    assert steps_of(events) == [*({6} if after > 6 else {}), *range(after, 11)]
    assert np.array_equal(result.images[0], whole.images[0])


def test_fresh_noise_is_the_same_when_it_goes_on(made):
    request = replace(REQUEST, sampler="ddim", eta=1.0, temperature=0.9, seamless="both")
    *_, whole = made.run(request)
    stopped(made, request, 4)
    *_, result = made.run(request)
    assert np.array_equal(result.images[0], whole.images[0])


def test_it_goes_on_in_bands(made):
    """Where the memory is too short for the whole canvas."""
    made.canvas_budget = 2**21
    request = replace(REQUEST, width=96, height=96, steps=3)
    *_, whole = made.run(request)
    stopped(made, request, 2)
    *_, result = made.run(request)
    assert np.array_equal(result.images[0], whole.images[0])
    assert [note[:13] for note in result.notes] == ["Made in bands", "It went on af"]


def test_a_run_that_went_on_can_be_ended_again(made):
    *_, whole = made.run(REQUEST)
    stopped(made, REQUEST, 2)
    events = made.run(REQUEST)
    assert next(e for e in events if e.step == 2).unfinished.step == 2  # nothing new is done yet
    events.close()
    assert stopped(made, REQUEST, 5).step == 5
    assert np.array_equal([*made.run(REQUEST)][-1].images[0], whole.images[0])


def test_other_settings_weights_or_precision_begin_anew(made, monkeypatch):
    stopped(made, REQUEST, 3)
    for changes in ({"seed": 6}, {"steps": 7}, {"prompt": "a blue house"}, {"count": 2}):
        *events, _ = made.run(replace(REQUEST, **changes))
        assert steps_of(events)[0] == 1
    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "other")
    *events, result = made.run(REQUEST)
    assert steps_of(events) == [1, 2, 3, 4, 5, 6]
    assert not any("went on" in note for note in result.notes)


def test_batches_that_were_made_are_not_made_again(made, monkeypatch):
    monkeypatch.setattr(plan, "CELLS_PER_BATCH", 2 * 16 * 16)
    request = replace(REQUEST, count=4)
    *events, whole = made.run(request)
    assert steps_of(events)[-1] == 12  # two batches
    stopped(made, request, 9)
    *events, result = made.run(request)
    assert steps_of(events) == [6, 9, 10, 11, 12]
    assert all(map(np.array_equal, result.images, whole.images))


def test_what_takes_no_time_is_not_kept(made, monkeypatch):
    monkeypatch.setattr(bookmark, "WORTH", 1000)
    assert stopped(made, REQUEST, 5) is None
    assert not made.unfinished.folder.exists()


def test_pictures_that_are_compared_are_not_kept(made):
    events = made.run(Comparison(REQUEST, Axis("steps", (5, 6))))
    assert all(event.unfinished is None for event in events if not isinstance(event, Result))
    assert not made.unfinished.folder.exists()


def test_an_error_after_the_steps_keeps_them(made, monkeypatch):
    def full(*_):
        raise MemoryError

    *_, whole = made.run(REQUEST)
    with monkeypatch.context() as patch, pytest.raises(LDMError, match="more memory"):
        patch.setattr("ldm.latent_diffusion.LatentDiffusion.decode", full)
        list(made.run(REQUEST))
    *events, result = made.run(REQUEST)
    assert steps_of(events) == [6]
    assert np.array_equal(result.images[0], whole.images[0])


def test_numbers_without_bound_are_nothing_to_go_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(bookmark, "WORTH", 0)
    kept = Bookmark(tmp_path / "a.safetensors", REQUEST, "abc")
    step = Step(0, 6, 9, torch.full((1, 3, 4, 4), torch.nan), torch.zeros(1, 3, 4, 4))
    kept.page("one", (1, 3, 4, 4), 6).mark(step, 1, 6)
    kept.close()
    assert not kept.path.exists()


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "other", "place", "shape"])
def test_a_damaged_file_begins_anew(made, damage):
    *_, whole = made.run(REQUEST)
    path = made.unfinished.path_of(stopped(made, REQUEST, 3).request)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    changed = {
        "cut": data[:-10],
        "noise": bytes(range(256)) * 9,
        "empty": b"",
        "other": data[:8] + data[8:].replace(b"weights", b"heights"),
        "place": data[:8] + data[8:].replace(b"[2, 6,", b"[9, 6,"),
        "shape": data[:8] + data[8 : 8 + length].replace(b"[1,3,16,16]", b"[1,3,8,32]") + b"  ",
    }[damage]
    path.write_bytes(changed)
    *events, result = made.run(REQUEST)
    assert steps_of(events)[0] == 1
    assert np.array_equal(result.images[0], whole.images[0])


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


@pytest.mark.parametrize("about", ["[]", "{}", '{"request": 5}', '{"request": {"task": "x"}}', "x"])
def test_a_file_that_tells_nothing_is_passed_over(tmp_path, about):
    header = json.dumps({"__metadata__": {"unfinished": about}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert UnfinishedRuns(tmp_path).newest("text-to-image") is None


def test_only_the_latest_files_stay(made):
    seeds = range(KEPT + 2)
    for seed in seeds:
        request = stopped(made, replace(REQUEST, seed=seed), 1).request
        os.utime(made.unfinished.path_of(request), (seed + 1, seed + 1))
    stopped(made, replace(REQUEST, seed=99), 1)
    assert len(made.unfinished.paths()) == KEPT


def test_a_disk_that_is_full_spoils_nothing(made, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bookmark, "EVERY", 0)
    monkeypatch.setattr(bookmark, "save_file", full)
    *_, result = made.run(REQUEST)
    assert len(result.paths) == 1
    assert "cannot go on later" in caplog.text


def test_a_process_that_is_killed_goes_on_in_another(tmp_path):
    """Within a step, with SIGKILL: nothing can be put in order any more."""
    request = TextToImage(prompt="a calm lake", seed=3, steps=5)
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


def visit_with(runs, *, is_shared, unfinished=None, is_new=True):
    visit = Visit(unfinished=unfinished)
    Kept(runs, is_shared).find(visit, "text-to-image", is_new=is_new)
    return visit.unfinished


def test_who_is_told_of_what_was_stopped(made):
    """On a page for many, nobody is told of what others have stopped."""
    said = stopped(made, REQUEST, 3)
    runs = made.unfinished
    assert visit_with(runs, is_shared=True) == said
    assert visit_with(runs, is_shared=True, is_new=False) is None
    assert visit_with(runs, is_shared=False) is None
    assert visit_with(runs, is_shared=False, unfinished=said) == said
    runs.forget(said.request)
    assert visit_with(runs, is_shared=True, unfinished=said) is None
    assert visit_with(None, is_shared=True, unfinished=said) is None


def test_a_visit_knows_when_it_was_finished(made):
    visit = Visit()
    visit.ended(Cancelled(), REQUEST)
    assert visit.unfinished is None
    said = stopped(made, REQUEST, 3)
    visit.ended(Cancelled(said), REQUEST)
    *_, other = made.run(replace(REQUEST, seed=9))
    visit.ended(other, other.requests[0])
    assert visit.unfinished == said
    *_, result = made.run(said.request)
    visit.ended(result, said.request)
    assert visit.unfinished is None
    assert len(visit.pictures) == 2


def test_a_command_that_is_interrupted_says_how_to_go_on(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bookmark, "WORTH", 0)
    command = ["sample", "text-to-image", "--prompt", "a lake", "--width", "16", "--height", "16"]
    command += ["--steps", "4", "--out", str(tmp_path)]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ldm.tasks.sampling.decoded", interrupted)
        assert main(command) == 130
    said = re.search(
        r"Stopped after step 4 of 4; .* --seed (\d+) goes on from there.\n", capsys.readouterr().err
    )
    assert main([*command, "--seed", said[1]]) == 0
    assert "It went on after step 4 of 4." in capsys.readouterr().err
