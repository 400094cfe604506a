"""A run that was ended goes on where it stood, to the same picture."""

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ldm import studio
from ldm.canvas import plan
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import HISTORY_LENGTH, SAMPLERS, Step
from ldm.errors import LDMError
from ldm.events import Result
from ldm.images import EncodedImage
from ldm.requests.comparison import Axis, Comparison
from ldm.requests.progression import Progression
from ldm.tasks import bookmark
from ldm.tasks.bookmark import Bookmark
from tests.ended import REQUEST, steps_of, stopped
from tests.gaussian import SCHEDULE, exact_eps


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_goes_on_after_any_step_to_the_same_end(name):
    def run(after=None, x_T=None):
        def noise(index):
            return batch_noise([4], index + 1, (2, 8, 8)).double()

        about = {"steps": 9, "noise": noise, "after": after}
        return list(SAMPLERS[name](exact_eps, x_T, SCHEDULE, **about))

    whole = run(x_T=batch_noise([4], 0, (2, 8, 8)).double())
    for step in whole:
        assert len(step.memory) == min(HISTORY_LENGTH.get(name, 0), step.index + 1)
        rest = run(after=step)
        assert [one.index for one in rest] == list(range(step.index + 1, 9))
        for one, other in zip(rest, whole[step.index + 1 :], strict=True):
            assert torch.equal(one.x_t, other.x_t)
            assert torch.equal(one.x0, other.x0)


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


def test_nothing_is_learned_of_a_run_that_went_on(made):
    """It took less than another would."""
    made.load(REQUEST.preset)
    stopped(made, REQUEST, 5)
    before = made.machine.store.path.read_text()
    *_, result = made.run(REQUEST)
    assert result.estimate is None
    assert made.machine.store.path.read_text() == before
    *_, result = made.run(REQUEST)
    assert result.estimate is not None
    assert made.machine.store.path.read_text() != before


def test_in_another_precision_it_begins_anew(made, monkeypatch):
    stopped(made, REQUEST, 4)
    path = made.unfinished.path_of(stopped(made, REQUEST, 4).request)
    path.write_bytes(path.read_bytes().replace(b"torch.float32", b"torch.float16"))
    *events, _ = made.run(REQUEST)
    assert steps_of(events)[0] == 1


def test_a_small_picture_of_the_full_size_is_another_sampling(made):
    """From noise, and from latents, at one size: each has a page of its own."""
    names = set()
    about = {"image": EncodedImage.from_array(np.zeros((32, 32, 3), np.uint8)), "strength": 0.5}
    for changes in ({}, about):
        said = stopped(made, replace(REQUEST, **changes), 1)
        with safe_open(made.unfinished.path_of(said.request), "pt") as file:
            names |= {name.split(", from ")[1] for name in file.keys() if "x_t" in name}  # noqa: SIM118
    assert names == {"noise, torch.float32/x_t", "latents, torch.float32/x_t"}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells its maps")
def test_what_is_read_does_not_hold_the_file(made):
    """Windows deletes no file that is mapped, and a finished run's file has to go."""
    path = made.unfinished.path_of(stopped(made, REQUEST, 2).request)
    with safe_open(path, "pt") as file:
        model = json.loads(file.metadata()[bookmark.RUN])["model"]
    found = Bookmark(path, REQUEST, model)
    assert found.is_resumed
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_a_run_that_went_on_is_kept_at_once(made, monkeypatch):
    stopped(made, REQUEST, 2)
    monkeypatch.setattr(bookmark, "WORTH", 1000)
    assert stopped(made, REQUEST, 4).step == 4
    *events, _ = made.run(REQUEST)
    assert steps_of(events) == [4, 5, 6]


def test_it_is_written_before_a_step_that_would_end_too_late(tmp_path, monkeypatch):
    times, written = iter((0.0, 2.0, 2.4, 4.0, 4.0)), []
    monkeypatch.setattr(bookmark, "time", SimpleNamespace(monotonic=lambda: next(times)))
    kept, zeros = Bookmark(tmp_path / "a.unfinished", REQUEST, "abc"), torch.zeros(1, 3, 4, 4)
    for index in range(3):  # 5 s make it worth it
        kept.mark("one", Step(index, 6, 9 - index, zeros, zeros), index + 1, 6)
        written.append(kept.path.exists())
    assert written == [False, False, True]


def test_a_run_that_is_first_written_at_its_end_says_so(made, monkeypatch):
    """Cancelled in a long decode, after steps too few to be written while they were taken."""
    monkeypatch.setattr(bookmark, "WORTH", 1000)
    assert stopped(made, REQUEST, 4) is None
    events = made.run(REQUEST)
    event = next(e for e in events if e.stage == "decoding")
    later = time.monotonic() + 2000
    monkeypatch.setattr(bookmark, "time", SimpleNamespace(monotonic=lambda: later))
    events.close()
    assert made.resumable(event) == event.unfinished
    assert event.unfinished.step == 6


def test_fresh_noise_is_the_same_when_it_goes_on(made):
    request = replace(REQUEST, sampler="ddim", eta=1.0, temperature=0.9, seamless="both")
    *_, whole = made.run(request)
    stopped(made, request, 4)
    *_, result = made.run(request)
    assert np.array_equal(result.images[0], whole.images[0])


def test_the_noise_of_a_picture_is_not_looked_for_again(made):
    start = EncodedImage.from_array(np.zeros((32, 32, 3), np.uint8))
    request = replace(REQUEST, image=start, strength=1.0, inversion=0.6, sampler="dpmpp_2m")
    *_, whole = made.run(request)
    stopped(made, request, 3)
    *events, result = made.run(request)
    assert not any(event.stage == "inverting" for event in events)
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


@pytest.mark.parametrize("kind", [Progression, lambda r: Comparison(r, Axis("steps", (5, 6)))])
def test_what_is_compared_or_looked_at_is_not_kept(made, kind):
    events = made.run(kind(REQUEST))
    for event in events:
        assert isinstance(event, Result) or event.unfinished is None
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
    kept.page("one", (1, 3, 4, 4), range(9, 3, -1), 0).mark(step, 1, 6)
    kept.close()
    assert not kept.path.exists()


def test_a_step_of_another_grid_is_nothing_to_go_on_with():
    kept = Bookmark(Path("a.safetensors"), REQUEST, "abc")
    name, shape, zeros = "one", (1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    kept.page(name, shape, [9, 5, 1], 0).mark(Step(1, 3, 5, zeros, zeros), 2, 3)
    assert kept.page(name, shape, [9, 5, 1], 0).since is not None
    assert kept.page(name, shape, [9, 4, 1], 0).since is None
    assert kept.page(name, shape, [9, 5], 0).since is None


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
        "other": data[:8] + data[8:].replace(b"places", b"spaces"),
        "place": data[:8] + data[8:].replace(b"[2, 6,", b"[9, 6,"),
        "shape": data[:8] + data[8 : 8 + length].replace(b"[1,3,16,16]", b"[1,3,8,32]") + b"  ",
    }[damage]
    path.write_bytes(changed)
    *events, result = made.run(REQUEST)
    assert steps_of(events)[0] == 1
    assert "What was kept of it could not be used; it began anew." in result.notes
    assert np.array_equal(result.images[0], whole.images[0])


@pytest.mark.parametrize("damage", ["nan", "half", "memory lost", "more memory", "whole numbers"])
def test_latents_that_no_step_made_begin_anew(made, damage):
    request = replace(REQUEST, sampler="plms", eta=0.0)
    *_, whole = made.run(request)
    path = made.unfinished.path_of(stopped(made, request, 4).request)
    with safe_open(path, "pt") as file:
        about, parts = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    x_t, *_ = (name for name in parts if name.endswith("/x_t"))
    memory = x_t.replace("x_t", "2")
    if damage == "nan":
        parts[memory][0, 0, 0, 0] = torch.nan
    elif damage == "memory lost":
        del parts[memory]
    elif damage == "more memory":
        parts[x_t.replace("x_t", "3")] = parts[memory].clone()
    else:
        dtype = torch.float16 if damage == "half" else torch.int8
        parts = {n: part.to(dtype) if n.endswith("x_t") else part for n, part in parts.items()}
    save_file(parts, path, about)
    *events, result = made.run(request)
    assert steps_of(events) == [1, 2, 3, 4, 5, 6]
    assert np.array_equal(result.images[0], whole.images[0])


def test_a_disk_that_is_full_spoils_nothing(made, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bookmark, "EVERY", 0)
    monkeypatch.setattr(bookmark, "save_file", full)
    *_, result = made.run(REQUEST)
    assert len(result.paths) == 1
    assert "cannot go on later" in caplog.text
    assert stopped(made, REQUEST, 3) is None  # nothing is promised that is not there
