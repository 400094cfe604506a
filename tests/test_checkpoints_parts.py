"""Weights in parts: read as one file, never by halves, and none of those that ship is too large."""

import subprocess
from pathlib import Path

import pytest
import torch

from ldm.checkpoints.parts import MAX_PART_BYTES, divided, files_of, is_there, names_of
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError
from ldm.training.snapshots import export_weights

ROOT = Path(__file__).parents[1]
WEIGHTS = {f"layer.{i}": torch.full((1000,), float(i)) for i in range(5)}  # 2000 bytes each


def write(path, largest):
    export_weights(path, WEIGHTS, {"step": "1"}, largest)
    return [file.name for file in files_of(path)]


def test_parts_are_read_as_the_file_that_they_are(tmp_path):
    path = tmp_path / "w.safetensors"
    assert write(path, 4500) == [f"w-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert is_there(path)
    assert not path.exists()
    read = read_checkpoint(path)
    assert {name: value.tolist() for name, value in read.items()} == {
        name: value.tolist() for name, value in WEIGHTS.items()
    }


def test_what_was_written_before_is_replaced(tmp_path):
    path = tmp_path / "w.safetensors"
    for largest, count in ((4500, 3), (8500, 2), (10**6, 1), (2500, 5)):
        assert len(write(path, largest)) == count
        assert len(list(tmp_path.iterdir())) == count


def test_weights_of_which_a_part_is_missing_are_not_there(tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, 4500)
    names_of(path, 3)[1].unlink()
    assert not is_there(path)
    with pytest.raises(CheckpointError, match=r"w\.safetensors does not exist"):
        read_checkpoint(path)


def test_names_stay_in_order_and_a_large_one_is_alone():
    assert divided({"a": 1, "b": 9, "c": 4, "d": 4, "e": 4}, 8) == [["a"], ["b"], ["c", "d"], ["e"]]
    assert divided({"a": 1}) == [["a"]]
    assert divided({"a": 9}, 8) == [["a"]]


def test_no_file_of_the_repository_is_refused_by_a_host():
    """Hugging Face takes files of 10 MB or more with git-lfs only."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    paths += (ROOT / "presets").rglob("*.safetensors")
    large = [path.name for path in paths if path.is_file() and path.stat().st_size > 10_000_000]
    assert large == []
    assert MAX_PART_BYTES < 10_000_000
