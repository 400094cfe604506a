"""What a request's fields take, as code hands it over."""

import json
import re

import numpy as np
import pytest

from ldm.errors import RequestError
from ldm.requests import REQUESTS, Layout, TextToImage, Upscale, controls
from ldm.requests.as_json import from_dict, to_dict
from ldm.requests.fields import Box

TREE = Box("tree", 0.1, 0.2, 0.3, 0.4)


def test_a_list_of_boxes_is_as_good_as_a_tuple():
    assert Layout(boxes=[TREE]) == Layout(boxes=(TREE,))


def test_numbers_of_numpy_are_numbers():
    request = TextToImage(prompt="x", steps=np.int64(4), seed=np.uint32(7), eta=np.float32(0.5))
    assert request == TextToImage(prompt="x", steps=4, seed=7, eta=0.5)
    assert from_dict(json.loads(json.dumps(to_dict(request)))) == request
    box = Box("tree", *np.array([0, 0.25, 0.5, 0.75], np.float32))
    assert json.dumps(to_dict(Layout(boxes=[box])))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": np.float64(4.5)}, "steps must be a whole number, got 4.5."),
        ({"steps": np.int64(0)}, "steps must be 1 to 1000, got 0."),
        ({"steps": np.bool_(True)}, "steps must be a whole number"),
        ({"eta": np.float32("nan")}, "eta must be a finite number, got nan."),
        ({"prompt": ["a", "b"]}, "prompt must be text"),
    ],
)
def test_what_is_wrong_is_still_refused(values, says):
    with pytest.raises(RequestError, match=says):
        TextToImage(**{"prompt": "x"} | values)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), [[1, 2]], 5, None])
def test_what_is_no_picture_is_refused_in_one_line(image):
    with pytest.raises(RequestError, match="a(n array of a)? picture.*, got ") as caught:
        Upscale(image=image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("letter", ["\0", "\x1b", "\x7f", "\x9b"])
def test_control_characters_are_refused(letter):
    said = f"prompt must be text without control characters, got {letter!r} in "
    with pytest.raises(RequestError, match=re.escape(said)):
        TextToImage(prompt=f"a lake{letter} at night")


def test_a_text_may_have_lines_and_tabs():
    text = "a lake\n\tat night\r\nin\x85winter, \u200dwith emoji \U0001f3d4"
    assert TextToImage(prompt=text).prompt == text


@pytest.mark.parametrize("boxes", [[], [0.5], np.zeros((1, 4)), [TREE, "tree"]])
def test_what_are_no_boxes_is_refused(boxes):
    with pytest.raises(
        RequestError, match=r"boxes must (be a list of Box\(label, left|hold at least one box)"
    ):
        Layout(boxes=boxes)


@pytest.mark.parametrize("request_type", REQUESTS.values())
def test_every_field_is_said_in_the_docstring(request_type):
    said = re.findall(r"^        (\w+): ", request_type.__doc__, re.MULTILINE)
    assert said == [*controls(request_type), "RequestError"]
    assert max(map(len, request_type.__doc__.splitlines())) <= 100
