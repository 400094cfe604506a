"""`python -m ldm sample TASK --requests FILE`: one request a line."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.cli import main
from ldm.errors import RequestError
from ldm.outputs import metadata
from ldm.requests import Inpaint, TextToImage, Upscale
from ldm.requests.as_json import from_lines
from ldm.requests.fields import Box
from ldm.tasks import bookmark

SAMPLE = ["sample", "text-to-image"]
SMALL = ["--width", "16", "--height", "16", "--steps", "2"]


@pytest.fixture
def file(tmp_path):
    """Write lines, each an object or a text, to a file; gives its path as a flag's value."""

    def write(*lines):
        path = tmp_path / "many.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts), "utf-8")
        return str(path)

    return write


def test_a_picture_is_made_again(tiny, tmp_path, capsys):
    own = {"seed": 7, "prompt": "a", "negative_prompt": "b", "seamless": "both", "sampler": "plms"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in own.items()]
    assert main([*SAMPLE, *SMALL, *flags, "--out", str(tmp_path / "1")]) == 0
    (path,) = (tmp_path / "1").iterdir()
    again = [*SAMPLE, "--requests", str(path), "--out"]
    assert main([*again, str(tmp_path / "2")]) == 0
    (copy,) = (tmp_path / "2").iterdir()
    assert np.array_equal(Image.open(copy), Image.open(path))
    assert main([*again, str(tmp_path / "3"), "--width", "32", "--prompt", "b"]) == 0
    (other,) = (tmp_path / "3").iterdir()
    request = metadata.load(other).request
    assert vars(request) | own | {"prompt": "b", "width": 32} == vars(request)
    assert main(["sample", "layout", "--requests", str(path)]) == 2
    assert "task must be text-to-image for " in capsys.readouterr().err


def test_a_sheet_is_not_one_picture_to_make_again(tmp_path, capsys):
    path = tmp_path / "sheet.png"
    request = TextToImage(prompt="a", seed=1, steps=2)
    compared = {"steps": [2, 3]}
    metadata.save(path, np.zeros((8, 8, 3), np.uint8), request, compared=compared)
    assert main([*SAMPLE, "--requests", str(path)]) == 2
    assert "is a sheet; name one of the pictures that are on it" in capsys.readouterr().err


def test_requests_are_utf_8_whatever_the_console_speaks(tiny, tmp_path, monkeypatch):
    line = json.dumps({"prompt": "ein See im Fr\u00fchling"}, ensure_ascii=False)
    console = io.TextIOWrapper(io.BytesIO(line.encode("utf-8-sig")), "cp1252")
    monkeypatch.setattr("sys.stdin", console)
    assert main([*SAMPLE, *SMALL, "--requests", "-", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    assert metadata.load(path).request.prompt == "ein See im Fr\u00fchling"


def test_pictures_and_boxes_may_be_named_as_files(tmp_path):
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(tmp_path / "small.png")
    boxes = [{"label": "tree", "left": 0, "top": 0, "right": 1, "bottom": 1}]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    line = json.dumps({"image": str(tmp_path / "small.png")})
    request = from_lines(line, {"task": Upscale.task}, reads_files=True)[1]
    assert (request.image.array() == 7).all()
    line = json.dumps({"boxes": str(tmp_path / "boxes.json")})
    request = from_lines(line, {"task": "layout"}, reads_files=True)[1]
    assert request.boxes == (Box("tree", 0, 0, 1, 1),)
    with pytest.raises(RequestError, match="line 1: there is no file 'none.png'"):
        from_lines('{"image": "none.png"}', {"task": Upscale.task}, reads_files=True)


def made(out):
    """The requests in the files whose paths were printed."""
    return [metadata.load(Path(line)).request for line in out.splitlines()]


def test_each_line_is_a_request_and_flags_say_the_rest(tiny, file, tmp_path, capsys):
    lines = file({"prompt": "a lake", "seed": 1}, "", {"prompt": "a wood", "steps": 3, "count": 2})
    assert main([*SAMPLE, *SMALL, "--seed", "7", "--requests", lines, "--out", str(tmp_path)]) == 0
    requests = made(capsys.readouterr().out)
    assert [(r.prompt, r.seed, r.steps, r.width) for r in requests] == [
        ("a lake", 1, 2, 16),
        ("a wood", 7, 3, 16),
        ("a wood", 8, 3, 16),
    ]
    assert len(tiny) == 1  # one manager of models


def test_what_json_prints_can_be_made_again(tiny, file, tmp_path, capsys, monkeypatch):
    main([*SAMPLE, "--prompt", "a lake", *SMALL, "--count", "2", "--out", str(tmp_path), "--json"])
    first = json.loads(capsys.readouterr().out)
    lines = "\n".join(map(json.dumps, first["requests"]))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert main([*SAMPLE, "--requests", "-", "--out", str(tmp_path), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["requests"] for answer in answers] == [[r] for r in first["requests"]]
    for old, answer in zip(first["paths"], answers, strict=True):
        (new,) = answer["paths"]
        assert (np.asarray(Image.open(old)) == np.asarray(Image.open(new))).all()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a lake", "a request must be a JSON object, got 'a lake'."),
        ("[" * 100_000, "a request must be a JSON object, got '[[["),
        ("5", "a request must be a JSON object, got '5'."),
        ({"prompt": "x", "stepz": 5}, "text-to-image has no field 'stepz'"),
        ({"steps": 5}, "text-to-image needs the field 'prompt'."),
        ({"prompt": "x", "steps": 0}, "steps must be 1 to 1000, got 0."),
        ({"prompt": "x", "task": "upscale"}, "task must be text-to-image here, got 'upscale'."),
        ({"prompt": "x", "image": "a.png"}, "there is no file 'a.png'."),
        # what only the preset knows
        ({"prompt": "x", "width": 100}, "width must be a multiple of 16 px for this model, got"),
        ({"prompt": "x", "preset": "nothing"}, "preset must be one of demo-text"),
        (
            {"prompt": "x", "preset": "text2img-large", "width": 64, "height": 64},
            "text2img-large is not on disk; get it with",
        ),
    ],
)
def test_a_wrong_line_is_told_with_its_number_before_any_picture_is_made(
    tiny, file, tmp_path, capsys, line, says
):
    lines = file({"prompt": "a lake"}, "", line, {"prompt": "a wood"})
    assert main([*SAMPLE, *SMALL, "--requests", lines, "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: line 3: {says}")
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n \n", "holds no request; one is a line of JSON."),
        (b"\xff\xfe", "must be text in UTF-8."),
        (None, "there is no file '"),
    ],
)
def test_a_file_without_requests_is_one_line(tmp_path, capsys, content, says):
    path = tmp_path / "many.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert main([*SAMPLE, "--requests", str(path)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_without_lines_a_prompt_is_still_required(capsys):
    with pytest.raises(SystemExit):
        main([*SAMPLE, "--steps", "2"])
    assert "required: --prompt" in capsys.readouterr().err


def test_flags_that_name_files_hold_for_all_lines(monkeypatch, file, tmp_path):
    asked = []
    monkeypatch.setattr("ldm.cli.pictures._run_lines", lambda _, lines: asked.append(lines) or 0)
    for name in ("image", "mask"):
        Image.new("RGB", (8, 8), "white").save(tmp_path / f"{name}.png")
    files = ["--image", str(tmp_path / "image.png"), "--mask", str(tmp_path / "mask.png")]
    lines = file({"seed": 1}, {"seed": 2, "mask_grow": 3})
    assert main(["sample", "inpaint", *files, "--requests", lines]) == 0
    about = {"image": tmp_path / "image.png", "mask": tmp_path / "mask.png"}
    want = {1: Inpaint(**about, seed=1), 2: Inpaint(**about, seed=2, mask_grow=3)}
    assert asked == [want]


def test_a_run_that_fails_names_its_line_and_how_to_go_on(
    tiny, tiny_model, file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(bookmark, "WORTH", 0)
    decode, calls = tiny_model.decode, []

    def once(*given):
        calls.append(given)
        if len(calls) == 2:
            raise RequestError("enough.")
        return decode(*given)

    command = [*SAMPLE, *SMALL, "--out", str(tmp_path), "--requests"]
    lines = [{"prompt": "a lake"}, {"prompt": "a wood", "variations": "7:0.5"}]
    with monkeypatch.context() as patch:
        patch.setattr(tiny_model, "decode", once)
        assert main([*command, file(*lines)]) == 2
    out, err = capsys.readouterr()
    assert [request.prompt for request in made(out)] == ["a lake"]
    told, error = err.strip().splitlines()
    assert error == "error: line 2: enough."
    start, end = "Stopped in line 2 after step 2 of 2; the same line with ", " goes on from there."
    assert (told[: len(start)], told[-len(end) :]) == (start, end)
    lines[1] |= json.loads("{" + told[len(start) : -len(end)] + "}")
    assert main([*command, file(*lines)]) == 0
    assert "It went on after step 2 of 2." in capsys.readouterr().err
