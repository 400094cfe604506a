"""Broken and hostile files: none runs anything, each is one line with the file and the remedy."""

import io
import json
import os
import pickle
import struct
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError

WEIGHTS = {"encoder.conv_in.weight": torch.arange(2048.0), "encoder.conv_in.bias": torch.ones(3)}


class Runs:
    """Pickles to a call of `function(*arguments)`."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


class Built:
    """Pickles to a new object of this class and its state."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __setstate__(self, state: dict) -> None:
        Path(state["canary"]).touch()


class Module(nn.Linear):
    """A whole network, pickled by reference to its class."""


def saved(payload: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(payload, file, **options)
    return file.getvalue()


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return file.getvalue()


def with_member(ending: str, content: bytes) -> bytes:
    """A sound torch archive with another content of one member."""
    with zipfile.ZipFile(io.BytesIO(saved(WEIGHTS))) as sound:
        members = {name: sound.read(name) for name in sound.namelist()}
    return archive({name: content if name.endswith(ending) else m for name, m in members.items()})


def with_pickle(content: bytes) -> bytes:
    """Likewise, with another program as its pickle."""
    return with_member("/data.pkl", content)


def header(entries: dict, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def oversized() -> bytes:
    """Claims a tensor of 8 GB in a storage of 8 KB."""
    sound = saved({"state_dict": {"w": torch.zeros(2048)}})
    with zipfile.ZipFile(io.BytesIO(sound)) as file:
        (name,) = [n for n in file.namelist() if n.endswith("data.pkl")]
        program = file.read(name)
    shape = b"M\x00\x08\x85"  # (2048,)
    assert shape in program
    return with_pickle(program.replace(shape, b"J\x00\x00\x00\x7f\x85"))


def touch(canary: Path) -> Runs:
    return Runs(os.system, f"touch {canary}")


CASES: dict[str, tuple[str, str, Callable[[Path], bytes]]] = {
    "empty": ("m.ckpt", "is empty", lambda _: b""),
    "zeros": ("m.ckpt", "only zeros", lambda _: bytes(4096)),
    "empty safetensors": ("m.safetensors", "is empty", lambda _: b""),
    "lfs pointer": (
        "m.ckpt",
        "git-LFS pointer",
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n",
    ),
    "lfs pointer safetensors": (
        "m.safetensors",
        "git-LFS pointer",
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n",
    ),
    "web page": ("m.ckpt", "web page", lambda _: b"\n<!DOCTYPE html><html>not found</html>"),
    "server message": ("m.safetensors", "text file", lambda _: b'{"error": "gated"}'),
    "endless offsets": (
        "m.safetensors",
        "unreadable header",
        lambda _: header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e999]}}),
    ),
    "memory": (
        "m.ckpt",
        "wants to run 'bytearray'",
        lambda _: saved({"state_dict": WEIGHTS, "more": Runs(bytearray, 10**10)}),
    ),
    "memory, before torch 1.6": (
        "m.ckpt",
        "wants to run 'bytearray'",
        lambda _: saved(
            {"state_dict": WEIGHTS, "more": Runs(bytearray, 10**10)},
            _use_new_zipfile_serialization=False,
        ),
    ),
    "nested tensor": (
        "m.ckpt",
        "wants to run '_rebuild_nested_tensor'",
        lambda _: saved({"state_dict": {"w": torch.nested.nested_tensor([torch.zeros(1)])}}),
    ),
    "nested tensor, before torch 1.6": (
        "m.ckpt",
        "wants to run '_rebuild_nested_tensor'",
        lambda _: saved(
            {"state_dict": {"w": torch.nested.nested_tensor([torch.zeros(1)])}},
            _use_new_zipfile_serialization=False,
        ),
    ),
    "other name": ("m.txt", "by its name", lambda _: saved(WEIGHTS)),
    "no suffix": ("model", "by its name", lambda _: saved(WEIGHTS)),
    "random bytes": ("m.ckpt", "no checkpoint", lambda _: bytes(range(7, 256)) * 9),
    "random safetensors": ("m.safetensors", "no safetensors", lambda _: bytes(range(7, 256)) * 9),
    "cut ckpt": ("m.ckpt", "cut off", lambda _: saved(WEIGHTS)[:-300]),
    "cut ckpt early": ("m.ckpt", "cut off", lambda _: saved(WEIGHTS)[:700]),
    "cut safetensors": ("m.safetensors", "cut off", lambda _: save(WEIGHTS)[:-5]),
    "cut header": ("m.safetensors", "cut off", lambda _: save(WEIGHTS)[:60]),
    "huge header": ("m.safetensors", "header of", lambda _: header({}, length=2**62)),
    "header is no json": (
        "m.safetensors",
        "unreadable header",
        lambda _: struct.pack("<Q", 8) + b"{not js}" + bytes(64),
    ),
    "header without offsets": ("m.safetensors", "unreadable", lambda _: header({"w": {}})),
    "overlapping tensors": (
        "m.safetensors",
        "damaged",
        lambda _: header(
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            },
            bytes(12),
        ),
    ),
    "unknown dtype": (
        "m.safetensors",
        "damaged",
        lambda _: header({"a": {"dtype": "F7", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    ),
    "offsets that are text": (
        "m.safetensors",
        "damaged",
        lambda _: header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, "8"]}}, bytes(8)),
    ),
    "safetensors as ckpt": ("m.ckpt", "rename", lambda _: save(WEIGHTS)),
    "ckpt as safetensors": ("m.safetensors", "rename", lambda _: saved(WEIGHTS)),
    "downloaded archive": (
        "m.ckpt",
        "unpack 'model.ckpt'",
        lambda _: archive({"model.ckpt": saved(WEIGHTS), "config.yaml": b"model:"}),
    ),
    "other archive": ("m.ckpt", "zip archive", lambda _: archive({"a.txt": b"hello"})),
    "zip bomb": (
        "m.ckpt",
        "compressed",
        lambda _: archive({"m/data.pkl": bytes(8_000_000)}, zipfile.ZIP_DEFLATED),
    ),
    "endless pickle": ("m.ckpt", "pickle of", lambda _: archive({"m/data.pkl": bytes(70_000_000)})),
    "garbage in the pickle": ("m.ckpt", "damaged", lambda _: with_pickle(b"\x80\x02garbage")),
    "empty pickle": ("m.ckpt", "damaged", lambda _: with_pickle(b"")),
    "record cut short": ("m.ckpt", "other bytes", lambda _: with_member("/data/0", bytes(8188))),
    "last record cut short": ("m.ckpt", "other bytes", lambda _: with_member("/data/1", b"four")),
    "record too long": ("m.ckpt", "other bytes", lambda _: with_member("/data/0", bytes(8196))),
    "claims gigabytes": ("m.ckpt", "damaged", lambda _: oversized()),
    "no dictionary": ("m.ckpt", "no state_dict", lambda _: saved([torch.ones(3)])),
    "empty state_dict": ("m.ckpt", "no state_dict", lambda _: saved({"state_dict": {}})),
    "training state only": ("m.ckpt", "'epoch'", lambda _: saved({"epoch": 3, "w": torch.ones(1)})),
    "nested state_dict": ("m.ckpt", "'gen'", lambda _: saved({"state_dict": {"gen": WEIGHTS}})),
    "sparse weights": (
        "m.ckpt",
        "'w'",
        lambda _: saved({"state_dict": {"w": torch.eye(3).to_sparse()}}),
    ),
    "whole network": ("m.ckpt", "Module", lambda _: saved(Module(2, 2))),
    "plain pickle": ("m.ckpt", "plain pickle", lambda c: pickle.dumps(touch(c))),
    "runs a shell": ("m.ckpt", "wants to run", lambda c: saved({"state_dict": {"w": touch(c)}})),
    "runs a shell, old format": (
        "m.ckpt",
        "wants to run",
        lambda c: saved({"w": touch(c)}, _use_new_zipfile_serialization=False),
    ),
    "runs in the training state": (
        "m.ckpt",
        "wants to run",
        lambda c: saved({"state_dict": WEIGHTS, "callbacks": touch(c)}),
    ),
    "opens a process": (
        "m.ckpt",
        "Popen'",
        lambda c: saved({"state_dict": WEIGHTS, "x": Runs(subprocess.Popen, ["touch", str(c)])}),
    ),
    "evaluates a string": (
        "m.ckpt",
        "wants to run",
        lambda c: saved({"state_dict": WEIGHTS, "x": Runs(exec, f"open({str(c)!r}, 'w')")}),
    ),
    "reads another checkpoint": (
        "m.ckpt",
        "wants to run 'torch.serialization.load'",
        lambda c: saved({"state_dict": WEIGHTS, "x": Runs(torch.load, str(c))}),
    ),
    "builds an object": (
        "m.ckpt",
        "wants to run",
        lambda c: saved({"state_dict": WEIGHTS, "callbacks": Built(c)}),
    ),
    "calls in a key": (
        "m.ckpt",
        "wants to run",
        lambda c: with_pickle(
            b"\x80\x02}cpathlib\nPath\nX%sq\x01\x85R}s." % _text(str(c))
        ),
    ),
    "sets attributes of torch": (
        "m.ckpt",
        "damaged",
        lambda _: with_pickle(
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X%sNs\x86b." % _text("__code__")
        ),
    ),
}  # fmt: skip


def _text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_line_without_running(case, tmp_path):
    name, words, make = CASES[case]
    canary = tmp_path / "canary"
    path = tmp_path / name
    path.write_bytes(make(canary))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert not canary.exists()
    assert message.startswith(str(path))
    assert words in message
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) < len(str(path)) + 250
    assert caught.value.__cause__ is None


def test_the_hostile_files_do_run_when_unpickled(tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "m.ckpt"
    path.write_bytes(CASES["runs a shell"][2](canary))
    torch.load(path, weights_only=False)
    assert canary.exists()


def test_a_missing_file_and_a_bare_folder_are_named(tmp_path):
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match=str(path)):
            read_checkpoint(path)


def test_a_refused_name_is_not_allowed_afterwards(tmp_path):
    before = torch.serialization.get_safe_globals()
    path = tmp_path / "m.ckpt"
    path.write_bytes(CASES["opens a process"][2](tmp_path / "canary"))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert torch.serialization.get_safe_globals() == before


def test_numbers_in_the_training_state_are_harmless(tmp_path):
    path = tmp_path / "m.ckpt"
    rate = torch.linspace(0, 1, 3).numpy()[1]  # a numpy scalar, as some schedulers leave it
    torch.save({"state_dict": OrderedDict(WEIGHTS), "lr_schedulers": [{"last_lr": rate}]}, path)
    tensors = read_checkpoint(path)
    assert {k: v.tolist() for k, v in tensors.items()} == {
        k: v.tolist() for k, v in WEIGHTS.items()
    }
