"""What the table of estimates is made of, and on which systems the benchmarks run."""

import os
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from ldm.benchmarks import alone as alone_room
from ldm.benchmarks import loading
from ldm.benchmarks.alone import alone, machine
from ldm.benchmarks.decoding import Case, measure
from ldm.benchmarks.estimate import Row, requests
from ldm.canvas.estimate import facts_of
from ldm.errors import LDMError
from ldm.requests import REQUESTS
from ldm.runtime.manager import ModelManager


def test_about_fifty_requests_of_all_tasks():
    made = [request for _, request in requests()]
    assert 45 <= len(made) <= 50
    assert {request.task for request in made} == set(REQUESTS)


def test_errors_are_relative_to_what_it_took():
    row = Row("", expected_seconds=3.0, seconds=2.0, expected_memory=80, memory=100)
    assert row.errors == (-0.19999999999999996, 0.5)


def decoder_line(cells):
    """MiB that the facts of a shipped model promise for a decode of so many cells."""
    with ModelManager(device="cpu").use("demo-text-to-image") as model:
        return facts_of(model).decoder.at(cells) / 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_memory_of_a_decode_is_what_the_process_takes(tmp_path):
    """And not only what its tensors take: the gaps between them are as large as they are."""
    inputs, side = tmp_path / "in.npy", 64
    np.save(inputs, torch.randn(1, 3, side, side).numpy())
    case = Case("demo-kl-f4", "decode", 4 * side, "float32", "whole")
    assert decoder_line(side * side) == pytest.approx(
        alone(measure, case, inputs, None).peak, rel=0.3
    )


def test_a_system_that_cannot_measure_loading_is_told_so(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(loading, "STATUS", tmp_path / "status")
        with pytest.raises(LDMError, match="bench loading needs Linux"):
            next(loading.table("demo-kl-f4"))
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    with pytest.raises(LDMError, match="bench loading needs Linux"):
        next(loading.table("demo-kl-f4"))


def test_a_machine_is_described_on_every_system(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    monkeypatch.setattr(alone_room, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(alone_room.psutil, "getloadavg", lambda: (1.25, 0.0, 0.0))
    for names, said in ((("A", "B"), "A, "), (("", "B"), "B, "), (("", ""), "a processor with")):
        for function, name in zip(("processor", "machine"), names, strict=True):
            monkeypatch.setattr(platform, function, lambda name=name: name)
        assert machine().startswith(said)
        assert machine().endswith("load 1.2 at the start")
