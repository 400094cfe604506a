import pytest
import torch

from ldm.canvas.windows import Windows, blend, border_distance, windowed, windowed_decode
from ldm.diffusion.conditioning import Conditioning


def test_corners_are_row_by_row():
    windows = Windows(size=(4, 4), stride=(2, 4))
    assert windows.corners(6, 8) == [(0, 0), (0, 4), (2, 0), (2, 4)]
    assert windows.corners(4, 4) == [(0, 0)]


@pytest.mark.parametrize("side", [(3, 8), (7, 8), (8, 9)])
def test_windows_must_fit(side):
    with pytest.raises(ValueError, match="do not cover a side of"):
        Windows(size=(4, 4), stride=(2, 2)).corners(*side)


def test_border_distance_by_hand():
    expected = torch.tensor([[0, 0, 0], [0, 0.5, 0], [0, 0, 0]])
    assert torch.equal(border_distance(3, 3), expected)
    assert float(border_distance(5, 5)[1, 2]) == 0.25


@pytest.mark.parametrize("favour_middle", [False, True])
def test_blending_gives_back_what_does_not_depend_on_the_window(favour_middle):
    canvas = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    windows = Windows(size=(4, 4), stride=(2, 4), favour_middle=favour_middle)
    again = blend(windows, canvas, lambda y, x: canvas[:, :, y : y + 4, x : x + 4])
    assert torch.allclose(again, canvas, atol=1e-6)


def test_one_window_is_no_window():
    x, t = torch.randn(1, 2, 6, 6), torch.tensor([5])
    cond = Conditioning(concat=torch.randn(1, 2, 6, 6))

    def denoise(x, t, cond):
        return x.mean() + cond.concat * x

    alone = windowed(denoise, Windows(size=(6, 6), stride=(6, 6)))(x, t, cond)
    assert torch.allclose(alone, denoise(x, t, cond), atol=1e-6)


def test_a_window_sees_its_own_conditioning():
    x, t = torch.zeros(1, 1, 4, 8), torch.tensor([5])
    cond = Conditioning(concat=torch.arange(32.0).view(1, 1, 4, 8))
    windows = Windows(size=(4, 4), stride=(4, 4))
    out = windowed(lambda x, t, cond: x + cond.concat, windows)(x, t, cond)
    assert torch.allclose(out, cond.concat, atol=1e-5)


def test_windowed_decode_enlarges():
    latents = torch.randn(1, 3, 4, 6)
    windows = Windows(size=(4, 4), stride=(4, 2))

    def decode(z):
        return z.repeat_interleave(2, 2).repeat_interleave(2, 3)

    assert torch.allclose(windowed_decode(decode, windows, latents, 2), decode(latents), atol=1e-6)
