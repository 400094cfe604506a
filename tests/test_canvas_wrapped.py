"""Opposite edges meet: a shifted canvas gives the shifted result."""

import pytest
import torch
import torch.nn.functional as F

from ldm.canvas.wrapped import MARGIN, Wrap, wrapped
from ldm.diffusion.conditioning import Conditioning

BOTH = Wrap(down=True, across=True)
T = torch.zeros(1, dtype=torch.int64)


def smooth(x, t, cond):
    """A network with a reach of 3 cells, which looks at its condition too."""
    kernel = torch.ones(1, 2, 7, 7) / 98
    return F.conv2d(torch.cat([x, cond.concat], 1), kernel, padding=3)


def inputs(h=12, w=20):
    generator = torch.Generator().manual_seed(0)
    x, concat = torch.randn(2, 1, 1, h, w, generator=generator)
    return x, Conditioning(concat=concat)


@pytest.mark.parametrize("shift", [(0, 5), (7, 0), (3, 11)])
def test_a_shift_of_the_canvas_is_a_shift_of_the_result(shift):
    denoise, (x, cond) = wrapped(smooth, BOTH), inputs()
    moved = Conditioning(concat=cond.concat.roll(shift, (2, 3)))
    got = denoise(x.roll(shift, (2, 3)), T, moved)
    assert torch.allclose(got, denoise(x, T, cond).roll(shift, (2, 3)), atol=1e-6)
    assert not torch.allclose(
        smooth(x.roll(shift, (2, 3)), T, moved), smooth(x, T, cond).roll(shift, (2, 3)), atol=1e-3
    )


def test_only_the_edges_that_should_meet_do():
    x, cond = inputs()
    got = wrapped(smooth, Wrap(across=True))(x, T, cond)
    plain = smooth(x, T, cond)
    assert torch.allclose(got[..., 3:-3], plain[..., 3:-3], atol=1e-6)  # the upper edge as it was
    assert not torch.allclose(got[..., :3], plain[..., :3], atol=1e-3)


def test_no_edges_meet_is_the_denoiser_itself():
    assert wrapped(smooth, Wrap()) is smooth


@pytest.mark.parametrize("wrap", [Wrap(), BOTH, Wrap(down=True)])
@pytest.mark.parametrize("size", [(12, 20), (4, 4), (3, 17)])
def test_cutting_undoes_padding_at_any_scale(wrap, size):
    x = torch.randn(1, 3, *size)
    padded = wrap.pad(x)
    assert padded.shape[2:] == wrap.size(*size)
    assert torch.equal(wrap.cut(padded, *size), x)
    large = F.interpolate(padded, scale_factor=4.0)
    want = F.interpolate(x, scale_factor=4.0)
    assert torch.equal(wrap.cut(large, *size, 4), want)
    assert torch.equal(wrap.pad(want, 4), large)


def test_sides_that_meet_are_continued_to_what_every_network_takes():
    assert Wrap(across=True).size(5, 100) == (5, MARGIN + 100 + MARGIN + 4)
    assert BOTH.size(3, 16) == (MARGIN + 3 + MARGIN + 5, MARGIN + 16 + MARGIN)


def test_a_small_canvas_is_continued_more_than_once_around():
    row = torch.arange(3.0).reshape(1, 1, 1, 3)
    want = [(i - MARGIN) % 3 for i in range(24)]
    assert Wrap(across=True).pad(row).flatten().tolist() == want
