"""Our request and the library's pipeline make the same picture."""

import importlib.util

import numpy as np
import pytest
import torch

from ldm.benchmarks import request
from ldm.benchmarks.request import pictures, psnr, table


@pytest.fixture(autouse=True)
def _computes_in_bfloat16(monkeypatch):
    """Or imitates it: these are small."""
    monkeypatch.setattr(request, "has_arithmetic", lambda dtype: True)


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs diffusers")
def test_the_librarys_pipeline_makes_our_picture():
    """Or the comparison of times would mean nothing."""
    with torch.inference_mode():
        made = {way: make() for way, make in pictures(against=True, steps=10).items()}
    want = made["diffusers, float32"].astype(int)
    assert np.abs(made["ours, float32"].astype(int) - want).max() <= 1
    assert psnr(made["ours, bfloat16"], made["diffusers, float32"]) > 35


def test_the_table_has_a_row_for_each_way(monkeypatch):
    lines = list(table(against=False, rounds=1, busy=False, steps=1))
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| ours, float32", "| ours, bfloat16"]
    monkeypatch.setattr(request, "has_arithmetic", lambda dtype: False)
    assert list(pictures(against=False, steps=1)) == ["ours, float32"]
    assert psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)) == 0
