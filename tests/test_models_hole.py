import pytest
import torch

from ldm.models.hole import pull_push


def picture(height, width):
    """Colours that change evenly, so that a smooth filling is nearly the truth."""
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    return torch.stack([y + 0 * x, x + 0 * y, (x + y) / 2])[None]


@pytest.mark.parametrize("size", [(16, 16), (15, 33), (1, 7)])
def test_what_is_known_stays(size):
    image = picture(*size)
    hole = (torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    filled = pull_push(image, hole)
    assert torch.equal(filled * (1 - hole), image * (1 - hole))


def test_one_colour_is_filled_with_itself():
    hole = torch.zeros(1, 1, 24, 24)
    hole[..., 3:20, 5:24] = 1
    filled = pull_push(torch.full((1, 3, 24, 24), 0.25), hole)
    assert (filled - 0.25).abs().max() < 1e-6


def test_the_filling_comes_from_around_the_hole_not_from_within():
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., 12:20, 12:20] = 1
    image = picture(32, 32)
    filled = pull_push(image, hole)
    assert (filled - image).abs().max() < 0.25
    assert torch.equal(filled, pull_push(image.masked_fill(hole.bool(), 9.0), hole))


def test_a_picture_that_is_all_hole_is_grey():
    assert not pull_push(picture(8, 8), torch.ones(1, 1, 8, 8)).any()
