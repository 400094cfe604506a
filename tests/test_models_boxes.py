import torch

from ldm.catalog.layout_tokens import LayoutTokens
from ldm.models.boxes import drawn_boxes

TOKENS = LayoutTokens(1040, 62)  # corners on a grid of 32 points a side
CLASSES = 6


def drawn(*boxes, cells=(31, 31)):
    return drawn_boxes(TOKENS([boxes]), 1040, CLASSES, cells)[0]


def test_a_box_covers_its_cells_in_the_channel_of_its_class():
    got = drawn((2, 4 / 31, 8 / 31, 10 / 31, 20 / 31))
    expected = torch.zeros(CLASSES, 31, 31)
    expected[2, 8:20, 4:10] = 1
    assert torch.allclose(got[:CLASSES], expected, atol=1e-5)


def test_a_cell_that_is_half_in_a_box_counts_half():
    got = drawn((0, 0.0, 0.0, 1 / 31, 1.0), cells=(4, 31))
    coarse = drawn((0, 0.0, 0.0, 1 / 31, 1.0), cells=(4, 1))
    assert torch.allclose(got[0].mean(), coarse[0].mean(), atol=1e-5)


def test_the_place_in_the_box_runs_from_edge_to_edge():
    column, row = drawn((1, 0.0, 10 / 31, 10 / 31, 20 / 31))[CLASSES:]
    assert torch.allclose(column[15, :10], torch.linspace(-0.9, 0.9, 10), atol=1e-4)
    assert torch.allclose(row[10:20, 5], torch.linspace(-0.9, 0.9, 10), atol=1e-4)
    assert not column[5].any()


def test_the_order_of_boxes_does_not_matter_and_nothing_is_nothing():
    boxes = [(1, 0.0, 0.0, 0.5, 0.5), (1, 0.2, 0.2, 0.9, 0.9), (4, 0.5, 0.1, 0.6, 1.0)]
    assert torch.allclose(drawn(*boxes), drawn(*boxes[::-1]), atol=1e-6)
    assert drawn(*boxes)[:CLASSES].max() <= 1
    assert not drawn().any()
    assert not drawn_boxes(TOKENS.unconditional(), 1040, CLASSES, (8, 8)).any()
