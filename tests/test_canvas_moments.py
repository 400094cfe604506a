"""Mean and variance of a map, from those of its strips."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ldm.canvas import moments
from ldm.canvas.banded import HANDLERS
from ldm.canvas.moments import Moments
from ldm.canvas.operations import banded
from ldm.canvas.workspace import Workspace


class NoFloat64(TorchFunctionMode):
    """As on a device without it: what has not been brought to the CPU cannot be made float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.cpu:
            there = args[0].clone()
            there.is_brought = True
            return there
        is_double = func is Tensor.double and not hasattr(args[0], "is_brought")
        is_double |= (kwargs or {}).get("dtype") is torch.float64
        if is_double or func is torch.batch_norm_update_stats:
            raise TypeError(f"{func.__name__} is not there")
        return func(*args, **(kwargs or {}))


def test_moments_do_not_lose_a_small_spread_beside_a_large_mean():
    x = 1e4 + torch.randn(1, 2, 64, 8)
    parts = Moments.merged([Moments.of(part) for part in x.split(7, dim=2)])
    mean, var = parts.grouped(1)
    assert mean.item() == pytest.approx(x.double().mean().item(), rel=1e-7)
    assert var.item() == pytest.approx(x.double().var(correction=0).item(), rel=1e-3)


def test_moments_of_strips_are_those_of_the_map():
    x = 30 + torch.randn(2, 6, 640, 8)
    gathered = Moments.gathered(Moments.of(part) for part in x.split(3, dim=2))
    mean, var = gathered.grouped(2)
    wanted = x.double().view(2, 2, -1)
    torch.testing.assert_close(mean[..., 0], wanted.mean(2), rtol=1e-7, atol=0)
    torch.testing.assert_close(var[..., 0], wanted.var(2, correction=0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_group_norm_in_bands_needs_no_float64_of_its_device(dtype, monkeypatch):
    x = (30 + 3 * torch.randn(2, 8, 96, 8, generator=torch.Generator().manual_seed(0))).to(dtype)
    weight, bias = torch.linspace(0.5, 1.5, 8), torch.linspace(-1, 1, 8)
    wanted = F.group_norm(F.silu(x).float(), 4, weight, bias)

    def in_bands():
        made = F.silu(banded(x, Workspace(2**20)))
        # not by F.group_norm: within a function that it lets pass, the mode sees nothing
        return HANDLERS[F.group_norm](made, 4, weight, bias).whole()

    as_ever = in_bands()
    monkeypatch.setattr(moments, "has_float64", lambda device: False)
    with NoFloat64():
        made = in_bands()
        assert Moments.unknown(1, 2, x.device).mean.dtype == torch.float64
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 5e-3}
    torch.testing.assert_close(made, as_ever, **tolerance)
    torch.testing.assert_close(made.float(), wanted, **tolerance)
