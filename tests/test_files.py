"""How files get to their places."""

import os
from types import SimpleNamespace

import pytest

from ldm import files


@pytest.fixture
def looked_at(monkeypatch):
    """Windows, on which some program looks at the file for so many tries."""

    def during(tries):
        left = iter(range(tries))

        def replace(part, path):
            if next(left, None) is not None:
                raise PermissionError(13, "Access is denied", str(path))
            os.replace(part, path)

        monkeypatch.setattr(files, "PAUSE", 0)
        monkeypatch.setattr(files, "os", SimpleNamespace(name="nt", replace=replace))

    return during


def test_a_file_is_put_over_the_one_that_is_there(tmp_path):
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    files.put_in_place(tmp_path / "new", tmp_path / "old")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_who_looks_at_it_for_a_moment_is_waited_for(tmp_path, looked_at):
    (tmp_path / "new").write_text("new")
    looked_at(files.TRIES)
    files.put_in_place(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"


def test_who_keeps_it_is_not(tmp_path, looked_at):
    (tmp_path / "new").write_text("new")
    looked_at(files.TRIES + 1)
    with pytest.raises(PermissionError):
        files.put_in_place(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "new").read_text() == "new"
