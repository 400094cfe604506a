"""Sheets: pictures in a labelled grid."""

import numpy as np
import pytest
from PIL import ImageFont

from ldm.images.sheet import GAP, LINES, LONGEST, MARGIN, _lines, sheet, shrunk_to

FONT = ImageFont.load_default(13)


def picture(value, height=6, width=8):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("columns", [1, 2, 8])
def test_a_title_is_not_cut_however_narrow_the_sheet(columns, monkeypatch):
    written = []
    monkeypatch.setattr(
        "ldm.images.sheet._write", lambda _, lines, *__, **___: written.append(lines)
    )
    title = " ".join(["a long sentence about a lake"] * 10)
    sheet([[picture(0, 64, 64)] * columns], [""] * columns, title=title)
    assert " ".join(written[0]) == title


def test_a_sheet_has_every_picture_whole_in_its_place():
    rows = [[picture(10), picture(20, 4, 8)], [picture(30), picture(40)]]
    made = sheet(rows, ["one", "two"], ["first", "a second row"], "all of it")
    for value, size in ((10, 48), (20, 32), (30, 48), (40, 48)):
        assert (made == value).all(-1).sum() == size
    plain = sheet(rows, ["one", "two"])
    assert plain.shape[1] == 2 * 8 + GAP + 2 * MARGIN
    assert made.shape[1] > plain.shape[1]  # what stands beside the rows has room
    bottom = plain[-MARGIN - 6 : -MARGIN, MARGIN:]
    assert (bottom[:, :8] == 30).all()
    assert (bottom[:, 8 + GAP : 16 + GAP] == 40).all()
    assert (plain[-MARGIN:] == plain[0, 0]).all()


@pytest.mark.parametrize("words", ["a long sentence about a lake with mountains " * 9, "W" * 200])
def test_words_that_are_too_long_stay_over_their_picture(words):
    made = sheet([[picture(0, 90, 90), picture(0, 90, 90)]], [words, ""])
    ink = (made[MARGIN : -90 - MARGIN] < 128).all(-1).any(0)
    assert ink[MARGIN : MARGIN + 90].any()
    assert not ink[:MARGIN].any()
    assert not ink[MARGIN + 90 + GAP :].any()


def test_what_is_left_out_of_a_label_is_dots():
    *lines, last = _lines("a long sentence about a lake with mountains " * 9, 90, FONT)
    assert len(lines) == LINES - 1
    assert last.endswith(" …")
    assert _lines("steps 5", 90, FONT) == ["steps 5"]
    assert _lines("", 90, FONT) == [""]
    assert _lines("64 × 64 px", 90, FONT) == ["64 x 64 px"]  # the font has no such sign
    assert _lines("\u00fcber den Fl\u00fc\u00dfen", 300, FONT, 1)[0].startswith("uber den Flu")


def test_large_pictures_are_made_smaller_for_a_sheet():
    large = picture(7, 16, LONGEST // 2)
    small = shrunk_to(large, 1, 3)
    assert small.shape == (10, LONGEST // 3, 3)
    assert (small == 7).all()
    assert shrunk_to(large, 1, 2) is large
    assert shrunk_to(large, LONGEST, 1).shape == (1, LONGEST // 32, 3)
