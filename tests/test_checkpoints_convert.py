"""Converted files hold the same weights, or do not exist."""

import lzma
from pathlib import Path

import pytest
import torch

from ldm.checkpoints.convert import convert
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError

TINY = Path(__file__).parent / "reference" / "tiny"


@pytest.fixture
def checkpoint(tmp_path):
    """Holds its first stage twice in the same memory, and averaged weights."""
    content = lzma.decompress((TINY / "inpainting_concat" / "model.ckpt.xz").read_bytes())
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    return path


def test_the_same_weights_under_the_same_names(checkpoint, tmp_path):
    out = convert(checkpoint, tmp_path / "new" / "model.safetensors")
    before, after = read_checkpoint(checkpoint), read_checkpoint(out)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(before[k].dtype == after[k].dtype for k in before)
    assert [p.name for p in out.parent.iterdir()] == ["model.safetensors"]


def test_paths_may_be_text(checkpoint, tmp_path):
    out = tmp_path / "model.safetensors"
    assert convert(str(checkpoint), str(out)) == out
    assert out.is_file()


@pytest.mark.parametrize(
    ("weights", "bytes_"),
    [
        ({"a": torch.ones(1).expand(20_000, 20_000)}, "1600000000 bytes of weights and has 4;"),
        (dict.fromkeys(map(str, range(300)), torch.ones(100)), "120000 .* has 400;"),
    ],
)
def test_numbers_repeated_without_end_are_refused(tmp_path, weights, bytes_):
    """A file of two kilobytes must not become one of gigabytes."""
    torch.save(weights, tmp_path / "v.pt")
    with pytest.raises(CheckpointError, match=f"v.pt claims {bytes_}"):
        convert(tmp_path / "v.pt", tmp_path / "v.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["v.pt"]


def test_numbers_that_the_format_lacks_are_refused(tmp_path):
    torch.save({"a": torch.ones(1, dtype=torch.complex128)}, tmp_path / "v.pt")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(tmp_path / "v.pt", tmp_path / "v.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["v.pt"]


@pytest.mark.parametrize("name", ["__metadata__", "half \ud800"])
def test_a_name_that_the_format_lacks_is_refused(tmp_path, name):
    """The first would become a file that nobody can read."""
    torch.save({name: torch.ones(2), "a": torch.ones(1)}, tmp_path / "v.pt")
    with pytest.raises(CheckpointError, match=r"v\.(pt|safetensors) "):
        convert(tmp_path / "v.pt", tmp_path / "v.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["v.pt"]


def test_a_name_that_the_system_refuses_is_one_sentence(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        convert(tmp_path / ("a" * 300), tmp_path / "out.safetensors")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(checkpoint, tmp_path / ("a" * 300 + ".safetensors"))


def test_views_of_one_tensor_are_written_apart(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": whole[0], "b": whole[1], "c": whole.T, "d": whole}, tmp_path / "v.pt")
    after = read_checkpoint(convert(tmp_path / "v.pt", tmp_path / "v.safetensors"))
    assert {k: t.tolist() for k, t in after.items()} == {
        "a": [0, 1, 2],
        "b": [3, 4, 5],
        "c": [[0, 3], [1, 4], [2, 5]],
        "d": [[0, 1, 2], [3, 4, 5]],
    }


def test_nothing_is_overwritten_and_nothing_half_written(checkpoint, tmp_path):
    out = tmp_path / "model.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(CheckpointError, match="exists already"):
        convert(checkpoint, out)
    assert out.read_bytes() == b"mine"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(checkpoint, tmp_path / "file" / "model.safetensors")
    checkpoint.write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="web page"):
        convert(checkpoint, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_the_result_must_be_named_for_what_it_is(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="end in .safetensors"):
        convert(checkpoint, tmp_path / "model.ckpt2")
