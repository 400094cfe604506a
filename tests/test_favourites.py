"""Favourites are kept in a file that people can read, and found among the others."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ldm.errors import LDMError
from ldm.history import About, History
from ldm.history.favourites import Favourites


def test_names_are_kept_in_the_order_of_marking(tmp_path):
    kept = Favourites(tmp_path / "there" / "favourites.txt")
    assert kept.names() == []
    for name in ("2001-02-03/b.png", "2001-02-03/ä a.png", "2001-02-03/b.png"):
        kept.mark([name], True)
    assert kept.names() == ["2001-02-03/ä a.png", "2001-02-03/b.png"]
    kept.mark(["2001-02-03/none.png"], False)
    kept.mark(["2001-02-03/b.png"], False)
    assert kept.file.read_text("utf-8") == "2001-02-03/ä a.png\n"
    assert list(kept.file.parent.iterdir()) == [kept.file]


def test_a_file_that_was_edited_by_hand_is_read(tmp_path):
    kept = Favourites(tmp_path / "favourites.txt")
    kept.file.write_bytes(b"\xef\xbb\xbf\na.png\r\nb.png\na.png\n\n")  # as by Notepad
    assert kept.names() == ["a.png", "b.png"]


def test_names_of_any_characters_are_kept_but_of_one_line(tmp_path):
    kept = Favourites(tmp_path / "favourites.txt")
    names = ["d/a\u2028b.png", " d/x .png", "d/\x85\x0b.png"]
    for name in names:
        kept.mark([name], True)
    assert kept.names() == names
    for name in ("a\nb.png", "a\rb.png"):
        with pytest.raises(LDMError, match="has more than one line; rename it"):
            kept.mark([name], True)
    assert kept.names() == names


def test_many_may_mark_at_once(tmp_path):
    kept = Favourites(tmp_path / "favourites.txt")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: kept.mark([f"{number}.png"], True), range(80)))
    assert sorted(kept.names()) == sorted(f"{number}.png" for number in range(80))


def test_a_file_that_cannot_be_used_is_named_and_left_alone(tmp_path):
    kept = Favourites(tmp_path / "favourites.txt")
    kept.file.write_bytes(b"\xff\xfe\x00")
    for use in (kept.names, lambda: kept.mark(["a.png"], True)):
        with pytest.raises(LDMError, match=r"the favourites in .*favourites.txt cannot be read"):
            use()
    assert kept.file.read_bytes() == b"\xff\xfe\x00"
    blocked = Favourites(tmp_path / "favourites.txt" / "x.txt")
    with pytest.raises(LDMError, match=r"cannot be (read|written)"):
        blocked.mark("a.png", True)


@pytest.fixture
def past(tmp_path):
    """A history of three boats and a house, all of one day."""
    for name in ("boat 1", "boat 2", "house", "boat 3"):
        path = tmp_path / "outputs" / "2001-02-03" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    past = History(
        tmp_path / "outputs",
        tmp_path / "history.db",
        tmp_path / "removed",
        lambda path: About("text", path.stem, "", "", path.stem),
    )
    list(past.refresh())
    return past


def titles(entries):
    return sorted(entry.about.title for entry in entries)


def test_favourites_are_found_alone_and_among_others(past):
    for entry in past.find():
        assert not entry.is_favourite
        if entry.about.title in ("boat 2", "house"):
            assert past.toggle_star(entry.path)
    assert titles(past.find(starred=True)) == ["boat 2", "house"]
    assert titles(past.find("boat", starred=True)) == ["boat 2"]
    assert titles(past.find("", "layout", starred=True)) == []
    assert (past.count(starred=True), past.count("boat", starred=True), past.count()) == (2, 1, 4)
    assert titles(entry for entry in past.find() if entry.is_favourite) == ["boat 2", "house"]
    first, second = past.find(starred=True)
    assert past.find(starred=True, after=first) == [second]
    assert not past.toggle_star(first.path)
    assert past.find(starred=True) == [second]


def test_favourites_outlive_the_index_and_being_removed(past):
    (one,) = past.find("boat 2")
    past.toggle_star(one.path)
    past.index.unlink()
    list(past.refresh())
    (one,) = past.find(starred=True)
    past.remove(one)
    past.forget_gone()
    assert past.find(starred=True) == []
    past.put_back(one)
    list(past.refresh())
    assert titles(past.find(starred=True)) == ["boat 2"]


def test_a_search_works_though_the_favourites_cannot_be_read(past):
    past.favourites.file.write_bytes(b"\xe4.png\n")
    assert len(past.find("boat")) == past.count("boat") == 3
    for search in (past.find, past.count):
        with pytest.raises(LDMError, match="the favourites in .* cannot be read"):
            search(starred=True)


def test_a_picture_that_is_gone_becomes_no_favourite(past):
    first, other, *_ = past.find()
    past.toggle_star(other.path)
    for entry in (first, other):
        entry.path.unlink()
    with pytest.raises(LDMError, match=f"^{first.path.name} is not in its folder any more"):
        past.toggle_star(first.path)
    assert not past.toggle_star(other.path)  # one that was can be taken off
