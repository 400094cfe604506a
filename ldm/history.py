"""History of saved pictures: a searchable index of a folder, newest first.

All information is in the pictures themselves. The index is built from them and holds what a search
needs, so it may be deleted at any time. A picture that is added to the folder or deleted by hand
enters or leaves the history at the next refresh.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import date
from pathlib import Path

from ldm.days import day_of
from ldm.errors import LDMError
from ldm.search import matches, where

OUTPUTS = "outputs"  # folder of the pictures in a history, under the data folder
VISITORS = "visitors"  # folder of those that no history shows
THUMBNAILS = "thumbnails"  # folder of their thumbnails
SCHEMA = 6  # version of the index; an index of another version is rebuilt
BATCH = 100  # pictures that are read between two writes of the index
WAIT = 10.0  # s to wait while another connection writes
LATEST = 2**63 - 1  # ns since 1970: the largest number that the index can hold

CREATE = """
CREATE TABLE pictures (
    path TEXT PRIMARY KEY,  -- in the folder
    made INTEGER NOT NULL,  -- ns since 1970
    day TEXT NOT NULL,      -- like 2026-11-23
    task TEXT, title TEXT, settings TEXT, without TEXT,
    words TEXT,             -- what is searched, in small letters; NULL: it was not made here
    kind TEXT
);
CREATE INDEX newest ON pictures (day DESC, made DESC, path DESC);
"""


@dataclass(frozen=True)
class About:
    """What the metadata of a picture tells the history."""

    task: str
    title: str  # what it shows, in a line
    settings: str  # in a line
    without: str  # what it should not show
    words: str  # all text that a search looks in
    kind: str = ""  # "sheet" of one


@dataclass(frozen=True)
class Entry:
    """A picture of the history."""

    path: Path
    made: int  # ns since 1970
    day: str  # like 2026-11-23: the name of its folder or, of one of another name, when it was made
    about: About


class History:
    """The pictures in the subfolders of a folder.

    Args:
        folder: Holds one folder per day, with PNG files.
        index: File of the index.
        removed: Folder that removed pictures are moved to.
        describe: Reads the metadata of a picture; None if it was not made by this program.
        today: Returns the day of a search.
    """

    def __init__(
        self,
        folder: Path,
        index: Path,
        removed: Path,
        describe: Callable[[Path], About | None],
        today: Callable[[], date] = date.today,
    ) -> None:
        self.folder = folder
        self.index = index
        self.removed = removed
        self.describe = describe
        self.today = today

    def refresh(self) -> Iterator[int]:
        """Index new and changed pictures, newest first, and drop those that are gone.

        Yields:
            The number of pictures still to be read, first and after each BATCH; a search in between
            finds those already read.

        Raises:
            LDMError: If the index cannot be written.
        """
        there = dict(_pictures(self.folder))
        known = self._forget(there)
        new = [path for path, made in there.items() if known.get(path) != made]
        new.sort(key=there.__getitem__, reverse=True)
        yield len(new)
        for start in range(0, len(new), BATCH):
            some = new[start : start + BATCH]
            self._write([(path, there[path], self._about(path)) for path in some])
            yield max(0, len(new) - start - BATCH)

    def forget_gone(self) -> None:
        """Drop pictures whose files are gone from the index, without reading any.

        Raises:
            LDMError: If the index cannot be written.
        """
        self._forget({f"{day.name}/{entry.name}" for day, entry in _files(self.folder)})

    def _forget(self, there: Container[str]) -> dict[str, int]:
        """Drop pictures that are not in `there`; return what was indexed before, path -> ns."""
        with self._open() as index:
            known = dict(index.execute("SELECT path, made FROM pictures"))
            gone = [(path,) for path in known if path not in there]
            if gone:
                index.executemany("DELETE FROM pictures WHERE path = ?", gone)
        return known

    def _about(self, path: str) -> tuple[str | None, ...]:
        """Return the columns of a picture; all are None if it was not made by this program."""
        about = self.describe(self.folder / path)
        if about is None:
            return (None,) * len(fields(About))
        return astuple(replace(about, words=" ".join(about.words.casefold().split())))

    def _write(self, rows: Sequence[tuple[str, int, tuple[str | None, ...]]]) -> None:
        flat = [(path, made, day_of(path, made), *about) for path, made, about in rows]
        marks = ", ".join("?" * len(flat[0]))
        with self._open() as index:
            index.executemany(f"INSERT OR REPLACE INTO pictures VALUES ({marks})", flat)

    def find(
        self, words: str = "", task: str = "", *, after: Entry | None = None, limit: int = 40
    ) -> list[Entry]:
        """Find the pictures that match all words, newest first.

        Args:
            words: Parts of words, whole numbers and "quoted phrases", in any order; empty: all
                pictures match. A word in the plural finds the singular, too, and words that name
                days, like "last week" and "23 November", find what was made on these days.
            task: Only pictures of this task; empty: of any task.
            after: Only pictures that come after this one in the order.
            limit: Most pictures to return.

        Raises:
            LDMError: If the index cannot be read.
        """
        condition, values = where(words, task, self.today())
        if after is not None:
            condition += " AND (day, made, path) < (?, ?, ?)"
            values += [after.day, after.made, after.path.relative_to(self.folder).as_posix()]
        order = "day DESC, made DESC, path DESC"
        query = f"SELECT * FROM pictures WHERE {condition} ORDER BY {order} LIMIT ?"
        with self._open() as index:
            rows = index.execute(query, [*values, limit]).fetchall()
        return [
            Entry(self.folder / path, made, day, About(*about)) for path, made, day, *about in rows
        ]

    def count(self, words: str = "", task: str = "") -> int:
        """Count the pictures that `find` would return without a limit.

        Raises:
            LDMError: If the index cannot be read.
        """
        condition, values = where(words, task, self.today())
        query = f"SELECT COUNT(*) FROM pictures WHERE {condition}"
        with self._open() as index:
            return index.execute(query, values).fetchone()[0]

    def remove(self, entry: Entry) -> None:
        """Move a picture to the folder of removed ones; nothing is deleted.

        Raises:
            LDMError: If it cannot be moved.
        """
        _move(entry.path, self._place(entry))

    def put_back(self, entry: Entry) -> None:
        """Move a removed picture back to its place.

        Raises:
            LDMError: If it cannot be moved.
        """
        _move(self._place(entry), entry.path)

    def _place(self, entry: Entry) -> Path:
        """Return the path of a picture while it is removed."""
        return self.removed / entry.path.relative_to(self.folder)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the index and commit at the end; rebuild it if damaged or of another version."""
        try:
            try:
                index = self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self.index.unlink()
                index = self._connect()
            with closing(index), index:
                yield index
        except (sqlite3.Error, OSError) as error:
            if _is_damage(error):
                self.index.unlink(missing_ok=True)
                what = f"the history in {self.index} was damaged"
                raise LDMError(f"{what}; open it again, and it is made anew.") from error
            raise LDMError(f"the history cannot be kept in {self.index}: {error}.") from error

    def _connect(self) -> sqlite3.Connection:
        self.index.parent.mkdir(parents=True, exist_ok=True)
        index = sqlite3.connect(self.index, timeout=WAIT)
        index.create_function("matches", 2, matches)
        try:
            (version,) = index.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA:
                with index:
                    index.executescript(
                        "BEGIN IMMEDIATE; DROP TABLE IF EXISTS pictures;"
                        f"{CREATE} PRAGMA user_version = {SCHEMA}; COMMIT;"
                    )
        except BaseException:
            index.close()
            raise
        return index


def _is_damage(error: Exception) -> bool:
    """Whether an error means a damaged index or a missing table, not a lock or a full disk."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such" in str(error)
    return type(error) is sqlite3.DatabaseError


def _move(path: Path, target: Path) -> None:
    """Move a file to a path where there is none yet.

    Raises:
        LDMError: If it cannot be moved; in one sentence.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise FileExistsError(errno.EEXIST, "there is another file of this name")
        path.rename(target)
    except OSError as error:
        reason = error.strerror or error
        raise LDMError(f"{path.name} cannot be moved to {target.parent}: {reason}.") from error


def _pictures(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the pictures in subfolders as (path relative to `folder`, time of writing in ns)."""
    for day, entry in _files(folder):
        if (made := _written(entry)) is not None:
            yield f"{day.name}/{entry.name}", made


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], os.DirEntry[str]]]:
    """Yield (subfolder, entry) for every name in a subfolder that ends in ".png"."""
    for day in _entries(folder):
        if _is_text(day.name) and day.is_dir():
            yield from ((day, one) for one in _entries(Path(day.path)) if one.name.endswith(".png"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List the entries of a folder; empty if it is gone or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _written(entry: os.DirEntry[str]) -> int | None:
    """Return when a picture was written, in ns; None if it is no picture or is gone meanwhile.

    An empty file only reserves the name of a picture that is still to be written.
    """
    try:
        about = entry.stat()
    except OSError:
        return None
    is_one = _is_text(entry.name) and about.st_size and stat.S_ISREG(about.st_mode)
    return max(-LATEST, min(about.st_mtime_ns, LATEST)) if is_one else None


def _is_text(name: str) -> bool:
    """Whether a file name is valid Unicode; on a disk, it may consist of any bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
