import os
import threading

import pytest

from ldm.outputs import retention
from ldm.outputs.retention import Keeper, trim
from tests.gate import wait_until


def make(folder, name, size, age):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("most", "left"),
    [(60, "abc"), (59, "bc"), (50, "bc"), (30, "c"), (29, ""), (0, "")],
)
def test_the_oldest_files_go_first(tmp_path, most, left):
    for name, size, age in (("1/a", 10, 3), ("2/b", 20, 2), ("1/c", 30, 1)):
        make(tmp_path, name, size, age)
    total = trim(tmp_path, most)
    assert names(tmp_path) == list(left)
    assert total == sum({"a": 10, "b": 20, "c": 30}[name] for name in left)


def test_an_emptied_folder_goes_and_the_folder_itself_stays(tmp_path):
    make(tmp_path, "day/a", 10, 1)
    make(tmp_path, "b", 10, 2)
    trim(tmp_path, 0)
    assert tmp_path.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_is_spared_neither_counts_nor_goes(tmp_path):
    spared = {make(tmp_path, "a", 100, 9), make(tmp_path, "b", 100, 8)}
    make(tmp_path, "c", 10, 2)
    make(tmp_path, "d", 10, 1)
    assert trim(tmp_path, 15, spared) == 10
    assert names(tmp_path) == ["a", "b", "d"]


def test_what_a_link_names_is_not_touched(tmp_path):
    other = make(tmp_path, "other/a", 100, 9)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "link").symlink_to(other)
    (tmp_path / "kept" / "folder").symlink_to(other.parent)
    trim(tmp_path / "kept", 0)
    assert other.exists()


def test_a_folder_that_is_not_there_takes_nothing(tmp_path):
    assert trim(tmp_path / "none", 10) == 0


def test_a_keeper_keeps_a_folder_within_its_limit_until_it_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "EVERY", 0.01)
    keeper = Keeper([tmp_path / "none", tmp_path], 15)
    make(tmp_path, "a", 10, 2)
    make(tmp_path, "b", 10, 1)
    wait_until(lambda: names(tmp_path) == ["b"])
    keeper.close()
    assert "retention" not in [thread.name for thread in threading.enumerate()]


def test_an_error_does_not_end_a_keeper(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(retention, "EVERY", 0.01)
    calls = []
    monkeypatch.setattr(retention, "trim", lambda folder, most, spared: calls.append(1) or 1 / 0)
    keeper = Keeper([tmp_path], 15)
    wait_until(lambda: len(calls) > 1)
    keeper.close()
    assert "could not be kept within its limit" in caplog.text
