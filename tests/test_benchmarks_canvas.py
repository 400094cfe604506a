"""What the table of large canvases is made of; times are no test."""

import json
import mmap
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch

from ldm.benchmarks.cancel import table as cancel_table
from ldm.benchmarks.canvas import Choice, _compared, _keep, cases
from ldm.benchmarks.decoding import MIB, Case, Figures, measure, write_inputs
from ldm.benchmarks.figure import memory_figure
from ldm.benchmarks.resident import watched
from ldm.cli import main

PRESET = "demo-kl-f4"


def test_rows_are_compared_with_the_paper_s_code_and_with_whole(tmp_path):
    inputs = tmp_path / "in.npy"
    write_inputs(PRESET, "decode", 64, inputs)
    found = {}
    for way in ("plain", "whole", "bands"):
        case = Case(PRESET, "decode", 64, "float32", way, 2**20)
        got = measure(case, inputs, tmp_path / f"{way}-float32.npy")
        found[way] = _compared(case, got, tmp_path)
        assert (got.borders != ()) == (way == "bands")
    assert found["plain"].error is None
    assert 0 < found["whole"].error < 1e-4
    assert found["bands"].of_whole < 1e-4
    assert found["bands"].border <= 0.01
    broken = np.load(tmp_path / "bands-float32.npy")
    broken[:, 32:] += 0.5
    np.save(tmp_path / "bands-float32.npy", broken)
    got = Figures(1.0, 1.0, 1.0, borders=(32,))
    worse = _compared(case, got, tmp_path)
    assert worse.error == pytest.approx(0.5, rel=0.1)
    assert worse.border > 1
    assert worse.tone > 0.2


def test_the_usual_rows_leave_out_what_takes_too_much():
    rows = list(cases(Choice("kl-f8", against=True)))
    assert {row.way for row in rows if row.side == 2048} == {"bands", "diffusers, tiled"}
    assert {row.dtype for row in rows if row.side == 2048} == {"bfloat16"}
    assert {row.side for row in rows if row.way == "plain"} == {512, 1024}
    asked = cases(Choice("kl-f8", sides=[2048], ways=["diffusers"], against=True))
    assert [row.way for row in asked] == ["diffusers"]
    assert not [row for row in cases(Choice("vq-f4", against=True)) if "tiled" in row.way]
    steps = list(cases(Choice("semantic-synthesis256")))
    assert {(row.what, row.side) for row in steps} == {("step", 64), ("step", 256)}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["canvas", "--side", "0"], "--side must be a multiple of 8, got 0."),
        (["canvas", "--side", "-64"], "--side must be a multiple of 8, got -64."),
        (["canvas", "--preset", "demo-semantic", "--side", "30"], "multiple of 4, got 30."),
        (["canvas", "--record", "none/here/rows.json"], "none/here/rows.json cannot be written"),
        (["canvas", "--record", "tests"], "tests holds no rows of earlier runs"),
        (["canvas", "--record", "tests/reference/schedules.json"], "holds no rows of earlier"),
        (["cancel", "--side", "0"], "--side must be a multiple of 8, got 0."),
        (["request", "--rounds", "0"], "--rounds must be at least 1, got 0."),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is(flags, says, capsys):
    assert main(["bench", *flags]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert (out, err.count("\n")) == ("", 1)


def test_a_row_measured_again_takes_the_place_of_the_old_one(tmp_path):
    record = tmp_path / "canvas.json"
    for side, peak in ((512, 100.0), (1024, 200.0), (512, 300.0)):
        case = Case(PRESET, "decode", side, "float32", "bands", MIB)
        got = Figures(1.0, 1.0, peak)
        _keep(record, case, got, _compared(case, got, tmp_path))
    assert [(row["side"], row["peak"]) for row in json.loads(record.read_text())] == [
        (512, 300.0),
        (1024, 200.0),
    ]
    assert ET.fromstring(record.with_suffix(".svg").read_text()).tag.endswith("svg")


def test_the_figure_s_lines_rise_with_the_memory():
    rows = [
        {"preset": "a", "what": "decode", "side": side, "dtype": "float32", "way": way, "peak": mib}
        for way, peaks in (("whole", (256, 1024, 4096)), ("bands", (128, 128, 128)))
        for side, mib in zip((512, 1024, 2048), peaks, strict=True)
    ]
    lines = ET.fromstring(memory_figure(rows)).findall("{*}polyline")
    assert len(lines) == 2
    heights = [
        [float(point.split(",")[1]) for point in line.get("points").split()] for line in lines
    ]
    assert heights[0] == sorted(heights[0], reverse=True)
    assert len(set(heights[1])) == 1


def test_cancel_says_how_many_strips_there_are():
    threads = torch.get_num_threads()
    *_, row = cancel_table(PRESET, 64, "float32")
    strips, computed = (int(cell) for cell in row.split(" | ")[1:3])
    assert 0.5 * strips <= computed < strips
    assert torch.get_num_threads() == threads


def test_memory_of_its_own_and_of_files_is_told_apart(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 32 * MIB)
    with watched() as growth:
        # not np.ones: the heap may have room left from before, which would not be growth
        own = mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for _ in range(64):
            own.write(bytes(MIB))
        mapped = np.memmap(path, np.uint8, "r")
        assert mapped.sum() > 0
        until = time.monotonic() + 30
        while growth.mapped < 30 * MIB and time.monotonic() < until:
            time.sleep(0.002)
        del own
    assert 60 * MIB < growth.own < 80 * MIB
    assert 30 * MIB < growth.mapped < 40 * MIB
