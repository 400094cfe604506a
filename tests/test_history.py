"""What is in the index after pictures came, went and changed, and what a search finds."""

import os
import sqlite3
import time
from datetime import date, datetime

import pytest

from ldm import history
from ldm.errors import LDMError
from ldm.history import About, History


def told(path):
    """What a test's picture says of itself: the file's text; with a bar before it, nothing."""
    text = path.read_text()
    if text.startswith("|"):
        return None
    return About(text.split()[0], text, "seed 7", "", f"{text} seed 7 Ärger")


@pytest.fixture
def past(tmp_path):
    data = tmp_path / "data"
    return History(tmp_path / "outputs", data / "history.db", tmp_path / "removed", told)


def put(past, name, text, made):
    path = past.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(made, made))
    return path


def titles(entries):
    return [entry.about.title for entry in entries]


def refreshed(past):
    left = list(past.refresh())
    assert left[-1] == 0
    return left


def test_the_newest_comes_first_and_words_may_stand_anywhere(past):
    put(past, "1/a.png", "layout a red house", 10)
    put(past, "2/b.png", "text snow at night", 30)
    put(past, "2/c.png", "text a house in the Snow", 20)
    put(past, "2/none.png", "| not made here, snow", 40)
    put(past, "2/note.txt", "text snow", 50)
    put(past, "top.png", "text snow", 50)
    put(past, "2/empty.png", "", 60)  # a name that is reserved, its picture still to come
    refreshed(past)
    assert titles(past.find()) == [
        "text snow at night",
        "text a house in the Snow",
        "layout a red house",
    ]
    assert titles(past.find("SNOW")) == ["text snow at night", "text a house in the Snow"]
    assert titles(past.find("snow ouse")) == ["text a house in the Snow"]
    assert titles(past.find("house", "layout")) == ["layout a red house"]
    assert past.find("100%") == past.find("snow desert") == []
    assert titles(past.find("snow -house")) == ["text snow at night"]
    assert titles(past.find('-"snow at" -layout')) == ["text a house in the Snow"]
    assert past.count("-nothing") == past.count("-") + 3 == 3
    assert past.count("ÄRGER") == 3
    assert [past.count(*asked) for asked in [(), ("snow",), ("", "layout"), ("_",)]] == [3, 2, 1, 0]


def test_a_number_is_found_where_it_stands_alone(past):
    put(past, "1/a.png", "text seed 8 · 64 × 64 px 120000-8-1", 10)
    put(past, "1/b.png", "text seed 1894272108 guidance 0.8 120000-9-8", 20)
    refreshed(past)
    for words, found in {
        "8": "a",
        "64": "a",
        "894": "",
        "1894272108": "b",
        "120000-9": "b",
        "0.8": "b",
    }.items():
        assert [entry.path.stem for entry in past.find(words)] == list(found), words


@pytest.fixture
def week(past):
    """Pictures of some days, searched on Monday, 30 November 2026."""
    past.today = lambda: date(2026, 11, 30)
    days = {
        "2026-11-30/a.png": "text a lake",
        "2026-11-29/b.png": "text a lake at sunset",
        "2026-11-23/c.png": "text a lake",
        "2026-11-22/d.png": "text a day in november, a monday of last May",
        "2025-11-23/e.png": "text 23 boats, a sunset",
        "2026-09-04/f.png": "text yesterday, in 20 steps, by the sun",
    }
    for copied, (name, text) in enumerate(days.items()):
        put(past, name, text, copied)  # that have lost their times
    made = datetime(2026, 12, 2, 12).timestamp()
    put(past, "loose/g.png", "text a lake", round(made * 1e9))  # no folder of a day
    refreshed(past)
    return past


@pytest.mark.parametrize(
    ("words", "found"),
    {
        "": "gabcdfe",
        "Today": "a",
        "yesterday": "bf",
        "sunset, yesterday": "b",
        "this week": "ga",
        "last week": "bc",  # not the Sunday before it
        "lake last week": "bc",
        "november": "abcde",
        "Nov": "abcde",
        "december": "g",
        "23 November": "ce",
        "Nov 23": "ce",
        "november 23rd lake": "c",
        "23. nov. 2025": "e",
        "Nov 23, 2026": "c",
        "November 2025": "e",
        "4 sept": "f",
        "04 september": "f",
        "31 february": "",
        "2026-12-02": "g",
        "monday": "acd",
        "monday 23 november": "c",
        "sunday": "bde",
        "sun": "bfe",  # no Sunday, but the word and its parts
        "november day": "d",
        '"in november"': "d",
        '"november"': "d",
        '"last" week': "",
        'november "2025"': "",
        "23 boats": "e",
        "20 november": "",
        "yesterday 20": "f",
    }.items(),
)
def test_days_are_found_by_what_they_are_called(week, words, found):
    assert "".join(entry.path.stem for entry in week.find(words)) == found
    assert week.count(words) == len(found)


def test_relative_days_are_told_when_it_is_searched(week):
    week.today = lambda: date(2026, 12, 1)
    assert [entry.path.stem for entry in week.find("yesterday")] == ["a", "f"]
    week.today = lambda: date(2026, 12, 6)  # the Sunday of the same week
    assert [entry.path.stem for entry in week.find("this week")] == ["g", "a"]
    week.today = lambda: date(2026, 12, 7)
    assert [entry.path.stem for entry in week.find("last week")] == ["g", "a"]


def test_pages_go_on_from_day_to_day(week):
    first = week.find(limit=3)
    assert [entry.day for entry in first] == ["2026-12-02", "2026-11-30", "2026-11-29"]
    assert [entry.path.stem for entry in week.find(after=first[-1])] == list("cdfe")


def test_a_number_may_stand_at_the_end_of_a_sentence_and_begin_a_range(past):
    said = {
        "a": "house 7.",
        "b": "at 7-8",
        "c": "7pm, (7)",
        "d": "7.5",
        "e": "-7 .7",
        "f": "17 71",
        "g": "text7img x_7",
        "h": "7-11-29",
        "i": "7-1894-1",
    }
    for name, text in said.items():
        path = put(past, f"1/{name}.png", text, ord(name))
        path.write_text(f"text {text}")
        past.describe = lambda path: About("text", "", "", "", path.read_text())
    refreshed(past)
    for words, found in {"7": "cba", "17": "f", "7.5": "d", "7 8": "", "7-8": "b"}.items():
        assert "".join(entry.path.stem for entry in past.find(words)) == found, words


def test_quotes_group_words_and_a_plural_finds_the_singular(past):
    put(past, "1/a.png", "text a Sailing\n boat of the class 7, 71 sheep", 10)
    put(past, "1/b.png", "text a boat, sailing a bus in tens, a city, a house", 20)
    put(past, "1/c.png", "text Boats, boating, 1890", 30)
    refreshed(past)
    for words, found in {
        '"a sailing boat"': "a",
        '"a  sailing  bo': "a",
        "„Sailing Boat“ sheep": "a",
        '"boat, sailing" boat': "b",
        '""  " "': "cba",
        '"" sheep': "a",
        '"class 7"': "a",
        '"class 71"': "",
        '"7, 7"': "",
        '"71 sheep"': "a",
        '"1 sheep"': "",
        "boats": "cba",
        '"boats"': "c",
        "bus": "b",
        "buses": "b",
        "cities": "b",
        "houses": "b",
        "cases": "",
        "tens": "b",
        "sails": "",
        "1890s": "",
    }.items():
        assert "".join(entry.path.stem for entry in past.find(words)) == found, words


def test_pages_leave_none_out_and_none_is_twice(past):
    for number in range(7):
        put(past, f"1/{number}.png", f"text {number}", 100 + number // 3)  # some at the same time
    refreshed(past)
    seen, last = [], None
    while len(seen) < 7 and (some := past.find(after=last, limit=2)):
        seen += titles(some)
        last = some[-1]
    assert past.find(after=last) == []
    assert seen == titles(past.find()) == [f"text {number}" for number in (6, 5, 4, 3, 2, 1, 0)]


def test_what_is_gone_is_forgotten_and_what_changed_is_read_again(past):
    gone, changed = put(past, "1/a.png", "text a", 1), put(past, "1/b.png", "text b", 2)
    assert refreshed(past) == [2, 0]
    assert refreshed(past) == [0]
    gone.unlink()
    put(past, "1/b.png", "text another", 3)
    refreshed(past)
    assert [(entry.path, entry.made) for entry in past.find()] == [(changed, 3)]
    assert titles(past.find()) == ["text another"]


def test_what_is_gone_is_forgotten_before_what_is_new_is_read(past):
    gone, _ = put(past, "1/a.png", "text a", 1), put(past, "1/b.png", "text b", 2)
    refreshed(past)
    gone.unlink()
    put(past, "2/c.png", "text c", 3)
    past.forget_gone()
    assert (titles(past.find()), past.count()) == (["text b"], 1)
    refreshed(past)
    assert titles(past.find()) == ["text c", "text b"]


def test_many_are_found_while_others_are_still_read(past, monkeypatch):
    monkeypatch.setattr(history, "BATCH", 2)
    for number in range(5):
        put(past, f"1/{number}.png", f"text {number}", number + 1)
    found = [(left, titles(past.find())) for left in past.refresh()]
    newest = [f"text {number}" for number in (4, 3, 2, 1, 0)]
    assert found == [(5, []), (3, newest[:2]), (1, newest[:4]), (0, newest)]
    past.describe = None  # none is read twice
    assert refreshed(past) == [0]


@pytest.mark.parametrize("content", [b"not an index " * 100, None])
def test_an_index_that_cannot_be_read_is_made_anew(past, content):
    past.index.parent.mkdir()
    if content:
        past.index.write_bytes(content)
    else:
        with sqlite3.connect(past.index) as other:
            other.execute("CREATE TABLE pictures (path TEXT)")
            other.execute("PRAGMA user_version = 99")
        other.close()
    put(past, "1/a.png", "text a", 1)
    refreshed(past)
    assert titles(past.find()) == ["text a"]


@pytest.mark.parametrize("harm", ["pages", "table"])
def test_damage_that_is_found_late_is_told_once(past, harm):
    for number in range(300):
        put(past, f"1/{number}.png", f"text {number} " + "words " * 40, number + 1)
    refreshed(past)
    if harm == "pages":
        content = past.index.read_bytes()
        past.index.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    else:
        with sqlite3.connect(past.index) as other:
            other.execute("DROP TABLE pictures")
        other.close()
    with pytest.raises(LDMError, match="was damaged; open it again, and it is made anew"):
        list(past.refresh())
    refreshed(past)
    assert past.count() == 300


def test_names_and_folders_that_cannot_be_read_do_no_harm(past):
    put(past, "1/a.png", "text a", 1)
    (past.folder / "1" / os.fsdecode(b"\xff.png")).write_text("text no text")
    (past.folder / "1" / "gone.png").symlink_to("nowhere")
    (past.folder / os.fsdecode(b"\xff")).mkdir()
    (past.folder / os.fsdecode(b"\xff") / "a.png").write_text("text in no text")
    (past.folder / "1" / "folder.png").mkdir()
    refreshed(past)
    assert titles(past.find()) == ["text a"]
    past.folder = past.folder / "none"
    refreshed(past)
    assert past.find() == []


def test_an_index_that_cannot_be_kept_is_a_sentence(past):
    past.index.parent.write_text("a file")
    with pytest.raises(LDMError, match=r"the history cannot be kept in .*history\.db: .*\."):
        list(past.refresh())
    with pytest.raises(LDMError, match="the history cannot be kept"):
        past.find()


@pytest.mark.parametrize("is_windows", [False, True])
def test_what_was_removed_last_is_last(past, monkeypatch, is_windows):
    monkeypatch.setattr("ldm.history.IS_WINDOWS", is_windows)
    for name, made in (("c", 3), ("a", 1), ("b", 2)):  # not in the order in which they were made
        put(past, f"1/{name}.png", f"text {name}", made)
    refreshed(past)
    entries = {entry.path.stem: entry for entry in past.find()}
    for name in "cab":
        past.remove(entries[name])
        time.sleep(0.01)  # a tick of the file system's clock
    found = past.removed_pictures()
    assert [entry.path.stem for entry in found] == ["c", "a", "b"]
    assert [entry.made for entry in found] == [entries[name].made for name in "cab"]


def test_of_many_that_were_removed_the_last_are_given(past, monkeypatch):
    monkeypatch.setattr(history, "BATCH", 2)
    for name in "abc":
        put(past, f"1/{name}.png", f"text {name}", 1)
    refreshed(past)
    for entry in past.find():
        past.remove(entry)
        time.sleep(0.01)
    assert titles(past.removed_pictures()) == ["text b", "text a"]


def test_several_become_favourites_unless_all_are(past):
    paths = [put(past, f"1/{name}.png", f"text {name}", 1) for name in "ab"]
    assert past.toggle_star(paths[0])
    assert past.toggle_stars(paths)
    assert all(map(past.is_starred, paths))
    assert not past.toggle_stars(paths)
    assert not any(map(past.is_starred, paths))


def test_a_search_may_be_of_any_length(past):
    put(past, "1/a.png", "text snow", 1)
    refreshed(past)
    assert titles(past.find("snow " * 5000)) == ["text snow"]


def test_what_is_removed_is_kept_and_comes_back_as_it_was(past):
    put(past, "1/a.png", "text a", 1)
    put(past, "1/b.png", "text b", 2)
    refreshed(past)
    before = past.find()
    past.remove(before[0])
    refreshed(past)
    assert past.find() == before[1:]
    assert (past.removed / "1" / "b.png").read_text() == "text b"
    (past.removed / "1" / "other.png").write_text("| not made here")
    again = History(past.folder, past.index, past.removed, past.describe)  # another visit
    assert [entry.path for entry in again.removed_pictures()] == [past.folder / "1" / "b.png"]
    assert again.removed_pictures()[0].about.title == "text b"
    (past.removed / "1" / "other.png").unlink()
    past.put_back(before[0])
    refreshed(past)
    assert past.find() == before
    assert list(past.removed.rglob("*.png")) == []


def test_nothing_is_moved_over_another_file(past):
    put(past, "1/a.png", "text a", 1)
    refreshed(past)
    (entry,) = past.find()
    past.remove(entry)
    put(past, "1/a.png", "text another", 2)
    with pytest.raises(LDMError, match=r"a\.png cannot be moved to .*: there is another file"):
        past.put_back(entry)
    with pytest.raises(LDMError, match="there is another file of this name"):
        past.remove(entry)
    assert (past.removed / "1" / "a.png").read_text() == "text a"
    assert entry.path.read_text() == "text another"
    past.removed = past.folder / "1" / "a.png"
    with pytest.raises(LDMError, match=r"a\.png cannot be moved to .*: (Not a|File exists)"):
        past.remove(entry)


@pytest.mark.parametrize("made", [0, 10**10 * 10**9])
def test_a_picture_of_any_date_is_found(past, made):
    put(past, "1/a.png", "text a", made)
    refreshed(past)
    assert titles(past.find()) == ["text a"]
    assert refreshed(past) == [0]
