import itertools
import re
import threading
import weakref
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from ldm import studio
from ldm.catalog.compvis import PRESETS_DIR
from ldm.catalog.registry import load_preset
from ldm.errors import LDMError, MemoryBudgetError, PresetError, RequestError
from ldm.events import Progress, Result
from ldm.latent_diffusion import LatentDiffusion
from ldm.outputs import metadata, saving
from ldm.outputs.saving import new_path, save_pictures
from ldm.requests import REQUESTS, EncodedImage, Inpaint, TextToImage
from ldm.resolve import resolve
from ldm.runtime.manager import ModelManager
from ldm.studio import Studio, timing

REQUEST = TextToImage(prompt="a red house", width=16, height=16, steps=4, seed=5)


@pytest.fixture
def manager(tiny_model):
    return ModelManager(
        device="cpu", memory_budget=2**30, load=lambda preset: tiny_model, size_of=lambda preset: 1
    )


@pytest.fixture
def tiny_studio(tmp_path, manager, monkeypatch):
    """A studio on the tiny model that says it has the demo's weights."""
    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "abc")
    return Studio(data_dir=tmp_path, manager=manager)


def run(tiny_studio, **changes):
    return list(tiny_studio.run(replace(REQUEST, **changes)))[-1]


def test_paths_and_amounts_may_be_text(tmp_path, manager, monkeypatch):
    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "abc")
    made = Studio(out_dir=str(tmp_path), canvas_budget="1GiB", manager=manager)
    assert made.canvas_budget == 2**30
    assert run(made).paths[0].parent == tmp_path
    assert Studio(memory_budget="4GiB", device="cpu").manager.memory_budget == 2**32


@pytest.mark.parametrize("amount", ["lots", 1.5, -1, True, b"4GiB"])
def test_what_is_no_amount_is_refused(amount):
    for name in ("memory_budget", "canvas_budget"):
        with pytest.raises(RequestError, match="memory must be"):
            Studio(**{name: amount}, device="cpu")


def test_loading_then_sampling_then_the_result(tiny_studio):
    events = list(tiny_studio.run(REQUEST))
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert stages == ["loading Landscapes, text to image", *["sampling"] * 4, "decoding"]
    assert isinstance(events[-1], Result)
    assert not any("array" in repr(event) for event in events)  # the README prints them


def test_open_fields_are_filled_from_the_preset(tiny_studio):
    preset = load_preset("demo-text-to-image")
    request = resolve(TextToImage(prompt="x"), preset)
    about = preset.defaults
    assert (request.width, request.height) == (2 * preset.width, 2 * preset.height)
    assert (request.steps, request.sampler) == (about.steps, about.sampler)
    names = ("guidance_scale", "temperature", "coarse")
    assert all(getattr(request, name) == getattr(about, name) for name in names)


@pytest.mark.parametrize("request_type", REQUESTS.values())
def test_every_task_takes_the_eta_of_its_preset(request_type):
    assert request_type.__dataclass_fields__["eta"].default is None


def test_a_request_can_be_waited_for(tiny_studio):
    assert tiny_studio.make(REQUEST).paths[0].exists()
    with pytest.raises(RequestError, match="only a request can be run, got 'a lake'"):
        tiny_studio.make("a lake")


def test_while_a_request_is_waited_for_its_previews_are_let_go(tiny_studio, monkeypatch):
    class Preview:
        """What can be watched, as an array cannot."""

    alive, counts = weakref.WeakSet(), []

    def run(request):
        for step in range(6):
            event = Progress("sampling", step, preview=Preview())
            alive.add(event.preview)
            yield event
            del event
            counts.append(len(alive))
        yield Result((request,), ())

    monkeypatch.setattr(tiny_studio, "run", run)
    assert tiny_studio.make(REQUEST).requests == (REQUEST,)
    assert counts == [1] * 6


def test_given_fields_are_kept():
    about = {
        "sampler": "plms",
        "guidance_scale": 1.0,
        "temperature": 0.5,
        "coarse": 0.5,
        "eta": 0.0,
    }
    request = replace(REQUEST, **about)
    assert resolve(request, load_preset("demo-text-to-image")) == request


def test_zero_is_a_seed_and_none_is_drawn():
    preset = load_preset("demo-text-to-image")
    assert resolve(replace(REQUEST, seed=0), preset).seed == 0
    drawn = {resolve(replace(REQUEST, seed=None), preset).seed for _ in range(20)}
    assert len(drawn) == 20


def test_the_stored_request_makes_the_picture_again(tiny_studio):
    first = run(tiny_studio, seed=None)
    restored = metadata.load(first.paths[0]).request
    assert restored == first.requests[0]
    again = list(tiny_studio.run(restored))[-1]
    assert (again.images[0] == first.images[0]).all()


def test_pictures_are_saved_with_request_and_hash(tiny_studio, tmp_path):
    result = run(tiny_studio, count=2)
    assert len(result.paths) == 2
    for path, request, image in zip(result.paths, result.requests, result.images, strict=True):
        record = metadata.load(path)
        assert record.request == request
        assert record.weights_sha256 == "abc"
        assert Image.open(path).info["Title"] == request.prompt
        assert (np.asarray(Image.open(path)) == image).all()
        name = path.relative_to(tmp_path).as_posix()
        assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d{6}-a-red-house-[56]-\d+\.png", name)


def test_pictures_can_go_to_another_folder(manager, tmp_path, tiny_studio):
    about = {"data_dir": tmp_path / "data", "out_dir": tmp_path / "out", "manager": manager}
    made = Studio(**about)
    result = run(made)
    assert [path.parent for path in result.paths] == [tmp_path / "out"]
    assert not (tmp_path / "data").exists() and made.machine.store.path is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "machine.json").write_text("{}")  # measurements that are there are used
    assert Studio(**about).machine.store.path == tmp_path / "data" / "machine.json"


def test_nothing_is_overwritten(tiny_studio):
    paths = [run(tiny_studio).paths[0] for _ in range(3)]
    assert len(set(paths)) == 3
    assert all(path.exists() for path in paths)


def test_names_are_unique_among_threads(tmp_path):
    paths = []

    def work():
        for _ in range(20):
            path = new_path(tmp_path, "a")
            paths.append(path)
            metadata.save(path, np.zeros((1, 1, 3), np.uint8), REQUEST)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 120
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_time_runs_and_what_is_left_falls(tiny_studio):
    *progress, result = tiny_studio.run(replace(REQUEST, steps=8))
    seconds = [event.seconds for event in progress]
    assert seconds == sorted(seconds)
    assert result.seconds >= seconds[-1] > 0
    assert progress[0].seconds_left is None
    assert progress[-1].seconds_left == 0
    assert all(event.seconds_left > 0 for event in progress[1:-2])


def test_a_long_loading_is_told(tiny_studio, monkeypatch):
    assert not any("loaded in" in note for note in run(tiny_studio).notes)
    monkeypatch.setattr(timing, "LONG_LOADING", 0.0)
    assert "The model was loaded in 0 s." in run(tiny_studio).notes


def test_the_model_is_pinned_while_it_works_and_let_go_when_closed(tiny_studio):
    events = tiny_studio.run(REQUEST)
    next(events), next(events)
    assert not tiny_studio.manager.unload("demo-text-to-image")
    events.close()
    assert tiny_studio.manager.unload("demo-text-to-image")


def test_closing_stops_the_task(tiny_studio, monkeypatch):
    closed = []

    def task(model, request, context):
        try:
            while True:
                yield Progress("sampling", 1, 2)
        finally:
            closed.append(True)

    monkeypatch.setitem(studio.RUNNERS, "text-to-image", task)
    events = tiny_studio.run(REQUEST)
    next(events), next(events)
    events.close()
    assert closed == [True]


def test_a_studio_runs_models_of_its_managers_own_folder(tmp_path, tiny_model, monkeypatch):
    folder = tmp_path / "elsewhere" / "mine"
    folder.mkdir(parents=True)
    about = PRESETS_DIR / "demo" / "demo-text-to-image.yaml"
    folder.joinpath("preset.yaml").write_text(about.read_text())
    monkeypatch.setattr(studio, "weights_sha256", lambda preset: "abc")
    manager = ModelManager(
        device="cpu", models_dir=folder.parent, load=lambda _: tiny_model, size_of=lambda _: 1
    )
    with pytest.raises(LDMError, match="'mine'"):
        Studio(data_dir=tmp_path).make(replace(REQUEST, preset="mine"))
    made = Studio(data_dir=tmp_path, manager=manager).make(replace(REQUEST, preset="mine"))
    assert made.requests[0].preset == "mine"


def test_an_unknown_preset(tiny_studio):
    with pytest.raises(PresetError, match="did you mean demo-text-to-image"):
        run(tiny_studio, preset="demo-text-to-imag")
    with pytest.raises(PresetError, match=r"one of demo-text-to-image, .*text2img256, got"):
        run(tiny_studio, preset="zzzz")  # names none that does another task


def test_a_preset_of_another_task(tiny_studio):
    with pytest.raises(RequestError, match="demo-kl-f4 does first-stage, not text-to-image"):
        run(tiny_studio, preset="demo-kl-f4")


def test_a_size_that_does_not_divide(tiny_studio):
    with pytest.raises(RequestError, match="width must be a multiple of 16"):
        run(tiny_studio, width=17)


def test_a_folder_that_cannot_be_written_is_told_before_the_work(manager, tmp_path):
    (tmp_path / "outputs").write_text("a file is in the way")
    events = Studio(data_dir=tmp_path, manager=manager).run(REQUEST)
    with pytest.raises(LDMError, match="no picture can be saved in .*outputs"):
        next(events)
    assert manager.loaded() == {}


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metadata, "save", full)
    result = Result((REQUEST,), (np.zeros((2, 2, 3), np.uint8),))
    with pytest.raises(LDMError, match="No space left on device"):
        save_pictures(result, tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_one_run_are_called_after_one_time(tmp_path, monkeypatch):
    class Hurried(datetime):
        seconds = itertools.count()

        @classmethod
        def now(cls):
            return datetime(2020, 1, 1, 12, 30, next(cls.seconds))

    monkeypatch.setattr(saving, "datetime", Hurried)
    requests, image = (REQUEST, replace(REQUEST, seed=6)), np.zeros((2, 2, 3), np.uint8)
    paths = save_pictures(Result(requests, (image, image)), tmp_path, "").paths
    assert [path.stem.split("-")[0] for path in paths] == ["123000", "123000"]


def test_nobody_guesses_the_name_of_a_visitors_picture(tmp_path):
    requests, image = (REQUEST, REQUEST), np.zeros((2, 2, 3), np.uint8)
    for is_secret, apart in ((False, 1), (True, 2)):
        paths = save_pictures(Result(requests, (image, image)), tmp_path, "", is_secret).paths
        assert len({path.stem.rsplit("-", 1)[0] for path in paths}) == apart
    random = [path.stem.split("-")[-2] for path in paths]
    assert [len(part) for part in random] == [16, 16]


def test_a_file_is_called_after_what_it_shows(tmp_path):
    image, long = np.zeros((2, 2, 3), np.uint8), "a " + "very " * 20 + "calm lake"
    for prompt, words in (
        ("Der Bäcker: 3 Häuser/..", "der-backer-3-hauser"),
        (long, "a-very-very-very-very-very-very-very"),
        ("雪", ""),
    ):
        asked = replace(REQUEST, prompt=prompt, seed=7)
        (path,) = save_pictures(Result((asked,), (image,)), tmp_path, "").paths
        assert re.fullmatch(rf"\d{{6}}-{words}{'-' if words else ''}7-\d+", path.stem)


def test_what_was_saved_before_the_disk_was_full_is_not_lost(tmp_path, monkeypatch):
    save = metadata.save

    def full_at_the_third(path, image, *rest, **about):
        if image[0, 0, 0] == 2:
            raise OSError(28, "No space left on device")
        save(path, image, *rest, **about)

    monkeypatch.setattr(metadata, "save", full_at_the_third)
    requests = tuple(replace(REQUEST, seed=i) for i in range(4))
    images = tuple(np.full((2, 2, 3), i, np.uint8) for i in range(4))
    result = save_pictures(Result(requests, images), tmp_path, "")
    assert sorted(tmp_path.iterdir()) == sorted(result.paths)
    assert [metadata.load(path).request.seed for path in result.paths] == [0, 1]
    assert result.requests == requests[:2]
    assert result.notes == ("Only 2 of 4 pictures could be saved: No space left on device.",)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_running_out_of_memory_is_told(tiny_studio, monkeypatch, error):
    def task(model, request, context):
        yield Progress("sampling", 1, 4)
        raise error

    monkeypatch.setitem(studio.RUNNERS, "text-to-image", task)
    with pytest.raises(
        MemoryBudgetError, match="a picture of 16 x 16 px needs more memory than there is"
    ):
        run(tiny_studio)
    assert tiny_studio.manager.unload("demo-text-to-image")


def test_other_errors_are_not_disguised(tiny_studio, monkeypatch):
    def task(model, request, context):
        raise RuntimeError("a shape is wrong")
        yield

    monkeypatch.setitem(studio.RUNNERS, "text-to-image", task)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        run(tiny_studio)


def test_load_brings_a_model_into_memory_ready_for_previews(tiny_studio, monkeypatch):
    fitted = []
    monkeypatch.setattr(LatentDiffusion, "fit_preview", lambda model: fitted.append(model))
    tiny_studio.load("demo-text-to-image")
    assert list(tiny_studio.manager.loaded()) == ["demo-text-to-image"]
    with tiny_studio.manager.use("demo-text-to-image") as model:
        assert fitted == [model]


def test_the_real_demo_makes_a_picture(tmp_path):
    """The shipped weights, from the file to a saved picture."""
    if not load_preset("demo-text-to-image").is_on_disk:
        pytest.skip("the demo weights are not on disk")
    request = TextToImage(prompt="a calm lake at sunset", steps=2, seed=1)
    *progress, result = Studio(device="cpu", data_dir=tmp_path).run(request)
    assert result.images[0].shape == (256, 256, 3)
    # a machine that is busy tells that the model took long to load
    assert [note for note in result.notes if "was loaded in" not in note] == []
    assert progress[1].preview.shape == (128, 128, 3)  # the small one that comes first
    assert len(metadata.load(result.paths[0]).weights_sha256) == 64


@pytest.mark.parametrize(("side", "seen"), [(16, 64), (512, 1024), (4096, 4096)])
def test_a_model_of_any_size_sees_a_hole_at_one_that_may_be_asked_for(side, seen):
    preset = replace(load_preset("demo-inpaint"), width=side, height=side)
    image = EncodedImage.from_array(np.zeros((8, 8, 3), np.uint8))
    assert resolve(Inpaint(image=image, mask=image), preset).working_size == seen
