"""Winograd's convolutions are convolutions."""

import pytest
import torch
import torch.nn.functional as F

from ldm.inference import winograd
from ldm.inference.winograd import (
    CHANNELS,
    FEW,
    HUGE,
    LARGE,
    NARROW,
    POINTS,
    Winograd,
    output_tile,
    transforms,
)

BF16 = torch.bfloat16
ROUNDING = 5e-5  # numbers here are as large as 20; by how the processor multiplies matrices


def numbers(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize("m", POINTS)
def test_outputs_are_sums_of_products_of_the_tile_and_the_kernel(m):
    """What they make of the tile's l-th number and the kernel's j-th is for output l - j."""
    tiles, kernels, outputs = (made.double() for made in transforms(m))
    made = torch.einsum("ik,kj,kl->ijl", outputs, kernels, tiles)
    want = torch.stack([torch.eye(m + 2)[i : i + 3] for i in range(m)])
    torch.testing.assert_close(made, want.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("m", POINTS)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 8), (7, 5), (16, 6), (9, 4)])
# numbers: one tile at a time, two or three, all at once
@pytest.mark.parametrize("chunk", [1, 900, 2**22])
@torch.no_grad()
def test_equal_to_the_direct_sum(m, size, chunk, monkeypatch):
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    monkeypatch.setattr(winograd, "FEW", 0)
    x, weight, bias = numbers(2, 5, *size), numbers(4, 5, 3, 3), numbers(4)
    plus = numbers(2, 4, *size)
    kernel = Winograd(weight, torch.float32, m)
    want = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(kernel(x, bias).double(), want, rtol=0, atol=ROUNDING)
    before = plus.clone()
    torch.testing.assert_close(
        kernel(x, None, plus).double(),
        want - bias.double()[:, None, None] + plus,
        rtol=0,
        atol=ROUNDING,
    )
    assert torch.equal(plus, before)


@pytest.mark.parametrize("m", POINTS)
@pytest.mark.parametrize("zeros", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("chunk", [1, 900, 2**22])
@torch.no_grad()
def test_a_strip(m, zeros, chunk, monkeypatch):
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    monkeypatch.setattr(winograd, "FEW", 0)
    x, weight, bias = numbers(2, 5, 7, 6), numbers(4, 5, 3, 3), numbers(4)
    got = Winograd(weight, torch.float32, m).strip(x, bias, *zeros)
    want = F.conv2d(F.pad(x, (1, 1, *zeros)).double(), weight.double(), bias.double())
    torch.testing.assert_close(got.double(), want, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("channels", [128, 384])
@pytest.mark.parametrize(
    "m, dtype, most", [(2, torch.float32, 1e-6), (4, torch.float32, 2.2e-6), (2, BF16, 7e-3)]
)
@torch.no_grad()
def test_no_digit_is_lost(m, dtype, most, channels):
    """Packed direct sums are off by 1e-6 and 1.7e-3, and m = 4 with other points by 3.4e-6."""
    x, weight = numbers(1, channels, 16, 16), numbers(channels, channels, 3, 3) / 48
    x, weight = x.to(dtype), weight.to(dtype)
    want = F.conv2d(x.double(), weight.double(), padding=1)
    made = Winograd(weight, dtype, m)(x, None)
    assert made.dtype == dtype
    assert (made - want).norm() < most * want.norm()


def wide(inputs, outputs, side=3):
    return torch.empty(outputs, inputs, side, side)


@pytest.mark.parametrize("dtype, m", [(torch.float32, 4), (BF16, 2)])
def test_plain_convolutions_of_many_channels_are_transformed(monkeypatch, dtype, m):
    monkeypatch.setattr(winograd, "has_tiles", lambda dtype: False)
    narrow = m if dtype == torch.float32 else 0
    assert output_tile(wide(CHANNELS, CHANNELS), dtype, 1, 1) == narrow
    assert output_tile(wide(CHANNELS, NARROW // CHANNELS), dtype, 1, 1) == narrow
    assert output_tile(wide(CHANNELS, NARROW // CHANNELS + 1), dtype, 1, 1) == m
    assert output_tile(wide(CHANNELS - 1, 512), dtype, 1, 1) == 0
    assert output_tile(wide(512, CHANNELS - 1), dtype, 1, 1) == 0
    assert output_tile(wide(256, 256), dtype, 2, 1) == 0
    assert output_tile(wide(256, 256), dtype, 1, 0) == 0
    assert output_tile(wide(256, 256, side=1), dtype, 1, 0) == 0
    assert output_tile(wide(256, 256), torch.float16, 1, 1) == 0
    assert output_tile(wide(HUGE // 256 + 1, 256), dtype, 1, 1) == 0
    # of large ones, four times the weights would be held
    assert output_tile(wide(LARGE // 256, 256), dtype, 1, 1) == m
    assert output_tile(wide(LARGE // 256 + 1, 256), dtype, 1, 1) == 2


@pytest.mark.parametrize("supported", [True, False])
def test_what_AMX_multiplies_is_not_transformed(monkeypatch, supported):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: supported, raising=False)
    assert output_tile(wide(256, 256), BF16, 1, 1) == (0 if supported else 2)
    assert output_tile(wide(256, 256), torch.float32, 1, 1) == 4  # there are no tiles of those
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert output_tile(wide(256, 256), BF16, 1, 1) == 2  # it cannot be asked


@torch.no_grad()
def test_a_few_tiles_of_few_channels_are_convolved_directly(monkeypatch):
    narrow = Winograd(numbers(8, 8, 3, 3), torch.float32, 4)
    monkeypatch.setattr(narrow, "_chunk", None)  # cannot be transformed
    x, plus = numbers(1, 8, 4 * FEW - 4, 4), numbers(1, 8, 4 * FEW - 4, 4)
    want = F.conv2d(x, numbers(8, 8, 3, 3), numbers(8), padding=1) + plus
    torch.testing.assert_close(narrow(x, numbers(8), plus), want)
    with pytest.raises(TypeError, match="not callable"):
        narrow(numbers(1, 8, 4 * FEW, 4), None)
    assert Winograd(numbers(NARROW // 8 + 1, 8, 3, 3), torch.float32, 4).direct is None


@pytest.mark.parametrize("m, dtype", [(2, torch.float32), (4, torch.float32), (2, BF16)])
@pytest.mark.parametrize("outputs", [8, NARROW // 8, NARROW // 8 + 1])
def test_how_much_is_kept_is_known_before(m, dtype, outputs):
    weight = numbers(outputs, 8, 3, 3)
    kept = winograd.numbers_of(weight, m) * dtype.itemsize
    assert kept == Winograd(weight, dtype, m).nbytes
