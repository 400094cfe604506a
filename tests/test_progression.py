"""A picture is shown as it came to be: its steps are those of the run, and change nothing of it."""

from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.cli import main
from ldm.errors import RequestError
from ldm.events import Frame, Progress, Result
from ldm.images import EncodedImage, to_arrays
from ldm.outputs import metadata
from ldm.requests import ClassConditional, TextToImage, Upscale, progression
from ldm.requests.progression import MOST, Progression, lacks_sheet, shown_steps
from ldm.studio import Studio

REQUEST = TextToImage(prompt="a lake", seed=4, count=3, width=16, height=16, steps=6, coarse=0.0)


@pytest.fixture
def studio(tiny, tmp_path):
    return Studio(out_dir=tmp_path)


def result_of(studio, asked):
    return next(event for event in studio.run(asked) if isinstance(event, Result))


def animation(path):
    with Image.open(path) as film:
        shown = []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append((np.asarray(film.convert("RGB")), film.info.get("duration")))
    return shown


def test_which_steps_are_shown():
    assert sorted(shown_steps(20, 5)) == [1, 6, 10, 15, 20]
    assert shown_steps(3, 10) == {1, 2, 3}
    assert shown_steps(1, 10) == {1}


def test_it_stands_for_one_picture():
    made = Progression(REQUEST)
    assert (made.request.count, made.task, made.preset) == (1, REQUEST.task, REQUEST.preset)
    assert Progression(ClassConditional()).request.seed is not None
    for wrong in (1, MOST + 1, 2.5, True, "3", None):
        with pytest.raises(RequestError, match=f"frames must be 2 to {MOST}, got {wrong!r}"):
            Progression(REQUEST, wrong)
    with pytest.raises(RequestError, match="only a request has steps, got 'a lake'"):
        Progression("a lake")
    image = EncodedImage.from_array(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(RequestError, match="can be shown, got 'upscale'"):
        Progression(Upscale(image=image))


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "unipc", "plms", "ddpm"])
def test_the_picture_is_the_same_and_its_last_step_is_what_it_came_to(sampler, studio):
    request = Progression(REQUEST, 4).request
    asked = Progression(TextToImage(**vars(request) | {"sampler": sampler}), 4)
    plain = result_of(studio, asked.request).images[0]
    result = result_of(studio, asked)
    assert [made.__class__ for made in result.requests] == [TextToImage, Progression]
    assert np.array_equal(result.images[0], plain)

    (first, _), *frames = animation(result.paths[0])
    assert np.array_equal(first, plain)  # what a program shows that plays nothing
    assert sum(duration for _, duration in frames) == 4 * 200 + 2000  # equal ones are one
    assert np.array_equal(frames[-1][0], plain)
    opened = metadata.load(result.paths[0])
    assert opened.made == opened.request == result.requests[0]
    assert EncodedImage.from_file(result.paths[0]).array().tobytes() == plain.tobytes()

    sheet = metadata.load(result.paths[1])
    assert sheet.made == result.requests[1] == Progression(result.requests[0], 4)
    page = np.asarray(Image.open(result.paths[1]))
    windows = np.lib.stride_tricks.sliding_window_view(page, plain.shape)
    assert (windows == plain).all((3, 4, 5)).any()  # x after its last step


def test_frames_are_the_sampler_s_own(studio, monkeypatch):
    from ldm.tasks import denoising  # noqa: PLC0415  (torch)

    seen, sampler = [], denoising.SAMPLERS["ddim"]

    def noted(eps, x, *args, **about):
        for step in sampler(eps, x, *args, **about):
            seen.append((x, step))
            x = step.x_t
            yield step

    monkeypatch.setitem(denoising.SAMPLERS, "ddim", noted)
    frames = []

    def sheet(_, made, picture, title):
        frames.extend(made)
        return picture

    monkeypatch.setattr(Progression, "sheet", sheet)
    result_of(studio, Progression(TextToImage(**vars(REQUEST) | {"sampler": "ddim"}), 3))
    assert [(frame.step, frame.total) for frame in frames] == [(1, 6), (4, 6), (6, 6)]
    with studio.manager.use(REQUEST.preset) as model, torch.inference_mode():
        for frame in frames:
            x_t, step = seen[frame.step - 1]
            assert frame.t == step.t
            for shown, latents in ((frame.expected, step.x0), (frame.noisy, x_t)):
                assert np.array_equal(shown, to_arrays(model.decode(latents))[0])


def test_of_a_small_picture_first_the_frames_are_enlarged(studio, tiny_model, monkeypatch):
    monkeypatch.setattr(tiny_model, "trained_size", (16, 16))
    request = TextToImage(**vars(REQUEST) | {"width": 48, "height": 32, "coarse": 0.5})
    result = result_of(studio, Progression(request, 5))
    (first, _), *frames = animation(result.paths[0])
    assert {frame.shape for frame, _ in frames} == {first.shape} == {(32, 48, 3)}


def test_a_wide_picture_has_its_frames_from_top_to_bottom():
    frame = Frame(1, 2, 500, *(np.full((10, 40, 3), value, np.uint8) for value in (1, 2)))
    last = Frame(2, 2, 1, *(np.full((10, 40, 3), value, np.uint8) for value in (3, 4)))
    made = Progression(REQUEST, 2).sheet([frame, last], last.noisy)
    tall = [np.unravel_index((made == v).all(2).argmax(), made.shape[:2]) for v in (1, 2, 3, 4)]
    assert tall[0][0] == tall[1][0] < tall[2][0] == tall[3][0]
    assert tall[0][1] == tall[2][1] < tall[1][1] == tall[3][1]
    film = Progression(REQUEST, 2).film([frame, last], last.noisy)
    assert [one[0, 0, 0] for one in film] == [1, 3, 4]


def test_a_run_that_begins_anew_has_its_steps_once(studio, monkeypatch):
    from ldm.tasks.covering import FrameRecorder  # noqa: PLC0415  (torch)

    recorder = FrameRecorder(lambda total: range(1, total + 1))
    for _ in range(2):
        events = studio._run_one(TextToImage(**vars(REQUEST) | {"count": 1}), recorder)
        with closing(events):
            for event in events:
                if isinstance(event, Progress) and event.step == 3:
                    break
    assert [frame.step for frame in recorder.frames] in ([1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("encoder error -2"), "encoder error -2"),
        (MemoryError(), "there is not enough memory"),
    ],
)
def test_without_room_for_sheet_or_film_the_rest_is_there(error, why, studio, monkeypatch):
    def full(*_):
        raise error

    asked = Progression(REQUEST, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Progression, "film", full)
        result = result_of(studio, asked)
        assert result.notes == (f"Its file does not play its steps: {why}.",)
        assert metadata.load(result.paths[1]).made == result.requests[1]
        assert not lacks_sheet(asked, result)
    with monkeypatch.context() as patch:
        patch.setattr(Progression, "sheet", full)
        result = result_of(studio, asked)
        assert result.notes == (f"There is no sheet of its steps: {why}.",)
        assert [metadata.load(path).request for path in result.paths] == list(result.requests)
        assert lacks_sheet(asked, result)
        assert not lacks_sheet(REQUEST, result)


def test_its_steps_join_the_picture_that_is_there(studio, tmp_path):
    first = result_of(studio, TextToImage(**vars(REQUEST) | {"count": 1}))
    other = result_of(studio, TextToImage(**vars(REQUEST) | {"count": 1, "steps": 5}))
    result = result_of(studio, Progression(first.requests[0], 3))
    assert result.paths[0] == first.paths[0]
    assert len(animation(first.paths[0])) > 1
    kept = {*first.paths, *other.paths, *result.paths}
    assert len(kept) == 3 and {*tmp_path.rglob("*.png")} == kept


def test_of_one_visitor_s_picture_no_other_one_s_steps_are_made(tiny, tmp_path):
    asked = Progression(TextToImage(**vars(REQUEST) | {"count": 1}), 3)
    public = Studio(out_dir=tmp_path, is_public=True)
    first, second = (result_of(public, asked).paths for _ in range(2))
    assert not {*first} & {*second}


def test_what_is_saved_is_kept_whatever_comes(studio):
    *_, last = [
        event for event in studio.run(Progression(REQUEST, 3)) if isinstance(event, Progress)
    ]
    assert len(last.kept.paths) == 1


def test_in_bands_its_progress_is_that_of_the_steps(studio):
    request = TextToImage(**vars(REQUEST) | {"cover": "bands", "steps": 2})
    events = [event for event in studio.run(Progression(request, 2)) if isinstance(event, Progress)]
    told = [(event.step, event.total) for event in events if event.stage == "sampling"]
    assert told == sorted(told)
    assert {total for _, total in told} == {2}


def test_on_the_command_line(tiny, tmp_path, capsys):
    flags = ["--prompt", "a lake", "--width", "16", "--height", "16", "--steps", "3"]
    assert main(["progression", "text-to-image", *flags, "--out", str(tmp_path)]) == 0
    film, sheet = capsys.readouterr().out.splitlines()
    assert sum(duration for _, duration in animation(film)[1:]) == 3 * 200 + 2000
    assert metadata.load(sheet).made.frames == 10
    about = ["--frames", "1", "--out", str(tmp_path)]
    assert main(["progression", "text-to-image", *flags, *about]) == 2
    assert capsys.readouterr().err == "error: frames must be 2 to 50, got 1.\n"


def test_what_another_version_wrote_is_the_request(tmp_path):
    path = tmp_path / "sheet.png"
    metadata.save(path, np.zeros((4, 4, 3), np.uint8), Progression(REQUEST).request, frames=10**6)
    assert metadata.load(path).made == Progression(REQUEST).request


def test_of_a_large_picture_there_is_a_sheet_and_no_film(studio, monkeypatch):
    from ldm.tasks import denoising  # noqa: PLC0415  (torch)

    monkeypatch.setattr(progression, "FILM_SIDE", 20)
    monkeypatch.setattr(denoising, "FRAME_SIDE", 16)
    kept, shown = [], Progression.sheet
    monkeypatch.setattr(Progression, "sheet", lambda *given: kept.append(given[1]) or shown(*given))
    request = TextToImage(**vars(REQUEST) | {"width": 32, "height": 16})
    result = result_of(studio, Progression(request, 2))
    assert {frame.expected.shape for frame in kept[0]} == {(8, 16, 3)}
    with Image.open(result.paths[0]) as film:
        assert film.n_frames == 1
    assert result.paths[1].name == f"{result.paths[0].stem}-steps-1.png"
    assert result.estimate is None


def test_the_padding_of_a_map_is_not_shown(tiny_model, monkeypatch):
    from ldm.diffusion.samplers import Step  # noqa: PLC0415
    from ldm.tasks.covering import Covered, FrameRecorder, Plan  # noqa: PLC0415  (torch)
    from ldm.tasks.denoising import StepPosition, _record_frame  # noqa: PLC0415
    from ldm.tasks.settings import Sampling, small_of  # noqa: PLC0415

    sampling = Sampling("ddim", 1, 1.0, 0.0, (5,), 16, 16, inner=(13, 10))
    latents, recorder = torch.zeros(1, 3, 8, 8), FrameRecorder(lambda total: {1})
    on = Covered(tiny_model, tiny_model, Plan("whole", 1))
    taken = latents, Step(0, 1, 1, latents, latents)
    with torch.inference_mode():
        list(_record_frame(on, sampling, taken, StepPosition(1, 1), recorder))
    assert recorder.frames[0].noisy.shape == (13, 10, 3)

    monkeypatch.setattr(tiny_model, "trained_size", (16, 16))
    canvas = Sampling("ddim", 6, 1.0, 0.0, (5,), 32, 48, inner=(30, 44), coarse=0.5)
    small = small_of(tiny_model, canvas)
    assert (small.height, small.width, small.inner) == (16, 24, (15, 22))
