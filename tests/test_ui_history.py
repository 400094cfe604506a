"""The history tab's search, without a browser."""

import os
import zipfile

import gradio as gr
import numpy as np
import pytest

from ldm import metadata
from ldm.requests import ClassConditional
from ui.gallery import zipped
from ui.tabs import history
from ui.thumbnails import Thumbnails


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
        search, _ = history._search({"class-conditional": "Classes"})
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
    monkeypatch.setattr("ui.tabs.history.PAGE", 1)
    search, asked = finder.search, history.Asked()
    *_, shown = finder.refresh("", "", asked, [])
    assert "3 pictures" in shown[search.count] and shown[search.more].visible
    on_show = shown[search.found]
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
