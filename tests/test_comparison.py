"""A comparison is a request with several values of one field, or of two."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ldm.errors import RequestError
from ldm.events import Estimate, Progress, Result
from ldm.images import EncodedImage
from ldm.outputs.titles import axis_said, headline, settings
from ldm.requests import REQUESTS, TextToImage, Upscale
from ldm.requests.comparison import MOST, Axis, Comparison, comparable, read_axis, recorded, said
from ldm.studio.comparing import compared, expected

REQUEST = TextToImage(prompt="a lake", seed=4, count=3)
STEPS, SAMPLERS = Axis("steps", (5, 10, 20)), Axis("sampler", ("ddim", "plms"))


def picture(value, height=6, width=8):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("text", ["ddim, plms", "DDIM, PLMS", "Ddim, plms, DDIM"])
def test_samplers_may_be_called_as_people_call_them(text):
    assert read_axis(TextToImage, "sampler", text) == Axis("sampler", ("ddim", "plms"))


@pytest.mark.parametrize("value", [[0.5], {}, None])
def test_a_value_of_no_kind_is_told(value):
    with pytest.raises(RequestError):
        Comparison(TextToImage(prompt="x"), Axis("strength", (value, 1.0)))


def test_its_pictures_differ_in_what_the_axes_say_and_in_nothing_else():
    rows = Comparison(REQUEST, STEPS, SAMPLERS).rows()
    assert [[(r.steps, r.sampler) for r in row] for row in rows] == [
        [(5, "ddim"), (10, "ddim"), (20, "ddim")],
        [(5, "plms"), (10, "plms"), (20, "plms")],
    ]
    assert {(r.prompt, r.seed, r.count) for row in rows for r in row} == {("a lake", 4, 1)}
    assert Comparison(REQUEST, STEPS).rows() == [
        [TextToImage(prompt="a lake", seed=4, steps=steps) for steps in (5, 10, 20)]
    ]


def test_a_seed_that_is_left_open_is_the_same_for_all():
    rows = Comparison(TextToImage(prompt="a lake"), STEPS).rows()
    assert len({request.seed for request in rows[0]}) == 1
    numbers = Comparison(REQUEST, Axis("steps", [np.int64(1), np.int64(2)]))
    assert numbers.across == Axis("steps", (1, 2))
    assert json.dumps(numbers.record()) == '{"steps": [1, 2]}'
    seeds = Comparison(TextToImage(prompt="a lake"), Axis("seed", (1, 2))).rows()
    assert [request.seed for request in seeds[0]] == [1, 2]


def test_what_it_says():
    made = Comparison(REQUEST, Axis("guidance_scale", (1.0, 2.5)), Axis("prompt", ("a", "b")))
    assert [made.labels(axis) for axis in made.axes] == [["Guidance 1", "Guidance 2.5"], ["a", "b"]]
    assert made.differences() == "Guidance 1, 2.5 · Prompt a, b"
    without = Comparison(REQUEST, Axis("negative_prompt", ("", "fog")))
    assert without.differences() == "Negative prompt none, fog"
    assert without.labels(without.across) == ["Negative prompt none", "Negative prompt fog"]
    models = Comparison(REQUEST, Axis("preset", ("demo-text-to-image", "gone")), SAMPLERS)
    assert settings(models).startswith("Model Landscapes, text to image, gone · Sampler DDIM")
    assert models.labels(models.across, axis_said)[0] == "Model Landscapes, text to image"
    assert models.record()["preset"] == ["demo-text-to-image", "gone"]
    assert made.record() == {"guidance_scale": [1.0, 2.5], "prompt": ["a", "b"]}


def test_a_sheet_says_what_was_held_fixed():
    about = {"width": 128, "height": 96, "steps": 5, "sampler": "ddim", "guidance_scale": 1.5}
    made = replace(REQUEST, count=1, temperature=0.95, eta=0.25, **about)
    model, held = "Landscapes, text to image", "5 steps of DDIM · guidance 1.5"
    noise = "temperature 0.95 · eta 0.25"
    assert headline([made]) == f"a lake · {model} · seed 4 · 128 × 96 px · {held} · {noise}"
    plain = replace(made, temperature=1.0, eta=0.0, guidance_scale=None)
    assert headline([plain]) == f"a lake · {model} · seed 4 · 128 × 96 px · 5 steps of DDIM"
    out = {"prompt", "preset", "seed", "width", "sampler", "guidance_scale", "eta"}
    assert headline([made], out) == "96 px high · 5 steps · temperature 0.95"
    out = {"prompt", "preset", "height", "steps", "temperature"}
    turned = replace(made, variations="7:0.3")
    wanted = "seed 4, turned 30 % to seed 7 · 128 px wide · DDIM · guidance 1.5 · eta 0.25"
    assert headline([turned], out) == wanted
    assert headline([turned], {*out, "seed"}).startswith("turned 30 % to seed 7 · 128 px wide")
    assert headline([turned], {*out, "variations"}).startswith("seed 4 · 128 px wide")
    # another model brings its own steps and guidance
    other = replace(made, preset="gone", steps=50, guidance_scale=3.0)
    assert headline([made, other], {"preset"}) == f"a lake · seed 4 · 128 × 96 px · DDIM · {noise}"


def test_a_sheet_of_larger_and_smaller_pictures_names_no_size():
    image = EncodedImage.from_array(np.zeros((32, 48, 3), np.uint8))
    once = Upscale(image=image, seed=4, steps=5, sampler="ddim", temperature=1.0, eta=0.0)
    wanted = "Landscapes, upscaling · seed 4 · 5 steps of DDIM"
    assert headline([once, replace(once, passes=2)], {"passes"}) == wanted


def test_a_sheet_that_is_drawn_has_what_was_held_fixed(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "ldm.studio.comparing.sheet", lambda *_, title: drawn.append(title) or picture(0)
    )

    def run(request):
        filled = replace(request, width=64, height=64, sampler=request.sampler or "ddim", steps=7)
        yield Result((filled,), (picture(0),), paths=("a.png",))

    list(compared(Comparison(REQUEST, SAMPLERS), run, lambda image, first: "sheet.png"))
    assert drawn == ["a lake · Landscapes, text to image · seed 4 · 64 × 64 px · 7 steps"]


def test_a_sheet_says_what_it_compares():
    made = Comparison(REQUEST, STEPS, SAMPLERS)
    assert recorded(made.request, made.record()) == made
    for damaged in ({}, {"steps": 5}, {"colour": [1]}, {"steps": [0]}, {str(i): [] for i in "abc"}):
        assert recorded(REQUEST, damaged) is REQUEST


@pytest.mark.parametrize(
    ("across", "down", "words"),
    [
        (Axis("count", (1, 2)), None, "must be one of prompt, .* got 'count'"),
        (Axis("image", (None,)), None, "must be one of prompt, .* got 'image'"),
        (Axis("steps", 5), None, "values of steps must be a tuple, got 5"),
        (Axis("prompt", "abc"), None, "values of prompt must be a tuple, got 'abc'"),
        ("steps=1", None, "what is compared must be an Axis, got 'steps=1'"),
        (Axis("steps", ()), None, "steps needs at least one value"),
        (STEPS, STEPS, "must be two fields, got steps twice"),
        (Axis("seed", tuple(range(MOST + 1))), None, f"at most {MOST} pictures .* got {MOST + 1}"),
        (Axis("steps", (5, 0)), None, "steps must be 1 to 1000, got 0"),
        (STEPS, Axis("sampler", ("ddim", "euler")), "sampler must be one of ddim, .* 'euler'"),
        (Axis(["steps"], (1,)), None, "must be one of prompt, .* got \\['steps'\\]"),
        (Axis("strength", (0.3, 0.9)), None, "strength is for a picture .* none; got 0.3, 0.9"),
        (Axis("inversion", (0, 1)), None, "inversion is for a picture .* none; got 0, 1"),
    ],
)
def test_what_it_cannot_be_is_told(across, down, words):
    with pytest.raises(RequestError, match=words):
        Comparison(REQUEST, across, down)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("steps", "5, 10, 20, ", (5, 10, 20)),
        ("guidance-scale", "1, 2.5", (1.0, 2.5)),
        ("prompt", "a lake, snow | a lake", ("a lake, snow", "a lake")),
        ("sampler", "ddim", ("ddim",)),
        ("Steps", "5, 5, 10", (5, 10)),
        ("steps", " ", ()),
        ("steps", "5 | 10 |", (5, 10)),
        ("variations", ",7:0.3,7:0.6", ("", "7:0.3", "7:0.6")),
        ("variations", "7:0.3, , 7:0.6", ("7:0.3", "", "7:0.6")),
        ("variations", ",", ("",)),
        ("negative-prompt", "| fog", ("", "fog")),
        ("negative-prompt", "fog | |", ("fog", "")),
        ("negative-prompt", "fog, rain |", ("fog, rain",)),
    ],
)
def test_values_as_they_are_typed(name, text, values):
    assert read_axis(TextToImage, name, text) == Axis(name.lower().replace("-", "_"), values)


def test_an_empty_value_counts_where_a_field_may_be_empty_and_is_told_elsewhere():
    made = said(REQUEST, "steps=1,2", "variations=,7:0.3,7:0.6")
    assert [row[0].variations for row in made.rows()] == ["", "7:0.3", "7:0.6"]
    assert made.labels(made.down)[0] == "Variations none"
    for text, words in (
        ("steps=,5,10", "steps takes whole numbers, got ''"),
        ("steps=5||10", "steps takes whole numbers, got ''"),
        ("eta=0.5,,1", "eta takes numbers, got ''"),
        ("sampler=,ddim", "sampler must be one of ddim, .* got ''"),
        ("seamless=no,,both", "seamless must be one of .* got ''"),
    ):
        with pytest.raises(RequestError, match=words):
            said(REQUEST, text, "")


def test_only_requests_are_compared():
    with pytest.raises(RequestError, match="what is compared must be a request, got 'a lake'"):
        Comparison("a lake", STEPS)
    with pytest.raises(RequestError, match="down needs across, which is empty, got 'steps=1'"):
        said(REQUEST, "", "steps=1")


def test_pictures_that_are_all_the_same_are_told():
    def run(request):
        yield Result((request,), (picture(request.seed % 2),), paths=(f"{request.seed}.png",))

    for seeds, notes in (((1, 3), ("All are the same: Seed changes nothing here.",)), ((1, 2), ())):
        comparison = Comparison(REQUEST, Axis("seed", seeds))
        *_, result = compared(comparison, run, lambda image, first: "sheet.png")
        assert result.notes == notes


def test_a_typed_value_of_another_kind_is_told():
    with pytest.raises(RequestError, match="steps takes whole numbers, got '2.5'"):
        read_axis(TextToImage, "steps", "1, 2.5")
    with pytest.raises(RequestError, match="eta takes numbers, got 'much'"):
        read_axis(TextToImage, "eta", "much")
    assert read_axis(TextToImage, "colour", "red").values == ("red",)  # the comparison refuses it


def test_every_task_can_compare_its_numbers_and_words():
    for request_type in REQUESTS.values():
        names = comparable(request_type)
        assert {"preset", "steps", "sampler", "seed"} <= set(names)
        assert not {"count", "image", "mask", "label_map", "boxes"} & set(names)


def test_its_pictures_are_made_one_after_the_other_then_the_sheet():
    asked, saved = [], []

    def run(request):
        asked.append(request.steps)
        yield Progress("sampling", 1, 2, preview=picture(1))
        notes = ("same", f"after {request.steps}")
        paths = (f"{request.steps}.png",)
        yield Result((request,), (picture(request.steps),), 1.0, notes, paths, memory_bytes=9)

    comparison = Comparison(REQUEST, STEPS)
    *progress, result = compared(
        comparison, run, lambda image, first: saved.append((image, first.paths)) or "sheet.png"
    )
    assert [event.total for event in progress] == [3] * 6
    assert [event.step for event in progress] == [0, 1, 1, 2, 2, 3]  # each told with what it made
    assert progress[0].seconds_left is None  # its model had to be loaded
    assert progress[4].seconds_left > 0
    assert progress[0].kept is None
    assert progress[3].kept.paths == ("5.png", "10.png")
    *notes, note = progress[3].kept.notes
    assert notes == ["same", "after 5", "after 10"]
    assert note == "2 of 3 pictures were made, and no sheet."
    assert progress[5].kept.paths == ("5.png", "10.png", "20.png")  # whatever befalls the sheet
    assert all(event.preview is not None for event in progress[::2])
    assert asked == [5, 10, 20]
    assert result.paths == ("sheet.png", "5.png", "10.png", "20.png")
    assert result.requests == (comparison, *comparison.rows()[0])
    ((sheet, first),) = saved
    assert first == ("5.png",)
    assert [np.array_equal(image, sheet) for image in result.images] == [True]
    assert result.notes == ("same", "after 5", "after 10", "after 20")
    assert result.memory_bytes == 9


@pytest.mark.parametrize("fails", [10, 20, "the sheet"])
@pytest.mark.parametrize("error", [RequestError("enough."), MemoryError()])
def test_what_was_made_before_an_error_is_the_result(fails, error):
    def run(request):
        yield Progress("sampling", 1, 2)
        if request.steps == fails:
            raise error
        yield Result((request,), (picture(0),), paths=(f"{request.steps}.png",))

    def save(image, first):
        raise error

    *_, result = compared(Comparison(REQUEST, STEPS), run, save)
    made = {10: 1, 20: 2, "the sheet": 3}[fails]
    assert result.paths == ("5.png", "10.png", "20.png")[:made]
    assert [request.steps for request in result.requests] == [5, 10, 20][:made]
    assert result.images == ()
    why = "enough." if isinstance(error, RequestError) else "there is not enough memory"
    assert result.notes == (f"{made} of 3 pictures were made, and no sheet: {why}",)


def test_an_error_of_the_first_picture_is_an_error():
    def run(request):
        yield Progress("sampling", 1, 2)
        raise RequestError("enough.")

    with pytest.raises(RequestError, match="enough"):
        list(compared(Comparison(REQUEST, STEPS), run, lambda image, first: None))


def test_closing_it_closes_the_run_of_the_picture():
    closed = []

    def run(request):
        try:
            yield Progress("sampling", 1, 2)
            raise AssertionError
        finally:
            closed.append(request.steps)

    events = compared(Comparison(REQUEST, STEPS), run, lambda image, first: None)
    next(events)
    events.close()
    assert closed == [5]


def test_what_is_told_before_is_told_of_all_its_pictures():
    def of(request):
        return Estimate(1.0, 5, "whole", (f"{request.steps} is few",) if request.steps < 9 else ())

    found = expected(Comparison(REQUEST, Axis("steps", (5, 10, 7))), of)
    assert (found.seconds, found.notes) == (3.0, ("5 is few", "7 is few"))
