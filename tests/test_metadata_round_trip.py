"""Every kind of request, drawn from what its own controls allow, comes back from its PNG."""

import dataclasses
import types
import typing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ldm.errors import RequestError
from ldm.outputs import metadata
from ldm.requests import REQUESTS, EncodedImage, controls
from ldm.requests.fields import BLANKS, Box

PICTURE = np.zeros((2, 3, 3), np.uint8)
# what a text may hold; of other characters most draws would be refused
LETTERS = st.one_of(st.characters(exclude_categories=["Cs", "Cc"]), st.sampled_from(sorted(BLANKS)))
TEXT = st.text(LETTERS, max_size=60)
FRACTIONS = st.floats(0, 1)
TURNS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(0, 1)), max_size=3)


@st.composite
def images(draw, grey=False, size=None):
    width, height = size or (draw(st.integers(1, 24)), draw(st.integers(1, 24)))
    shape = (height, width) if grey else (height, width, 3)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return EncodedImage.from_array(rng.integers(0, 256, shape, dtype=np.uint8))


@st.composite
def boxes(draw):
    (left, right), (top, bottom) = (
        sorted(draw(st.lists(FRACTIONS, min_size=2, max_size=2, unique=True))) for _ in range(2)
    )
    label = draw(st.text(LETTERS, min_size=1, max_size=80))
    return Box(label, left, top, right, bottom)


def values_of(name, hint, about):
    """What a field may hold, by its type and its control."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return st.one_of(*(_of_kind(name, kind, about) for kind in kinds))


def _of_kind(name, kind, about):
    if kind is type(None):
        return st.none()
    if about.choices is not None:
        return st.sampled_from(about.choices)
    if kind is EncodedImage:
        return images(grey=name == "label_map")
    if typing.get_origin(kind) is tuple:
        return st.lists(boxes(), max_size=8).map(tuple)
    if kind is bool:
        return st.booleans()
    if name == "variations":
        return TURNS.map(lambda turns: ", ".join(f"{seed}:{share}" for seed, share in turns))
    if kind is str:
        return TEXT
    low, high = about.minimum, about.maximum
    numbers = st.integers(int(low), int(high)) if kind is int else st.floats(low, high)
    if name.startswith("outpaint_"):  # a canvas that grows allows less of what else there is
        return st.one_of(st.just(0), numbers)
    return st.one_of(st.just(1.0), numbers) if name == "strength" else numbers


@st.composite
def requests(draw, request_type):
    hints = typing.get_type_hints(request_type)
    values = {n: draw(values_of(n, hints[n], about)) for n, about in controls(request_type).items()}
    if values.get("mask") is not None:  # as large as its picture
        values["mask"] = draw(images(grey=True, size=values["image"].size))
    try:
        return request_type(**values)
    except RequestError:  # what no single field tells, as an empty prompt
        return None


@pytest.mark.parametrize("task", REQUESTS)
@settings(
    max_examples=90,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_request_to_png_to_request_is_the_identity(tmp_path, task, data):
    request = data.draw(requests(REQUESTS[task]).filter(lambda made: made is not None))
    path = tmp_path / "a.png"
    metadata.save(path, PICTURE, request, "abc")
    loaded = metadata.load(path).request
    assert loaded == request
    assert dataclasses.asdict(loaded) == dataclasses.asdict(request)
