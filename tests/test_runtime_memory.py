import ctypes
import sys

import pytest
import torch

from ldm.errors import RequestError
from ldm.runtime.memory import (
    default_budget,
    format_bytes,
    in_bytes,
    is_out_of_memory,
    left_to_container,
    parse_bytes,
    peak_resident,
    reset_peak,
    resident,
)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4GiB", 4 * 2**30),
        ("4gib", 4 * 2**30),
        (" 500 MB ", 500_000_000),
        ("1.5KiB", 1536),
        ("2TB", 2 * 10**12),
        ("1000", 1000),
    ],
)
def test_amounts(text, amount):
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "0", "0.4", "4 GiBs", "1e3", "9" * 400])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(RequestError, match="an amount like 4GiB or 500MB, got"):
        parse_bytes(text)


@pytest.mark.parametrize("amount", [-1, 1.5, True, None])
def test_what_is_no_number_of_bytes_is_refused(amount):
    with pytest.raises(RequestError, match=f"memory must be bytes .*, got {amount}"):
        in_bytes(amount)


def test_amounts_for_people():
    assert [format_bytes(n) for n in (12, 2048, 3 * 2**20, 5 * 2**29)] == [
        "12 bytes",
        "2.0 KiB",
        "3.0 MiB",
        "2.5 GiB",
    ]


def test_the_default_budget_leaves_room_to_compute(monkeypatch):
    free = 10 * 2**30
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": free}))
    assert 0.3 * free < default_budget(torch.device("cpu")) < 0.8 * free


def test_what_a_container_may_use_is_the_limit(tmp_path, monkeypatch):
    assert left_to_container(tmp_path) > 2**60
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert left_to_container(tmp_path) > 2**60
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 600\nactive_file 100\ninactive_file 200\n")
    assert left_to_container(tmp_path) == 4300
    monkeypatch.setattr("ldm.runtime.memory.left_to_container", lambda: 4000)
    assert default_budget(torch.device("cpu")) < 4000
    old = tmp_path / "old" / "memory"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("5000")
    (old / "memory.usage_in_bytes").write_text("6000")
    (old / "memory.stat").write_text("cache 1\n")
    assert left_to_container(old.parent) == 0


def test_on_cuda_it_is_the_device_that_counts(monkeypatch):
    """Its free memory and what torch keeps there; and what torch has in use, not this process."""
    asked, device = [], torch.device("cuda", 1)
    answers = {
        "mem_get_info": (700, 1000),
        "memory_reserved": 300,
        "memory_allocated": 100,
        "max_memory_allocated": 250,
        "reset_peak_memory_stats": None,
    }
    for name in answers:

        def answer(which, name=name):
            asked.append((name, which))
            return answers[name]

        monkeypatch.setattr(torch.cuda, name, answer)
    free = 700 + 300 - 100
    assert 0.3 * free < default_budget(device) < 0.8 * free
    assert (resident(device), peak_resident(device)) == (100, 250)
    reset_peak(device)
    assert asked[-1] == ("reset_peak_memory_stats", device)
    assert {which for _, which in asked} == {device}


def test_out_of_memory_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_system_without_glibc_is_asked_for_nothing_of_it(monkeypatch):
    """As on Windows, where there is no library without a name."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: len(name))
    assert resident() > 2**20
