"""The history tab's search, without a browser."""

import os
import zipfile

import gradio as gr
import numpy as np
import pytest

from ldm.catalog.registry import load_preset
from ldm.images import EncodedImage
from ldm.outputs import metadata, titles
from ldm.requests import Box, ClassConditional, Layout, Semantic
from ui.gallery import zipped
from ui.tabs import history
from ui.thumbnails import Thumbnails
from ui.words import describe


@pytest.fixture
def finder(tmp_path):
    """A search over three pictures."""
    kept = history.history_in(tmp_path)
    for number in range(3):
        path = kept.folder / "day" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"seed": number, "steps": 1, "sampler": "ddim", "eta": 0.0, "guidance_scale": 1.0}
        request = ClassConditional(class_index=number, width=64, height=64, **about)
        metadata.save(path, np.zeros((4, 4, 3), np.uint8), request)
    with gr.Blocks():
        search, *_ = history._search({"class-conditional": "Classes"})
    return history.Finder(kept, Thumbnails(tmp_path), search)


@pytest.mark.parametrize("after", [0, 1, 4])  # of 4 times that something is shown
def test_a_search_while_pictures_are_read_is_what_is_shown_then(after, finder, monkeypatch):
    monkeypatch.setattr("ldm.history.BATCH", 1)
    search, asked = finder.search, history.Asked()
    reading = finder.refresh("", "", asked, [])
    for _ in range(after):
        next(reading)
    finder.look("sunset", "", asked)
    *_, last = reading
    assert [entry.about.title for entry in last[search.found]] == ["Grass at sunset"]
    *_, last = finder.refresh("sea", "", history.Asked(), [])  # of a page that was left open
    assert [entry.about.title for entry in last[search.found]] != ["Grass at sunset"]


def test_what_is_deleted_by_hand_is_not_counted_any_more(finder, monkeypatch):
    monkeypatch.setattr("ui.finder.PAGE", 1)
    search, asked = finder.search, history.Asked()
    *_, shown = finder.refresh("", "", asked, [])
    assert "3 pictures" in shown[search.count] and shown[search.more].visible
    on_show = shown[search.found]
    assert shown[search.save].value == "Download these 3"  # those of further pages, too
    assert {path.stem for path in finder.paths(asked)} == {"0", "1", "2"}
    for path in {*finder.history.folder.rglob("*.png")} - {on_show[0].path}:
        path.unlink()
    for shown in (finder.more("", "", asked, on_show), finder.look("", "", asked)):
        assert "1 picture<" in shown[search.count] and not shown[search.more].visible
        assert shown[search.found] == on_show


def test_an_archive_of_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("ui.gallery.get_upload_folder", lambda: str(tmp_path / "cache"))
    for day in ("2001-02-03", "2001-02-04"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "1.png").write_bytes(b"abc")
    paths = [tmp_path / day / "1.png" for day in ("2001-02-03", "2001-02-05", "2001-02-04")]
    os.utime(paths[0], (0, 0))  # before a ZIP's first day
    with zipfile.ZipFile(zipped(paths)) as archive:
        assert archive.namelist() == ["2001-02-03/1.png", "2001-02-04/1.png"]
    with pytest.raises(gr.Error, match="None of these pictures is in its folder any more"):
        zipped(paths[1:2])
    monkeypatch.setattr("ui.gallery.MAX_ARCHIVE", 5)
    with pytest.raises(gr.Error, match="These pictures take 0.0 GiB; up to 0 GiB are downloaded"):
        zipped(paths)
    assert len(list((tmp_path / "cache").iterdir())) == 1  # nothing of the others is left there


@pytest.fixture
def told(tmp_path):
    """(request) -> what the history knows of its picture."""

    def tell(kind, **about):
        about |= {"seed": 1, "steps": 1, "sampler": "ddim", "eta": 0.0, "temperature": 1.0}
        request = kind(**about, coarse=0.0)
        metadata.save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8), request)
        return describe(tmp_path / "a.png")

    return tell


def test_a_painted_map_is_found_by_everything_in_it(told):
    classes = load_preset("demo-semantic").classes
    labels = np.zeros((16, 16), np.uint8)
    labels[0] = np.arange(16) % 6
    labels[3, 3] = classes.index("boat")
    about = told(Semantic, label_map=EncodedImage.from_array(labels))
    assert "boat" not in about.title and "boat" in about.words.split()
    assert all(name in about.words.split() for name in classes[:6])
    assert "house" not in about.words.split()


def test_boxes_are_all_in_the_title(told):
    names = load_preset("demo-layout").classes[:9]
    boxes = tuple(Box(name, 0.1, 0.1, 0.9, 0.9) for name in names)
    assert all(name in told(Layout, boxes=boxes, width=64, height=64).title for name in names)


def test_a_picture_is_found_by_the_title_of_its_model_while_that_is_there(told, monkeypatch):
    read = []
    monkeypatch.setattr(titles, "load_preset", lambda name: read.append(name) or load_preset(name))
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    titles._loaded.cache_clear()
    about = {"label_map": EncodedImage.from_array(np.full((16, 16), 9, np.uint8))}
    for _ in range(3):
        assert "Landscapes, semantic painting" in told(Semantic, **about).words
    assert read == ["demo-semantic"]
    gone = told(Semantic, preset="gone", **about)
    assert gone.title == "Class 9" and "Landscapes" not in gone.words
