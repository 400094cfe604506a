"""The command line in a process of its own: exit codes, silence, signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments):
    """A run in a process of its own."""
    command = [sys.executable, "-m", "ldm", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_help_names_every_verb():
    answer = run("--help")
    assert answer.returncode == 0
    for verb in ("presets", "sample", "verify", "train", "evaluate", "convert", "download"):
        assert f"    {verb} " in answer.stdout


def test_wrong_input_ends_with_2_and_without_a_traceback(tmp_path):
    answer = run(
        "sample", "text-to-image", "--prompt", "x", "--preset", "none", "--out", str(tmp_path)
    )
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1


def test_control_c_ends_with_130_and_in_silence():
    code = (
        "import sys, time; from ldm import cli; from ldm.cli import presets;"
        "presets._presets = lambda _: (print('ready', flush=True), time.sleep(60));"
        "sys.exit(cli.main(['presets']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130


def test_a_reader_that_leaves_early_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ldm", "presets"]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with os.fdopen(writer, "w") as pipe:
        answer = subprocess.run(
            command, cwd=ROOT, env=buffered, stdout=pipe, stderr=subprocess.PIPE, timeout=60
        )
    assert answer.stderr == b""
    assert answer.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
@pytest.mark.parametrize("arguments", [["presets"], ["--help"], ["--version"]])
def test_output_that_cannot_be_written_ends_with_1(arguments):
    command = [sys.executable, "-m", "ldm", *arguments]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:
        answer = subprocess.run(
            command, cwd=ROOT, env=buffered, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert answer.stderr == b"error: No space left on device.\n"
    assert answer.returncode == 1
