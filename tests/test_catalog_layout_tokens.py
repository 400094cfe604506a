"""Layout tokens equal those of the authors' code."""

import json
from pathlib import Path

import pytest

from ldm.catalog.layout_tokens import LayoutTokens

GOLDEN = json.loads((Path(__file__).parent / "reference" / "layout_tokens.json").read_text("utf-8"))
PLAIN = [
    example
    for example in GOLDEN["examples"]
    if not example["crop_xywh"]
    and not any(key.startswith("is_") for thing in example["objects_in_order"] for key in thing)
]


@pytest.mark.parametrize("example", PLAIN, ids=lambda example: example["title"][:24])
def test_ids_equal_the_authors(example):
    tokens = LayoutTokens(8192, GOLDEN["sequence_length"])
    layout = [
        (thing["class"], x, y, x + w, y + h)
        for thing in example["objects_in_order"]
        for x, y, w, h in [thing["bbox_xywh"]]
    ]
    assert tokens.max_boxes == 30
    assert tokens.encode(layout[:30]) == example["tokens"]
    assert tokens([layout[:30]])[0].tolist() == example["tokens"]


def test_rounding_ties_are_the_authors():
    tokens = LayoutTokens(8192, 92)
    for x, expected in GOLDEN["rounding_ties_x_to_token_at_y0"]:
        assert tokens.corner(x, 0.0) == expected


def test_boxes_beyond_the_canvas_are_cut_and_too_many_are_refused():
    tokens = LayoutTokens(1040, 8)
    assert tokens.side == 32
    assert tokens.encode([(3, -0.5, 0.0, 0.5, 2.0)]) == tokens.encode([(3, 0.0, 0.0, 0.5, 1.0)])
    with pytest.raises(ValueError, match="at most 2 boxes, got 3"):
        tokens.encode([(0, 0, 0, 1, 1)] * 3)
    with pytest.raises(ValueError, match=r"in 0\.\.1038, got 1039"):
        tokens.encode([(1039, 0, 0, 1, 1)])


def test_no_layout_differs_from_a_layout_without_boxes():
    tokens = LayoutTokens(1040, 8)
    assert tokens.unconditional().tolist() != tokens([[]]).tolist()
    assert tokens.unconditional().unique().tolist() == [tokens.none]
