import dataclasses
import errno
import json
import logging
import os
import platform
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ldm
from ldm.catalog import download
from ldm.catalog.registry import load_preset
from ldm.cli import main
from ldm.cli import presets as cli_presets
from ldm.errors import TrainingError
from ldm.evaluation import report, verify
from ldm.outputs import metadata
from ldm.requests import TextToImage
from ldm.requests.as_json import from_dict
from ldm.training import run as training_run

SAMPLE = ["sample", "text-to-image", "--prompt", "a red house"]
SMALL = ["--width", "16", "--height", "16", "--steps", "3", "--seed", "4"]


@pytest.fixture(autouse=True)
def quiet_log():
    """Each run sets up logging; take it down again."""
    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before
    logging.root.setLevel(logging.WARNING)


def refused(capsys, *arguments):
    """The one line that a refused run says."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_presets_are_listed(capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    demo = next(line for line in lines if line.startswith("demo-text-to-image"))
    assert "128 x 128" in demo
    assert "shipped" in demo


def test_a_persons_own_model_is_called_so(monkeypatch, capsys):
    own = dataclasses.replace(load_preset("demo-layout"), name="mine", is_own=True)
    monkeypatch.setattr(cli_presets, "list_presets", lambda: [own])
    assert main(["presets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["source"] == "your own folder"


def test_one_preset_tells_what_it_knows(capsys):
    assert main(["presets", "demo-layout"]) == 0
    told = capsys.readouterr().out
    assert "classes: 0 sun, 1 moon, 2 pine" in told
    assert "guidance_scale 2.0" in told
    assert main(["presets", "demo-text-to-image", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["defaults"]["scale"] == 2
    assert any(line.startswith("Things: ") for line in row["words"])
    assert main(["presets", "demo-layuot"]) == 2
    assert "did you mean demo-layout" in capsys.readouterr().err


def test_presets_as_json(capsys):
    assert main(["presets", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    large = next(row for row in rows if row["name"] == "text2img-large")
    assert (large["task"], large["width"]) == ("text-to-image", 256)
    assert large["parameters"] == 1_537_948_389
    assert large["on_disk"] is False


def test_sample_writes_pictures_with_their_requests(tiny, tmp_path, capsys):
    assert main([*SAMPLE, *SMALL, "--count", "2", "--out", str(tmp_path)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [metadata.load(path).request.seed for path in paths] == [4, 5]


def test_without_a_folder_pictures_go_where_the_app_keeps_its_own(
    tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main([*SAMPLE, *SMALL]) == 0
    (path,) = tmp_path.glob("data/outputs/*/*.png")
    assert capsys.readouterr().out.strip() == str(path.relative_to(tmp_path))


def test_sample_as_json(tiny, tmp_path, capsys):
    arguments = [*SAMPLE, *SMALL, "--negative-prompt", "zeppelin", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [Path(path).exists() for path in answer["paths"]] == [True]
    assert from_dict(answer["requests"][0]).negative_prompt == "zeppelin"
    assert answer["seconds"] > 0
    assert "zeppelin" in answer["notes"][0]


def test_notes_go_to_stderr(tiny, tmp_path, capsys):
    main(["sample", "text-to-image", "--prompt", "a zeppelin", *SMALL, "--out", str(tmp_path)])
    assert "note: This model has never seen: zeppelin." in capsys.readouterr().err


def test_flags_reach_the_studio(tiny, tmp_path):
    flags = ["--device", "cpu", "--memory-budget", "3MiB", "--out", str(tmp_path)]
    assert main([*SAMPLE, *SMALL, *flags]) == 0
    assert tiny == [{"device": "cpu", "memory_budget": "3MiB", "precision": "auto"}]


def test_every_field_of_a_request_is_a_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sample", "text-to-image", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for field in fields(TextToImage):
        assert f"--{field.name.replace('_', '-')} " in text
    assert "(16 to 16384 px)" in text.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--steps", "0"], "steps must be 1 to 1000, got 0."),
        (["--steps", "1001"], "steps must be 1 to 1000, got 1001."),
        (
            ["--sampler", "euler"],
            "sampler must be one of ddim, dpmpp_2m, unipc, plms, ddpm, got 'euler'.",
        ),
        (["--prompt", ""], "prompt must say what to draw, got an empty one."),
        (["--prompt", "x" * 10_000], "prompt must be at most 2000 characters, got 10000."),
        (["--width", "17"], "width must be a multiple of 16 px for this model, got 17"),
        (["--width", "20000"], "width must be 16 to 16384 px, got 20000."),
        (
            ["--width", "16384", "--height", "4096"],
            "width and height must be at most 40 megapixels and 16384 px a side, "
            "got 16384 x 4096 px; 12608 x 3136 would do.",
        ),
        (["--seed", "-1"], "seed must be 0 to 4294967295, got -1."),
        (["--guidance-scale", "nan"], "guidance_scale must be a finite number, got nan."),
        (["--eta", "0.5", "--sampler", "plms"], "eta must be 0 for plms, got 0.5"),
        (["--preset", "demo-text-to-imag"], "did you mean demo-text-to-image"),
        (["--preset", "demo-vq-f4"], "demo-vq-f4 does first-stage, not text-to-image."),
        (["--memory-budget", "lots"], "an amount like 4GiB or 500MB, got 'lots'."),
    ],
)
def test_wrong_requests_are_one_line(tiny, tmp_path, capsys, arguments, says):
    arguments = [*SAMPLE, *SMALL, *arguments, "--out", str(tmp_path / "out")]
    assert says in refused(capsys, *arguments)


def test_a_wrong_device_is_one_line(tmp_path, capsys):
    arguments = [*SAMPLE, *SMALL, "--device", "gpu", "--out", str(tmp_path)]
    assert "device must be one of auto, cpu, cuda, mps" in refused(capsys, *arguments)


def test_a_folder_that_cannot_be_written_is_one_line(tiny, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = [*SAMPLE, *SMALL, "--out", str(tmp_path / "file" / "out")]
    assert "no picture can be saved in" in refused(capsys, *arguments)


def full_disk_from(monkeypatch, number):
    """Let the system refuse to write picture `number`, from 1, and all after it."""
    save, calls = metadata.save, []

    def saved(*given, **about):
        calls.append(given)
        if len(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*given, **about)

    monkeypatch.setattr(metadata, "save", saved)


def test_a_full_disk_is_not_the_fault_of_the_input(tiny, tmp_path, monkeypatch, capsys):
    full_disk_from(monkeypatch, 1)
    assert main([*SAMPLE, *SMALL, "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: no picture can be saved in {tmp_path}: No space left on device.")


def test_fewer_pictures_than_were_requested_are_a_failure(tiny, tmp_path, monkeypatch, capsys):
    full_disk_from(monkeypatch, 2)
    assert main([*SAMPLE, *SMALL, "--count", "2", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "note: Only 1 of 2 pictures could be saved: No space left on device." in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: VERB"),
        (["paint"], "invalid choice: 'paint'"),
        (["sample", "text-to-image", "--out", "x"], "required: --prompt"),
        ([*SAMPLE, "--out", "x", "--steps", "many"], "invalid int value: 'many'"),
        ([*SAMPLE, "--out", "x", "--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, says):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert says in err
    assert "--help" in err
    assert err.count("\n") == 1


def test_the_version_says_what_it_runs_on(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    beside = f"torch {version('torch')}, gradio {version('gradio')}"
    said = f"Latent Canvas {ldm.__version__} (python {platform.python_version()}, {beside})\n"
    assert capsys.readouterr().out == said


def test_verify_counts_and_fails_on_a_failure(monkeypatch, capsys):
    checks = [verify.Check("a", True, "exact"), verify.Check("b", False, "relative error 1.0")]
    monkeypatch.setattr(verify, "run_checks", lambda *folders, fast: iter(checks))
    assert main(["verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["ok     a: exact", "FAILED b: relative error 1.0", "1 passed, 1 failed"]
    assert main(["verify", "--json"]) == 1
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]
    checks.pop()
    assert main(["verify"]) == 0


def test_verify_of_nothing_is_refused(tmp_path, capsys):
    assert "holds no case" in refused(capsys, "verify", "--cases", str(tmp_path))


def test_train_reaches_the_loop_and_shows_its_progress(monkeypatch):
    asked = []
    monkeypatch.setattr(
        training_run, "train", lambda *about, **flags: asked.append((*about, flags))
    )
    logging.root.handlers[:] = []
    assert main(["train", "--resume", "a.yaml", "steps=4", "data.size=64"]) == 0
    assert main(["train", "a.yaml", "--replace"]) == 0
    flags = {"resume": True, "replace": False}, {"resume": False, "replace": True}
    changes = ["steps=4", "data.size=64"], []
    assert asked == [(Path("a.yaml"), *pair) for pair in zip(changes, flags, strict=True)]
    assert logging.getLogger("ldm").isEnabledFor(logging.INFO)


def test_train_without_a_configuration_is_one_line(tmp_path, capsys):
    path = str(tmp_path / "none.yaml")
    assert refused(capsys, "train", path) == f"error: there is no file {path!r}.\n"


def test_evaluate_fails_below_the_bar(monkeypatch, capsys):
    rows = [report.Row("PSNR", 31.0, "dB", 30.0), report.Row("SSIM", 0.8, "", 0.9)]
    monkeypatch.setattr(report, "evaluate", lambda preset, scenes: rows)
    assert main(["evaluate", "--preset", "x", "--json"]) == 1
    assert [row["passed"] for row in json.loads(capsys.readouterr().out)] == [True, False]
    assert main(["evaluate", "--preset", "x"]) == 1
    assert "below" in capsys.readouterr().out
    rows.pop()
    assert main(["evaluate", "--preset", "x"]) == 0


def test_evaluate_of_an_unknown_preset_is_one_line(capsys):
    assert "preset" in refused(capsys, "evaluate", "--preset", "none")


def test_convert(tmp_path, capsys):
    torch.save({"state_dict": {"a.weight": torch.ones(2)}}, tmp_path / "a.ckpt")
    out = tmp_path / "a.safetensors"
    assert main(["convert", str(tmp_path / "a.ckpt"), str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert load_file(out)["a.weight"].tolist() == [1, 1]
    assert "exists already" in refused(capsys, "convert", str(out), str(out))


def test_convert_of_a_broken_file_is_one_line(tmp_path, capsys):
    (tmp_path / "a.ckpt").write_text("<html>")
    out = str(tmp_path / "a.safetensors")
    assert "a.ckpt" in refused(capsys, "convert", str(tmp_path / "a.ckpt"), out)


def test_download_of_an_unknown_preset_is_one_line(capsys):
    assert "preset" in refused(capsys, "download", "none")


def test_download_shows_how_much_is_there_on_a_terminal(monkeypatch, capsys):
    def fetch(preset, on_progress):
        on_progress(2**20, None)
        on_progress(2**20, 2**21)
        on_progress(2**21, 2**21)
        return Path("models/celeba256/model.ckpt")

    monkeypatch.setattr(download, "download_preset", fetch)
    assert main(["download", "celeba256"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main(["download", "celeba256"])
    out, err = capsys.readouterr()
    assert out == "models/celeba256/model.ckpt\n"
    assert err == "\r1.0 MiB  \r1.0 of 2.0 MiB  \r2.0 of 2.0 MiB  \n"


def test_an_error_of_our_own_is_not_hidden(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(training_run, "train", broken)
    with pytest.raises(ZeroDivisionError):
        main(["train", "a.yaml"])


def test_a_fault_of_a_file_that_nobody_expected_is_one_line(monkeypatch, capsys):
    def broken(*_, **__):
        Path("a" * 300).stat()

    monkeypatch.setattr(training_run, "train", broken)
    assert "File name too long." in refused(capsys, "train", "a.yaml")


def test_a_training_error_is_one_line(monkeypatch, capsys):
    def refuse(*_, **__):
        raise TrainingError("a.yaml has no field 'stepz'.")

    monkeypatch.setattr(training_run, "train", refuse)
    assert refused(capsys, "train", "a.yaml") == "error: a.yaml has no field 'stepz'.\n"
