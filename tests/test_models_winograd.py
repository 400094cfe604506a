"""Turned convolutions are convolutions."""

import pytest
import torch
import torch.nn.functional as F

from ldm.models import winograd
from ldm.models.winograd import Winograd, pays


def numbers(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 8), (7, 5), (16, 6)])
@pytest.mark.parametrize("chunk", [1, 2**22])  # numbers: one row of tiles at a time, all at once
@torch.no_grad()
def test_equal_to_the_direct_sum(size, chunk, monkeypatch):
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    x, weight, bias = numbers(2, 5, *size), numbers(4, 5, 3, 3), numbers(4)
    plus = numbers(2, 4, *size)
    kernel = Winograd(weight, torch.float32)
    want = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(kernel(x, bias).double(), want, rtol=0, atol=1e-5)
    before = plus.clone()
    torch.testing.assert_close(
        kernel(x, None, plus).double(),
        want - bias.double()[:, None, None] + plus,
        rtol=0,
        atol=1e-5,
    )
    assert torch.equal(plus, before)


@pytest.mark.parametrize("zeros", [(0, 0), (1, 0), (0, 1), (1, 1)])
@torch.no_grad()
def test_a_strip(zeros):
    x, weight, bias = numbers(2, 5, 7, 6), numbers(4, 5, 3, 3), numbers(4)
    got = Winograd(weight, torch.float32).strip(x, bias, *zeros)
    want = F.conv2d(F.pad(x, (1, 1, *zeros)).double(), weight.double(), bias.double())
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5)


def test_only_plain_wide_convolutions_are_turned():
    wide, narrow = torch.empty(256, 256, 3, 3), torch.empty(256, 64, 3, 3)

    def is_turned(weight, stride=1, padding=1):
        return pays(weight, torch.float32, stride, padding)

    assert is_turned(wide)
    sizes = ((320, 160), (160, 320), (160, 160), (512, 128))
    assert [is_turned(torch.empty(*size, 3, 3)) for size in sizes] == [True, True, False, False]
    assert not is_turned(narrow)
    assert not is_turned(wide, stride=2)
    assert not is_turned(wide, padding=0)
    assert not is_turned(torch.empty(256, 256, 1, 1), padding=0)


@pytest.mark.parametrize("supported", [True, False])
def test_what_is_multiplied_in_tiles_is_not_turned(monkeypatch, supported):
    wide = torch.empty(256, 256, 3, 3)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: supported, raising=False)
    assert pays(wide, torch.bfloat16, 1, 1) is not supported
    assert pays(wide, torch.float32, 1, 1)  # there are no tiles of those
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert pays(wide, torch.bfloat16, 1, 1)  # it cannot be asked
