"""Sound files of every format, read without a copy and without importing what they name."""

import io
import json
import lzma
import os
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ldm.checkpoints import pickles
from ldm.checkpoints import read as read_module
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError
from tests.folder_forms import Form, write_part

TINY = Path(__file__).parent / "reference" / "tiny"
CASES = sorted(path.name for path in TINY.iterdir() if (path / "model.ckpt.xz").exists())


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")

    def unpack(case: str) -> Path:
        path = folder / f"{case}.ckpt"
        if not path.exists():
            path.write_bytes(lzma.decompress((TINY / case / "model.ckpt.xz").read_bytes()))
        return path

    return unpack


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_there_are_cases():
    assert len(CASES) == 14


@pytest.mark.parametrize("case", CASES)
def test_every_published_layout_is_read(case, unpacked):
    about = json.loads((TINY / case / "case.json").read_text())
    tensors = read_checkpoint(unpacked(case))
    assert all(isinstance(t, torch.Tensor) and t.device.type == "cpu" for t in tensors.values())
    assert "pytorch_lightning" not in sys.modules
    assert len(tensors) > 60
    assert about["ckpt_style"] in ("plain", "lightning")


def test_the_lightning_layout_is_among_them():
    styles = {json.loads((TINY / c / "case.json").read_text())["ckpt_style"] for c in CASES}
    assert styles == {"plain", "lightning"}


def test_a_file_is_scanned_while_no_other_thread_allows_names(unpacked, monkeypatch):
    """torch's table of allowed names is the process's: what is in it, a scan does not name."""
    path = unpacked(next(c for c in CASES if "lightning" in (TINY / c / "case.json").read_text()))
    scan, alone = pickles._foreign_names, []
    monkeypatch.setattr(
        pickles,
        "_foreign_names",
        lambda path: alone.append(pickles._safe_globals.locked()) or scan(path),
    )
    read_checkpoint(path)
    assert alone == [True]


def test_formats_agree(tmp_path, unpacked):
    tensors = read_checkpoint(unpacked("ae_kl_attn"))
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "b.pt")
    torch.save({"state_dict": tensors}, tmp_path / "c.bin", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pt", "c.bin"):
        again = read_checkpoint(tmp_path / name)
        assert again.keys() == tensors.keys()
        assert all(torch.equal(again[k], tensors[k]) for k in tensors)


def test_names_and_dtypes_are_the_files_own(tmp_path):
    tensors = {
        "a.b": torch.ones(2, dtype=torch.float16),
        "c": torch.ones(3, dtype=torch.bfloat16),
        "n": torch.tensor(7),
    }
    save_file(tensors, tmp_path / "m.safetensors")
    read = read_checkpoint(tmp_path / "m.safetensors")
    assert {k: (t.dtype, tuple(t.shape)) for k, t in read.items()} == {
        k: (t.dtype, tuple(t.shape)) for k, t in tensors.items()
    }


@pytest.mark.parametrize("size", range(96, 160))
def test_every_length_of_header_is_told_from_text(tmp_path, size):
    entry = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(entry).encode().ljust(size)
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", size) + text + struct.pack("<f", 0.5))
    assert read_checkpoint(path)["w"].tolist() == [0.5]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", ["m.ckpt", "m.safetensors", "vae"])
def test_weights_stay_in_the_file_until_used(tmp_path, name):
    weights = {"w": torch.ones(16, 2**20)}  # 64 MiB
    path = tmp_path / name
    if name == "vae":  # in shards of a diffusers folder
        path.mkdir()
        (path / "config.json").write_text("{}")
        split = {f"quant_conv.{i}": row for i, row in enumerate(weights["w"].split(1))}
        write_part(path, split, Form(shard=2**23))
    elif name.endswith(".ckpt"):
        torch.save({"state_dict": weights}, path)
    else:
        save_file(weights, path)
    before = resident_bytes()
    tensors = read_checkpoint(path)
    assert resident_bytes() - before < 8 * 2**20
    assert sum(tensor.sum() for tensor in tensors.values()) == 16 * 2**20


def test_a_large_file_is_brought_once_before_it_is_mapped(tmp_path, monkeypatch):
    path, read = tmp_path / "m.safetensors", []
    ahead = read_module._read_ahead
    monkeypatch.setattr(read_module, "_read_ahead", lambda path: read.append(ahead(path)))
    save_file({"w": torch.ones(1000)}, path)
    read_checkpoint(path)
    assert not read
    monkeypatch.setattr(read_module, "LARGE_BYTES", 4000)
    assert read_checkpoint(path)["w"].sum() == 1000
    assert read == [None]
    ahead(tmp_path / "gone")  # the one who uses the file will say so


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system cannot tell")
def test_a_file_that_is_in_memory_is_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "m.bin"
    path.write_bytes(bytes(5 * read_module.PROBES))
    looks = []
    monkeypatch.setattr(os, "preadv", lambda file, into, place, how: looks.append(place) or 1)
    with path.open("rb") as file:
        assert read_module._is_in_memory(file.fileno(), path.stat().st_size)
        assert looks == [5 * i for i in range(read_module.PROBES)]

        def waits(*args):
            raise BlockingIOError

        monkeypatch.setattr(os, "preadv", waits)
        assert not read_module._is_in_memory(file.fileno(), path.stat().st_size)
        monkeypatch.delattr(os, "RWF_NOWAIT")
        assert not read_module._is_in_memory(file.fileno(), path.stat().st_size)


def test_writing_into_a_weight_leaves_the_file_as_it_is(tmp_path):
    for name in ("m.ckpt", "m.safetensors"):
        path = tmp_path / name
        weights = {"w": torch.ones(1000)}
        torch.save(weights, path) if name == "m.ckpt" else save_file(weights, path)
        before = path.read_bytes()
        read_checkpoint(path)["w"].zero_()
        assert path.read_bytes() == before
        assert read_checkpoint(path)["w"].sum() == 1000


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match="is no file"):
        read_checkpoint(tmp_path / "m.ckpt")


def test_a_record_that_is_listed_twice_is_refused(tmp_path):
    """Else a small file could claim a record as often as it likes."""
    path, file = tmp_path / "m.ckpt", io.BytesIO()
    torch.save({"w": torch.zeros(2048)}, file)
    path.write_bytes(file.getvalue())
    assert list(read_checkpoint(path)) == ["w"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist.append(max(archive.filelist, key=lambda entry: entry.file_size))
        archive.comment = b"changed"  # else the directory is not written again
    with pytest.raises(CheckpointError, match="claims more bytes than it has; do not use it"):
        read_checkpoint(path)
