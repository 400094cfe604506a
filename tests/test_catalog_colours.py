import numpy as np
import pytest

from ldm.catalog.colours import distinct


@pytest.mark.parametrize(("count", "least"), [(15, 50), (182, 20), (1000, 10)])
def test_no_two_colours_are_taken_for_each_other(count, least):
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in distinct(count)])
    apart = np.abs(colours[:, None] - colours[None]).sum(-1)
    assert apart[~np.eye(count, dtype=bool)].min() >= least  # sum over red, green and blue


def test_a_longer_list_keeps_the_colours_of_a_shorter_one():
    assert distinct(200)[:20] == distinct(20)
    assert distinct(0) == ()
