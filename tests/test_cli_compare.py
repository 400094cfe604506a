"""`python -m ldm compare`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.catalog.schema import Defaults
from ldm.cli import main
from ldm.errors import RequestError
from ldm.outputs import metadata
from ldm.requests.as_json import from_dict

COMPARE = ["compare", "text-to-image", "--prompt", "a lake", "--seed", "4"]
SMALL = ["--width", "16", "--height", "16"]
BOTH = ["--across", "steps=1,2,3", "--down", "sampler=ddim,plms"]


def test_the_sheet_and_its_pictures_are_saved_and_say_how_they_were_made(tiny, tmp_path, capsys):
    assert main([*COMPARE, *SMALL, *BOTH, "--out", str(tmp_path)]) == 0
    sheet, *paths = (Path(line) for line in capsys.readouterr().out.splitlines())
    assert sorted(tmp_path.iterdir()) == sorted([sheet, *paths])
    requests = [metadata.load(path).request for path in paths]
    made = [(request.steps, request.sampler) for request in requests]
    assert made == [(s, name) for name in ("ddim", "plms") for s in (1, 2, 3)]
    record = metadata.load(sheet)
    assert record.compared == {"steps": [1, 2, 3], "sampler": ["ddim", "plms"]}
    assert record.request == requests[0]
    assert record.weights_sha256 == "abc"
    assert metadata.load(paths[0]).compared == {}
    page = np.asarray(Image.open(sheet))
    last = np.asarray(Image.open(paths[-1]))
    windows = np.lib.stride_tricks.sliding_window_view(page, last.shape)
    assert (windows == last).all((3, 4, 5)).any()


def test_how_many_is_no_question(capsys):
    with pytest.raises(SystemExit):
        main([*COMPARE, "--across", "seed=1,2", "--count", "3", "--out", "x"])
    assert "--count" in capsys.readouterr().err


def test_as_json(tiny, tmp_path, capsys):
    axes = ["--across", "eta=0,1", "--down", "steps=2"]
    assert main([*COMPARE, *SMALL, *axes, "--out", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    sheet, *pictures = answer["requests"]
    assert sheet.pop("compared") == {"eta": [0.0, 1.0], "steps": [2]}
    assert [sheet | {"eta": eta, "steps": 2} for eta in (0.0, 1.0)] == pictures
    assert {"eta", "steps"} & set(sheet) == set()
    assert from_dict(sheet).prompt == "a lake"
    assert None not in (sheet["seed"], sheet["sampler"], sheet["guidance_scale"])
    assert [from_dict(request).eta for request in pictures] == [0.0, 1.0]


def test_a_sheets_json_holds_what_all_its_pictures_have(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Defaults, "eta_for", lambda _, sampler: 0.5 if sampler == "ddim" else 0.0)
    axes = ["--across", "seed=7,8", "--down", "sampler=ddim,plms", "--steps", "2"]
    assert main([*COMPARE, *SMALL, *axes, "--out", str(tmp_path), "--json"]) == 0
    sheet, *pictures = json.loads(capsys.readouterr().out)["requests"]
    assert [picture["eta"] for picture in pictures] == [0.5, 0.5, 0.0, 0.0]
    assert set(pictures[0]) - set(sheet) == {"seed", "sampler", "eta"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--across", "steps"], "across must be a field and its values, like steps=5,10,20, got"),
        (["--across", "steps=1", "--down", "eta"], "down must be a field and its values, like"),
        (["--across", "steps=1,x"], "steps takes whole numbers, got 'x'."),
        (["--across", "steps=1,0"], "steps must be 1 to 1000, got 0."),
        (["--across", "width=16,100,32"], "width must be a multiple of 16 px for this model, got"),
        (
            ["--across", "sampler=ddim,plms", "--eta", "0.5"],
            "eta must be 0 for plms, got 0.5; only",
        ),
        (["--across", "preset=demo-text-to-image,nothing"], "preset must be one of demo-text"),
    ],
)
def test_what_is_wrong_is_told_before_any_picture_is_made(tiny, tmp_path, capsys, flags, says):
    folder = tmp_path / "pictures"
    assert main([*COMPARE, *SMALL, *flags, "--out", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {says}")
    assert error.count("\n") == 1
    assert not folder.exists()


def test_what_was_made_before_an_error_stays(tiny, tiny_model, tmp_path, capsys, monkeypatch):
    decode, calls = tiny_model.decode, []

    def once(*given):
        calls.append(given)
        if len(calls) == 2:
            raise RequestError("enough.")
        return decode(*given)

    monkeypatch.setattr(tiny_model, "decode", once)
    assert main([*COMPARE, *SMALL, "--across", "steps=1,2", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert err.strip() == "note: 1 of 2 pictures were made, and no sheet: enough."
    assert [metadata.load(Path(path)).request.steps for path in out.splitlines()] == [1]


def test_a_model_that_is_not_here_is_told_first(tiny, tmp_path, capsys):
    models = "preset=demo-text-to-image,text2img-large"
    assert main([*COMPARE, "--across", models, "--out", str(tmp_path)]) == 2
    assert "text2img-large is not on disk; get it with" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
