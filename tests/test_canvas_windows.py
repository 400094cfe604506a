import pytest
import torch

from ldm.canvas.windows import (
    Blend,
    EvenWindows,
    Windows,
    border_distance,
    windowed,
    windowed_decode,
)
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
    again = Blend(windows, canvas)(lambda y, x: canvas[:, :, y : y + 4, x : x + 4])
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


@pytest.mark.parametrize(("h", "w"), [(8, 8), (8, 12), (12, 20), (28, 64), (8, 9)])
def test_even_windows_cover_any_canvas_on_the_networks_grid(h, w):
    windows = EvenWindows((8, 8), multiple=4)
    corners = windows.corners(h, w)
    seen = torch.zeros(h, w)
    for y, x in corners:
        seen[y : y + 8, x : x + 8] += 1
    assert seen.min() >= 1
    assert len(set(corners)) == len(corners)
    columns = sorted({x for _, x in corners})
    assert (columns[0], columns[-1]) == (0, w - 8)
    assert all(x % 4 == 0 for x in columns[:-1])
    assert all(b - a <= 8 for a, b in zip(columns, columns[1:], strict=False))


def test_even_windows_are_no_larger_than_the_canvas():
    assert EvenWindows((8, 32)).on(16, 16).size == (8, 16)
    with pytest.raises(ValueError, match="a window of 32 is larger than a side of 16"):
        EvenWindows((8, 32)).corners(16, 16)


def test_even_windows_give_back_what_does_not_depend_on_the_window():
    canvas = torch.randn(2, 3, 20, 36, generator=torch.Generator().manual_seed(0))
    again = Blend(EvenWindows((8, 8), 4), canvas)(lambda y, x: canvas[:, :, y : y + 8, x : x + 8])
    assert torch.allclose(again, canvas, atol=1e-6)


def test_windows_that_disagree_are_blended_without_a_step():
    """A window's own number, blended: no two neighbours differ by more than the weights' slope."""
    numbers = iter(range(100))
    canvas = torch.zeros(1, 1, 8, 36)
    blend = Blend(EvenWindows((8, 8), 4), canvas)
    made = blend(lambda y, x: torch.full((1, 1, 8, 8), float(next(numbers))))
    assert made[0, 0, 4].diff().abs().max() < 0.5
    assert (made[0, 0, 4, 0], made[0, 0, 4, -1]) == (0, 7)
