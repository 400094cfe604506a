"""A filling meets the picture around its hole, whatever the first stage did to the colours."""

import torch

from ldm.tasks.joining import joined


def scene(height=48, width=40):
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(1, 3, 6, 5, generator=generator) - 0.5
    return torch.nn.functional.interpolate(rough, (height, width), mode="bicubic")


def hole_in(image):
    hole = torch.zeros(1, 1, *image.shape[2:])
    hole[..., 8:30, 10:36] = 1
    return hole


def test_outside_the_hole_nothing_changes():
    given, hole = scene(), hole_in(scene())
    known = (1 - hole).bool().expand_as(given)
    assert torch.equal(joined(-given, given, hole)[known], given[known])


def test_a_shift_of_the_colours_is_undone_exactly():
    given = scene()
    shifted = given + torch.tensor([0.2, -0.1, 0.05])[:, None, None]
    assert (joined(shifted, given, hole_in(given)) - given).abs().max() < 1e-5


def test_an_error_that_solves_laplaces_equation_is_undone_too():
    """x, y, x y and x^2 - y^2 are harmonic: their values on the rim give those in the hole."""
    given, hole = 0.5 * scene(), hole_in(scene())
    y = torch.linspace(-1, 1, 48)[:, None].expand(48, 40)
    x = torch.linspace(-1, 1, 40).expand(48, 40)
    error = 0.3 * torch.stack([x + y, x * y, x * x * (39 / 47) ** 2 - y * y])
    before = (error * hole).abs().max()
    after = (joined(given + error, given, hole) - given).abs().max()
    assert after < 0.1 * before


def test_details_in_the_hole_are_kept():
    """Only what is smooth is added: the differences of neighbours far from the rim stay."""
    given, hole = scene(), hole_in(scene())
    made = given + 0.1
    made[..., 18, 22] += 0.4
    got = joined(made, given, hole)
    assert abs(float((got - given)[0, 0, 18, 22]) - 0.4) < 0.01


def test_where_nothing_is_known_what_was_made_stays():
    made = scene()
    assert torch.equal(joined(made, torch.zeros_like(made), torch.ones(1, 1, 48, 40)), made)
