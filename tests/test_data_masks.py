"""Holes: their share, their kinds and their growth to whole cells."""

import numpy as np
import pytest

from ldm.data.masks import (
    KINDS,
    SHARE,
    around,
    borders,
    boxes,
    draw,
    thick_strokes,
    thin_strokes,
    to_cells,
)


@pytest.mark.parametrize(("width", "height"), [(128, 128), (256, 128), (512, 128)])
def test_holes_take_a_bounded_share_or_all(width, height):
    rng = np.random.default_rng(0)
    drawn = [draw(rng, width, height) for _ in range(120)]
    shares = np.array([mask.mean() for mask in drawn])
    assert all(mask.shape == (height, width) and mask.dtype == np.uint8 for mask in drawn)
    assert set(np.unique(np.stack(drawn))) == {0, 1}
    within = (shares >= SHARE[0]) & (shares <= SHARE[1])
    assert (within | (shares == 1)).all()
    assert 0.15 < shares[within].mean() < 0.45
    assert 0 < (shares == 1).sum() < 15


def test_kinds_are_what_they_are_called():
    rng = np.random.default_rng(1)
    # the widest disc that fits into a stroke tells thick from thin
    thick = [widest(thick_strokes(rng, 128, 128)) for _ in range(20)]
    thin = [widest(thin_strokes(rng, 128, 128)) for _ in range(20)]
    assert np.median(thick) > 1.5 * np.median(thin)
    edge = borders(rng, 128, 128)
    rows, columns = edge.all(axis=1), edge.all(axis=0)
    assert np.array_equal(edge.astype(bool), rows[:, None] | columns[None])
    assert boxes(rng, 128, 128).any()
    assert sum(chance for chance, _ in KINDS.values()) == pytest.approx(1)


def widest(mask):
    """Times a hole can be shrunk by one px on all sides before nothing is left of it."""
    count = 0
    while mask.any():
        inner = np.pad(mask, 1)
        mask = mask & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        count += 1
    return count


def test_a_cell_with_any_masked_px_is_masked():
    mask = np.zeros((8, 12), np.uint8)
    mask[3, 4] = mask[7, 11] = 1
    grown = to_cells(mask, 4)
    expected = np.zeros((8, 12), np.uint8)
    expected[:4, 4:8] = expected[4:, 8:] = 1
    assert np.array_equal(grown, expected)
    assert np.array_equal(to_cells(grown, 4), grown)
    with pytest.raises(ValueError, match="multiples of 4"):
        to_cells(mask[:7], 4)


def test_holes_are_a_function_of_the_generator():
    first, again = (draw(np.random.default_rng(3), 64, 64) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_hole_around_a_box_holds_all_of_it():
    rng = np.random.default_rng(2)
    for _ in range(200):
        x0, y0 = rng.integers(0, 100, 2)
        x1, y1 = x0 + rng.integers(2, 40), y0 + rng.integers(2, 40)
        mask = around(rng, 128, 128, (x0, y0, x1, y1))
        assert mask[y0:y1, x0:x1].all()
        assert mask.sum() < 8 * (x1 - x0 + 8) * (y1 - y0 + 8)
