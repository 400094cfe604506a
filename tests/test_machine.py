"""Estimates: none of an unknown model, then one of each request, and what it took beside it."""

from dataclasses import replace

import numpy as np
import pytest

from ldm import studio
from ldm.canvas.calibration import ON, Calibration
from ldm.canvas.estimate import calibration_of
from ldm.canvas.plan import Resources
from ldm.catalog.registry import load_preset
from ldm.errors import MemoryBudgetError, RequestError
from ldm.events import Result
from ldm.jobs import JobQueue
from ldm.requests import EncodedImage, Inpaint, TextToImage
from ldm.resolve import resolve
from ldm.runtime.manager import ModelManager
from ldm.studio import Studio, calibration_key, machine
from ldm.studio.machine import Machine
from ldm.tasks.estimating import bytes_beside

REQUEST = TextToImage(prompt="a red house", width=16, height=16, steps=4, seed=5)


@pytest.fixture
def tiny_studio(tmp_path, tiny_model, measured, monkeypatch):
    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "abc")
    monkeypatch.setattr(machine, "calibration_of", measured)
    manager = ModelManager(
        device="cpu", memory_budget=2**30, load=lambda preset: tiny_model, size_of=lambda preset: 1
    )
    return Studio(data_dir=tmp_path, manager=manager)


def test_an_estimate_is_known_once_the_model_is(tiny_studio, tmp_path):
    assert tiny_studio.estimate(REQUEST) is None
    *_, result = tiny_studio.run(REQUEST)
    assert result.estimate is None
    tiny_studio.load(REQUEST.preset)
    estimate = tiny_studio.estimate(REQUEST)
    assert estimate.seconds > 0
    assert estimate.plan.startswith("whole, it takes about")
    larger = tiny_studio.estimate(replace(REQUEST, width=512, height=512))
    assert larger.memory_bytes > estimate.memory_bytes
    assert larger.seconds > estimate.seconds
    before = (tmp_path / "machine.json").read_text()
    *_, result = tiny_studio.run(REQUEST)
    assert result.estimate.plan == estimate.plan
    assert (tmp_path / "machine.json").read_text() != before  # it has learned
    again = Studio(data_dir=tmp_path, manager=tiny_studio.manager)
    assert again.estimate(REQUEST).seconds > 0
    known = again.machine.store
    name = calibration_key(load_preset(REQUEST.preset))
    assert Machine(tmp_path / "machine.json", "cpu bfloat16").of(name) is None
    assert known.get(f"{name}, cpu float32") is not None


def test_measuring_a_model_is_no_part_of_its_run(tiny_studio, monkeypatch):
    """A clock that stands still but while a model is measured."""
    now = [0.0]

    def measure(*about):
        now[0] += 100
        return calibration_of(*about)

    monkeypatch.setattr(machine, "calibration_of", measure)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now[0])
    list(tiny_studio.run(replace(REQUEST, cover="whole")))
    assert now[0] == 100
    assert (
        not tiny_studio.machine.of(calibration_key(load_preset(REQUEST.preset))).rates["rest"].times
    )


def test_one_first_stage_is_measured_once(tiny_model, monkeypatch):
    """Of the second model on it, the UNet alone; what it learns then is its own."""
    here, decoded = Machine(None, "cpu float32"), []
    decode = tiny_model.first_stage.decode
    monkeypatch.setattr(
        tiny_model.first_stage, "decode", lambda z: decoded.append(tuple(z.shape)) or decode(z)
    )
    first = here.know("a 1 on 7", tiny_model)
    assert decoded
    decoded.clear()
    second = here.know("b 2 on 7", tiny_model)
    assert not decoded
    assert second.facts == first.facts
    assert second.rates["decoder"] == first.rates["decoder"]
    second.learn("decoder", 2 * max(work for work, _ in first.rates["decoder"].times), 9.0)
    assert second.rates["decoder"] != first.rates["decoder"]
    given = []
    monkeypatch.setattr(machine, "calibration_of", lambda model, same: given.append(same) or second)
    here.know("c 3 on 8", tiny_model)
    here.know("lake on fire 4 on 7", tiny_model)
    here.know("tiny", tiny_model)
    # another first stage, the same, and a name that says nothing of it
    assert [same is not None for same in given] == [False, True, False]
    half = Machine(None, "cuda float16")
    half.store = here.store
    assert half.store.on_same(half.key("d 5 on 7")) is None
    assert here.store.on_same(here.key("d 5 on 7")) is not None


def test_the_demo_models_share_their_first_stages():
    names = ["demo-inpaint", "demo-semantic", "demo-text-to-image", "demo-layout"]
    keys = [calibration_key(load_preset(name)) for name in names]
    stages = [key.partition(ON)[2] for key in keys]
    assert stages[0] == stages[1] != stages[2] == stages[3]
    assert len(set(keys)) == 4


def test_a_model_of_another_shape_is_measured_by_itself():
    preset = load_preset(REQUEST.preset)
    deeper = replace(preset.architecture.unet, num_res_blocks=3)
    other = replace(preset, architecture=replace(preset.architecture, unet=deeper))
    assert calibration_key(other) != calibration_key(preset)
    assert calibration_key(replace(preset, title="Another")) == calibration_key(preset)


def test_a_second_model_begins_with_what_the_first_one_took_beside_its_networks(tiny_studio):
    tiny_studio.load(REQUEST.preset)
    list(tiny_studio.run(REQUEST))
    with tiny_studio.manager.use(REQUEST.preset) as model:
        second = tiny_studio.machine.know("another", model)
    first = tiny_studio.machine.of(calibration_key(load_preset(REQUEST.preset)))
    assert second.rates["rest"] == first.rates["rest"]
    assert [pixels for pixels, _ in second.rates["rest"].times] == [16 * 16]


def test_what_cannot_fit_is_said_by_the_estimate_and_the_run(tiny_studio):
    tiny_studio.canvas_budget = 2**18
    tiny_studio.load(REQUEST.preset)
    request = replace(REQUEST, width=4096, height=4096)
    with pytest.raises(MemoryBudgetError, match="4096 x 4096 px needs at least"):
        tiny_studio.estimate(request)
    with pytest.raises(MemoryBudgetError, match="4096 x 4096 px needs at least"):
        list(tiny_studio.run(request))


def test_a_size_that_the_run_refuses_has_no_estimate(tiny_studio):
    tiny_studio.load(REQUEST.preset)
    request = replace(REQUEST, width=101, height=64)
    with pytest.raises(RequestError, match="width must be a multiple of .* got 101") as told:
        tiny_studio.estimate(request)
    with pytest.raises(RequestError) as met:
        tiny_studio.make(request)
    assert str(told.value) == str(met.value)


def test_the_photograph_around_a_hole_counts(tiny_studio):
    """Twice: it takes memory, and leaves less for the canvas."""
    tiny_studio.load(REQUEST.preset)
    name, found = calibration_key(load_preset(REQUEST.preset)), []
    for side in (200, 1000):
        mask = np.zeros((side, side), np.uint8)
        mask[80:100, 80:100] = 255
        image = EncodedImage.from_array(np.zeros((side, side, 3), np.uint8))
        hole = Inpaint(image=image, mask=EncodedImage.from_array(mask), working_size=64, steps=2)
        request = resolve(replace(hole, count=2), load_preset("demo-inpaint"))
        found.append(tiny_studio.machine.estimate(name, request, Resources(2**30)).memory_bytes)
        least = bytes_beside(request)
    assert found[1] - found[0] == (12 + 2 * 4) * (1000**2 - 200**2)
    with pytest.raises(MemoryBudgetError):
        tiny_studio.machine.estimate(name, replace(request, working_size=512), Resources(least))


def test_so_small_a_canvas_is_whole_in_any_room(tiny_studio):
    """As it will be made, see `is_small`."""
    tiny_studio.load(REQUEST.preset)
    name = calibration_key(load_preset(REQUEST.preset))
    request = resolve(replace(REQUEST, width=64, height=64), load_preset(REQUEST.preset))
    assert tiny_studio.machine.estimate(name, request, Resources(1)).plan.startswith("whole")


def test_the_time_of_whoever_reads_is_not_the_models(tiny_studio, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    learned = []
    tiny_studio.load(REQUEST.preset)
    monkeypatch.setattr(Calibration, "learn", lambda *about: learned.append(about[1:]))
    for _ in tiny_studio.run(REQUEST):
        now[0] += 60
    assert [part for part, _, _ in learned] == ["unet", "decoder", "rest"]
    assert [seconds for _, _, seconds in learned] == [0, 0, 0]


def test_the_queue_estimates_without_waiting(tiny_studio):
    queue = JobQueue(lambda: tiny_studio)
    assert queue.estimate(REQUEST) is None
    queue.close()
    tiny_studio.load(REQUEST.preset)
    queue = JobQueue(lambda: tiny_studio)
    *_, result = queue.follow(queue.submit(REQUEST))
    assert isinstance(result, Result)
    assert queue.estimate(REQUEST).seconds > 0
    queue.close()
