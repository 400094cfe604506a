"""Rate and distortion of a picture: by the shipped model, by a tiny one, on the command line."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.cli import main
from ldm.errors import RequestError
from ldm.events import Progress
from ldm.images import EncodedImage
from ldm.outputs import metadata
from ldm.outputs.rate_distortion import COLUMNS, SHOWN, RateCurve, RatePoint, size
from ldm.requests import Box, ClassConditional, Layout, Semantic, TextToImage, Upscale
from ldm.runtime.manager import ModelManager
from ldm.studio import Studio
from ldm.tasks import rate_distortion as task
from ldm.tasks.rate_distortion import INPUTS, rate_distortion
from tests.test_tasks_covering import REQUEST

EXAMPLES = Path("ui/examples")
PICTURE = EncodedImage.from_array(
    np.random.default_rng(0).integers(256, size=(64, 96, 3), dtype=np.uint8)
)
SMALL = PICTURE.array()[:32, :48]


def curve_of(model, request=REQUEST, messages=5, context=None):
    *progress, curve = rate_distortion(model, replace(request, image=PICTURE), context, messages)
    assert all(isinstance(event, Progress) for event in progress)
    return curve


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    manager = ModelManager(device="cpu", precision="float32")
    return Studio(data_dir=tmp_path_factory.mktemp("data"), manager=manager)


def test_a_true_prompt_saves_bytes_and_a_false_one_costs_some(studio):
    path = next((EXAMPLES / "text-to-image").glob("2-*.png"))  # oaks in autumn
    about = {"image": EncodedImage.from_file(path), "width": 96, "height": 64, "seed": 0}
    made = replace(metadata.load(path).request, **about)
    *progress, true = studio.rate_distortion(made, 12)
    assert [event.step for event in progress if event.stage == "coding"][-1] == 11
    *_, false = studio.rate_distortion(replace(made, prompt="a village in the snow at night"), 12)
    bits, errors = ([getattr(point, name) for point in true.points] for name in ("bits", "rmse"))
    assert bits == sorted(bits)
    assert errors[-1] < 10 < 30 < errors[0]
    assert true.pixels == 96 * 64
    last = true.points[-2]
    assert last.bits < last.bits_without < false.points[-2].bits
    assert last.bits_without == pytest.approx(false.points[-2].bits_without, rel=1e-4)


def test_guidance_and_the_settings_of_a_run_do_not_matter(tiny_model):
    curve = curve_of(tiny_model)
    others = {"guidance_scale": 7.0, "steps": 2, "sampler": "plms", "negative_prompt": "fog"}
    other = curve_of(tiny_model, replace(REQUEST, count=3, coarse=0.5, **others))
    assert [point.bits for point in other.points] == [point.bits for point in curve.points]
    assert other.points[0].bits_without == curve.points[0].bits_without
    again = curve_of(tiny_model, replace(REQUEST, seed=8))
    assert [point.t for point in again.points] == [point.t for point in curve.points]
    assert again.points[3].bits != curve.points[3].bits


def test_the_picture_is_seen_on_its_way(tiny_model):
    curve = curve_of(tiny_model, messages=12)
    assert len(curve.points) > SHOWN == len(curve.shown)
    assert (curve.shown[0], curve.shown[-1]) == (curve.points[0], curve.points[-1])
    first, last = curve.shown[0], curve.shown[-1]
    assert first.sent.shape == last.expected.shape == (64, 96, 3)
    decoded = tiny_model.decode(tiny_model.encode(as_tensor(PICTURE)))
    off = [np.abs(as_array(decoded).astype(int) - one.sent).mean() for one in (first, last)]
    assert off[1] < off[0] / 2  # x_0 is a little noisy still
    sheet = curve.sheet(PICTURE.array(), "a red house")
    assert sheet.shape[1] > (SHOWN + 1) * 96 > sheet.shape[0]


def test_there_are_no_more_messages_than_time_steps(tiny_model, monkeypatch):
    asked = []
    monkeypatch.setattr(task, "even_messages", lambda _, count: asked.append(count) or [999, 0])
    curve_of(tiny_model, messages=5000)
    assert asked == [1000]


def as_tensor(image):
    return torch.from_numpy(image.array().copy()).permute(2, 0, 1)[None] / 127.5 - 1


def as_array(tensor):
    return ((tensor[0].detach().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def test_every_task_that_starts_from_a_picture_is_coded(studio):
    path = next((EXAMPLES / "semantic").glob("*.png"))
    painted = metadata.load(path).request.label_map.array()[-64:, :96]
    boxes = (Box("house", 0.3, 0.4, 0.6, 0.8),)
    about = {"image": path, "width": 96, "height": 64}
    made = [Semantic(label_map=painted, image=path), Layout(boxes=boxes, **about)]
    made += [ClassConditional(class_index=4, **about)]
    made += [ClassConditional(**about)]  # any class: there is nothing to be known
    assert {request.task for request in made} == set(INPUTS) - {"text-to-image"}
    for request in made:
        *_, curve = studio.rate_distortion(request, 4)
        has_empty = isinstance(request, Layout) or getattr(request, "class_index", None) is not None
        assert [point.bits_without is not None for point in curve.points] == [has_empty] * 4
        assert curve.points[-1].rmse < curve.points[0].rmse / 2


def test_what_cannot_be_coded_is_told(studio):
    for request in (REQUEST, Upscale(image=PICTURE)):
        with pytest.raises(RequestError, match="a picture is coded by a request of text-to-image"):
            next(studio.rate_distortion(request))
    for messages in (1, 2.5, "3"):
        words = f"messages must be a whole number from 2, got {messages!r}"
        with pytest.raises(RequestError, match=words):
            next(studio.rate_distortion(replace(REQUEST, image=PICTURE), messages))


def test_numbers_as_csv_and_lengths_in_words():
    curve = RateCurve(100, (RatePoint(999, 8.0, None, 30.5), RatePoint(0, 800.0, 880.0, 2.25)))
    rows = list(csv.reader(io.StringIO(curve.to_csv())))
    assert rows == [
        list(COLUMNS),
        ["999", "1.0", "0.08", "30.5", ""],
        ["0", "100.0", "8.0", "2.25", "110.0"],
    ]
    assert [size(8 * count) for count in (0.14, 9.94, 9.96, 999.4, 999.6)] == [
        "0.1 bytes",
        "9.9 bytes",
        "10 bytes",
        "999 bytes",
        "1.0 kB",
    ]


def test_the_command_line(tmp_path, capsys):
    path = tmp_path / "own.png"
    Image.fromarray(PICTURE.array()).save(path)
    with_files = ["--csv", str(tmp_path / "a.csv"), "--sheet", str(tmp_path / "sheet.png")]
    told = ["rate-distortion", str(path), "--prompt", "a lake", "--messages", "3"]
    assert main([*told, *with_files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["t", "bytes", "bit/px", "RMSE", "bytes", "without", "condition"]
    assert [line.split()[0] for line in lines[1:]] == ["999", "416", "0"]
    assert (tmp_path / "a.csv").read_text().count("\n") == 4
    assert Image.open(tmp_path / "sheet.png").width > 4 * 96
    assert main([*told, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["pixels"], [point["t"] for point in made["points"]]) == (64 * 96, [999, 416, 0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ui/examples", "examples cannot be read: Is a directory."),
        ("nowhere.png", "there is no file 'nowhere.png'."),
        ("docs/text-to-image.png", "it was not made here; with --prompt any picture is coded."),
        (
            "docs/steps.jpg",
            "only a PNG made here has parameters; with --prompt any picture is coded.",
        ),
    ],
)
def test_wrong_pictures_are_refused(capsys, name, words):
    assert main(["rate-distortion", name]) == 2
    assert words in capsys.readouterr().err


def saved(tmp_path, request):
    path = tmp_path / f"{request.task}.png"
    metadata.save(path, SMALL, request)
    return str(path)


def test_any_picture_is_coded_with_a_prompt_or_a_model_that_needs_none(tmp_path, capsys):
    upscaled = saved(tmp_path, Upscale(image=PICTURE))
    foreign = tmp_path / "own.png"
    Image.fromarray(SMALL).save(foreign)
    painted = saved(tmp_path, Semantic(label_map=SMALL[..., 0] // 64))
    drawn = saved(tmp_path, TextToImage(prompt="a house", width=48, height=32))
    for arguments in (
        [upscaled, "--prompt", "a lake"],
        [painted, "--prompt", "a lake"],
        [str(foreign), "--preset", "demo-ddpm"],
        [drawn, "--preset", "demo-ddpm"],
    ):
        assert main(["rate-distortion", *arguments, "--messages", "2"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3
    for arguments, words in (
        ([upscaled], "upscale.png was made by upscale; with --prompt any picture is coded."),
        ([str(foreign), "--preset", "demo-semantic"], "it was not made here; with --prompt any"),
        (
            [drawn, "--preset", "demo-semantic"],
            "was made by text-to-image, unlike demo-semantic; with --prompt any picture is coded.",
        ),
        ([upscaled, "--prompt", "a", "--csv", str(tmp_path)], "give a file in a folder of yours."),
        ([upscaled, "--prompt", "a", "--sheet", "a.txt"], "a.txt cannot be written; it should end"),
    ):
        assert main(["rate-distortion", *arguments]) == 2
        assert words in capsys.readouterr().err
