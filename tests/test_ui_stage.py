"""What the page is told of a run, without a page."""

from dataclasses import MISSING, fields
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from ldm.errors import RequestError
from ldm.events import Cancelled, Progress, Queued, Result
from ldm.outputs import metadata
from ldm.requests import REQUESTS, TextToImage
from ldm.requests.comparison import MOST, Axis, Comparison
from ldm.requests.progression import Progression
from ldm.requests.shared_fields import COVERS, SAMPLER_NAMES
from ui import stage
from ui.controls import labels_of, limits, widget
from ui.gallery import row_of_pictures
from ui.run import Picture, Visit, fail, in_words
from ui.stage import Stage, _select
from ui.values import make_request
from ui.words import say, strip

STEP = 0.002  # s


def test_what_is_told_is_text_and_no_html():
    """Gradio shows an error as HTML, and it may quote a file of a stranger."""
    assert fail("got <img src=//evil>.").message == "got &lt;img src=//evil&gt;."


def test_an_error_names_a_field_as_the_page_does():
    labels = {"class_index": "Class"}
    assert in_words("class_index must be 0 to 9.", labels) == "Class must be 0 to 9."
    assert in_words("the picture is gone.", labels) == "The picture is gone."
    assert in_words("this takes about 3 min.", labels) == "This takes about 3 min."
    assert in_words("my cat.png is no picture.", labels) == "my cat.png is no picture."


@pytest.mark.parametrize(("typed", "seed"), [("", None), (" -1", None), ("7", 7), (7.0, 7)])
def test_a_seed_as_it_is_typed(typed, seed):
    """Other programs write -1 for a new one."""
    assert make_request(TextToImage, {"prompt": "a lake", "seed": typed}).seed == seed


@pytest.mark.parametrize("typed", ["-2", "1.5", "lake", str(2**32), "9" * 5000])
def test_a_wrong_seed_is_told_what_is_allowed(typed):
    wanted = r"seed must be 0 to 4294967295, or empty for a new one, got '?" + typed[:50]
    with pytest.raises(RequestError, match=wanted):
        make_request(TextToImage, {"prompt": "a lake", "seed": typed})


def test_canvas_is_what_is_painted_on_and_nothing_else():
    """How a large picture is covered was called so too."""
    for request_type in REQUESTS.values():
        labels = labels_of(request_type, {})
        assert len(set(labels.values())) == len(labels)
        assert "Canvas" not in labels.values()
        if "cover" in labels:
            said = in_words("cover must be whole or bands for this model.", labels)
            assert said == "How a large picture is made must be whole or bands for this model."


def test_before_a_run_the_page_says_what_goes_on():
    """A word alone, like Ready, says neither what is ready nor for what."""
    assert "Nothing is being made" in strip(None)
    assert "Nothing is being made" not in strip(Progress("sampling", 1, 2))


@pytest.mark.parametrize(
    ("values", "says"), [((5,), "One picture, and a sheet in"), ((5, 6), "2 pictures and a sheet")]
)
def test_what_a_comparison_made_is_counted(values, says):
    request = TextToImage(prompt="a lake")
    compared = Comparison(request, Axis("steps", values))
    requests = (compared, *[request] * len(values))
    assert say(Result(requests, (), 1.0))[0].startswith(says)


def test_more_steps_than_were_asked_for_are_explained():
    told = say(Progress("sampling", 14, 24, 3.0, 2.0, detail="small picture first"))
    assert told == ("Step 14 of 24", "small picture first · 3.0 s · about 2 s left")
    assert say(Progress("sampling", 14, 24, 3.0)) == ("Step 14 of 24", "3.0 s")


@pytest.mark.parametrize("error", [RuntimeError("boom"), RequestError("it has no shape.")])
def test_whatever_ends_a_run_is_told(error, queue, caplog):
    def wanted(_):
        raise error

    with gr.Blocks() as page:
        go, stop = gr.Button("Generate"), gr.Button("Cancel")
        place = stage.create("text-to-image", go, stop, hint="", labels={})
        stage.starts_run(queue, place, go, wanted, {})
    generate = next(event.fn for event in page.fns.values() if event.name == "generate")
    (updates,) = generate(Visit())
    says = "it has no shape." if isinstance(error, RequestError) else "Something went wrong here;"
    assert says in updates[place.status]
    assert updates[go]["value"] == "Generate"
    assert ("boom" in caplog.text) == isinstance(error, RuntimeError)


def test_the_browser_knows_what_a_value_may_be():
    form = {"steps": gr.Slider(value=20), "seed": gr.Textbox(value=""), "prompt": gr.Textbox()}
    told = {name: limits(TextToImage, name, box) for name, box in form.items()}
    assert told["steps"]["range"] == [1, 1000] and told["steps"]["isWhole"]
    assert told["seed"] == {"label": "Seed", "range": [0, 2**32 - 1], "isWhole": True, "other": ""}
    assert told["prompt"]["longest"] == 2000
    assert not limits(TextToImage, "guidance_scale", gr.Slider(label="Guidance"))["isWhole"]
    models = gr.Dropdown(choices=[("A model", "a"), ("Another", "b")], label="Model")
    assert limits(TextToImage, "preset", models) == {"label": "Model", "choices": ["a", "b"]}


@pytest.fixture
def looking():
    """A visit with four pictures, named by when they were made; the newest first and on show."""
    visit = Visit()
    for name in "1234":
        request = TextToImage(prompt=name)
        visit.keep(Result((request,), (), paths=(Path(f"day/{name}.png"),)))
    return visit


def names(visit):
    return "".join(picture.title for picture in visit.pictures)


def test_what_is_removed_comes_back_to_its_place(looking):
    for shown in ("3", "1"):
        looking.shown = next(picture for picture in looking.pictures if picture.title == shown)
        looking.remove()
    assert (names(looking), looking.shown.title) == ("42", "2")
    looking.keep(Result((TextToImage(prompt="5"),), (), paths=(Path("day/5.png"),)))
    looking.put_back()
    assert (names(looking), looking.shown.title) == ("5421", "1")
    looking.put_back()
    assert (names(looking), looking.shown.title) == ("54321", "3")
    looking.put_back()
    assert names(looking) == "54321"


def test_the_last_is_removed_and_an_example_is_not(looking):
    looking.shown = Picture.of("example.png", TextToImage(prompt="example"))
    looking.remove()
    assert names(looking) == "4321"
    looking.shown = looking.pictures[0]
    for _ in range(5):
        looking.remove()
    assert (names(looking), looking.shown, len(looking.removed)) == ("", None, 4)


def test_what_was_removed_stays_away_when_the_page_is_loaded_again(looking):
    places = {picture.title: picture.place for picture in looking.pictures}
    assert places["2"].endswith("/2.png")
    looking.remove_again([places["2"], "2026-11-30/unknown.png", places["4"]])
    assert (names(looking), looking.shown.title) == ("31", "3")
    looking.put_back()
    assert names(looking) == "431"


@pytest.mark.parametrize("is_removed", [False, True])
def test_what_was_chosen_before_that_was_known_stays_on_show(looking, is_removed):
    """A slow server is told of a page's past after the first click on it."""
    removed = [looking.pictures[0].place] if is_removed else []
    for visit in (looking, Visit()):
        visit.shown = example = Picture.of("example.png", TextToImage(prompt="example"))
        visit.remove_again(removed)
        assert visit.shown is example


def test_all_pictures_of_a_comparison_are_kept():
    request = TextToImage(prompt="x", seed=4)
    comparison = Comparison(request, Axis("seed", tuple(range(MOST))))
    requests = (comparison, *comparison.rows()[0])
    paths = tuple(Path(f"{number}.png") for number in range(len(requests)))
    visit = Visit()
    visit.keep(Result(requests, (), paths=paths))
    assert len(visit.pictures) == MOST + 1
    assert visit.shown.title == "x"
    assert visit.shown.settings == comparison.differences()
    steps = Comparison(request, Axis("steps", (1, 2)))
    assert Picture.of("a.png", steps).settings == "Steps 1, 2 · seed 4"


def test_a_visit_keeps_no_request_but_reads_it_from_the_file(tmp_path):
    """One may hold pictures of many megabytes, and there are dozens of them."""
    path, request = tmp_path / "a.png", TextToImage(prompt="a lake", seed=3)
    metadata.save(path, np.zeros((4, 4, 3), np.uint8), request)
    visit = Visit()
    visit.keep(Result((request,), (), paths=(path,)))
    assert visit.shown.request == request
    assert not any(isinstance(value, TextToImage) for value in vars(visit.shown).values())
    path.unlink()
    with pytest.raises(gr.Error, match="a.png is not in its folder any more"):
        _ = visit.shown.request


def test_a_result_is_kept_once_however_many_follow_its_run():
    """A page that is loaded again may follow a run that its Generate follows still."""
    request = TextToImage(prompt="x")
    result = Result((request, request), (), paths=(Path("b.png"), Path("a.png")))
    visit = Visit()
    visit.keep(result)
    visit.keep(result)
    assert [picture.path for picture in visit.pictures] == ["b.png", "a.png"]


def test_a_picture_that_is_made_once_more_takes_the_place_of_the_first():
    one, other = (TextToImage(prompt=prompt, steps=3, seed=5) for prompt in ("a lake", "a hill"))
    sheet = Progression(one)
    visit = Visit()
    for number, requests in enumerate([(one,), (other,), (one, sheet)]):
        paths = tuple(Path(f"{number}-{i}.png") for i in range(len(requests)))
        visit.keep(Result(requests, (), paths=paths))
    assert [picture.path for picture in visit.pictures] == ["2-0.png", "2-1.png", "1-0.png"]
    names = [name for _, name in row_of(visit)]
    assert [name.startswith("Sheet: ") for name in names] == [False, True, False]


def row_of(visit):
    with gr.Blocks():
        row = row_of_pictures("text-to-image")
    return row.show(visit)[row.gallery].constructor_args["value"]


def test_values_have_the_names_that_people_call_them():
    choices = dict(map(reversed, widget(TextToImage, "sampler").choices))
    assert choices["dpmpp_2m"] == "DPM-Solver++" and tuple(choices) == SAMPLER_NAMES
    assert ("No edges", "no") in widget(TextToImage, "seamless").choices
    about = limits(TextToImage, "cover", widget(TextToImage, "cover"))
    assert about["choices"] == list(COVERS)  # links hold the values


def test_after_cancel_the_button_says_so_until_the_next_run():
    parts = {"go": gr.Button(), "stop": gr.Button(), "status": gr.HTML(), "sign": gr.HTML()}
    needed = [f.name for f in fields(Stage) if f.default is MISSING]
    stage = Stage(**dict.fromkeys(needed) | parts)
    visit = Visit(job_id="a", wants_stop=True)
    told = stage.running(Progress("sampling", 1, 3), visit, previewed=False)[stage.stop]
    assert (told["value"], told["interactive"]) == ("Stopping…", False)
    visit.wants_stop = False
    told = stage.running(Progress("sampling", 1, 3), visit, previewed=False)[stage.stop]
    assert (told["value"], told["interactive"]) == ("Cancel", True)


def test_a_picture_that_was_removed_elsewhere_leaves_the_row_at_a_click(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(gr, "Warning", told.append)
    there, gone = (Picture(str(tmp_path / f"{name}.png"), "", "", "") for name in "ab")
    Path(there.path).touch()
    visit = Visit([gone, there], shown=there)
    about = {"show_one": lambda shown: {"one": shown}, "show": lambda visit: visit}
    select = _select(SimpleNamespace(**about, status="status"))
    # the strip was of the last run, and is empty again; while a run works it goes on
    assert select(visit, SimpleNamespace(index=1)) == {"one": there, "status": stage.strip(None)}
    visit.job_id = "a job"
    assert select(visit, SimpleNamespace(index=1)) == {"one": there}
    assert told == []
    assert select(visit, SimpleNamespace(index=0)) is visit
    assert (visit.pictures, visit.shown) == ([there], there)
    assert told == ["b.png is not in its folder any more."]


def test_a_page_whose_answers_nobody_reads_does_not_hold_its_run(monkeypatch):
    followed = []

    def follow(*about):
        followed.append(about)
        return iter([Cancelled()])

    monkeypatch.setattr(stage.visitor, "reader", lambda: "who reads")
    about = SimpleNamespace(ended=lambda *_: {})
    list(stage.follow(SimpleNamespace(follow=follow), about, Visit(job_id="a job")))
    assert followed == [("a job", stage.PACE, "who reads")]


def test_who_waits_is_told_how_many_are_before_and_when_the_turn_comes():
    assert say(Queued(2, 40.0)) == ("Waiting, 2 before this one", "its turn comes in about 40 s")
    assert say(Queued(1)) == ("Waiting, 1 before this one", "")
    assert say(Queued(0)) == ("Starting", "")
