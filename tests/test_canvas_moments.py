"""Mean and variance of a map, from those of its strips."""

import pytest
import torch

from ldm.canvas.moments import Moments


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
