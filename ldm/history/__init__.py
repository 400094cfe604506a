"""History of saved pictures: a searchable index of a folder, newest first.

All information is in the pictures themselves. The index is built from them and holds what a search
needs, so it may be deleted at any time. A picture that is added to the folder or deleted by hand
enters or leaves the history at the next refresh.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields, replace
from datetime import date
from pathlib import Path

from ldm.errors import LDMError
from ldm.history import on_disk
from ldm.history.days import day_of
from ldm.history.favourites import Favourites
from ldm.history.search import matches, where

OUTPUTS = "outputs"  # folder of the pictures in a history, under the data folder
VISITORS = "visitors"  # folder of those that no history shows
THUMBNAILS = "thumbnails"  # folder of their thumbnails
SCHEMA = 6  # version of the index; an index of another version is rebuilt
BATCH = 100  # pictures that are read between two writes of the index
WAIT = 10.0  # s to wait while another connection writes
# it keeps no time of a change of place; when a picture was last read takes its part, see `remove`
IS_WINDOWS = os.name == "nt"

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
    is_favourite: bool = False


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
        self.favourites = Favourites(index.with_name("favourites.txt"))

    def refresh(self) -> Iterator[int]:
        """Index new and changed pictures, newest first, and drop those that are gone.

        Yields:
            The number of pictures still to be read, first and after each BATCH; a search in between
            finds those already read.

        Raises:
            LDMError: If the index cannot be written.
        """
        there = dict(on_disk.pictures(self.folder))
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
        self._forget({f"{day.name}/{entry.name}" for day, entry in on_disk.files(self.folder)})

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
        self,
        words: str = "",
        task: str = "",
        *,
        starred: bool = False,
        after: Entry | None = None,
        limit: int = 40,
    ) -> list[Entry]:
        """Find the pictures that match all words, newest first.

        Args:
            words: Parts of words, whole numbers and "quoted phrases", in any order; empty: all
                pictures match. A word in the plural finds the singular, too, and words that name
                days, like "last week" and "23 November", find what was made on these days.
            task: Only pictures of this task; empty: of any task.
            starred: Whether to find favourites only.
            after: Only pictures that come after this one in the order.
            limit: Most pictures to return.

        Raises:
            LDMError: If the index cannot be read, or the favourites if they are searched.
        """
        condition, values = self._where(words, task, starred=starred)
        if after is not None:
            condition += " AND (day, made, path) < (?, ?, ?)"
            values += [after.day, after.made, self._name(after.path)]
        order = "day DESC, made DESC, path DESC"
        query = f"SELECT * FROM pictures WHERE {condition} ORDER BY {order} LIMIT ?"
        with self._open() as index:
            rows = index.execute(query, [*values, limit]).fetchall()
        favourites = self._starred()
        return [
            Entry(self.folder / path, made, day, About(*about), path in favourites)
            for path, made, day, *about in rows
        ]

    def count(self, words: str = "", task: str = "", *, starred: bool = False) -> int:
        """Count the pictures that `find` would return without a limit.

        Raises:
            LDMError: If the index cannot be read, or the favourites if they are searched.
        """
        condition, values = self._where(words, task, starred=starred)
        query = f"SELECT COUNT(*) FROM pictures WHERE {condition}"
        with self._open() as index:
            return index.execute(query, values).fetchone()[0]

    def _where(self, words: str, task: str, *, starred: bool) -> tuple[str, list[str | int]]:
        """Return the SQL condition of a search, and its values."""
        condition, values = where(words, task, self.today())
        if starred:
            condition += " AND path IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(self.favourites.names()))
        return condition, values

    def toggle_star(self, path: Path) -> bool:
        """Make a picture of the folder a favourite, or none any more; return whether it is one.

        Raises:
            LDMError: See `toggle_stars`.
        """
        return self.toggle_stars([path])

    def toggle_stars(self, paths: Sequence[Path]) -> bool:
        """Make pictures of the folder favourites, or none of them if all are; return which.

        Raises:
            LDMError: If the file of the favourites cannot be read or written, or a new one is gone;
                nothing is changed then.
        """
        names, known = [*map(self._name, paths)], set(self.favourites.names())
        is_new = not known.issuperset(names)
        gone = [path for path in paths if is_new and not path.exists()]
        if gone:
            raise LDMError(f"{gone[0].name} is not in its folder any more.")
        self.favourites.mark(names, is_new)
        return is_new

    def is_starred(self, path: Path) -> bool:
        """Whether a picture of the folder is a favourite; False if their file is unreadable."""
        return self._name(path) in self._starred()

    def _starred(self) -> set[str]:
        """Return the names of the favourites; none if their file is unreadable."""
        with suppress(LDMError):
            return set(self.favourites.names())
        return set()

    def _name(self, path: Path) -> str:
        """Return the name of a picture in the index and among the favourites."""
        return path.relative_to(self.folder).as_posix()

    def remove(self, entry: Entry) -> None:
        """Move a picture to the folder of removed ones; nothing is deleted.

        Raises:
            LDMError: If it cannot be moved.
        """
        target = self._place(entry)
        on_disk.move(entry.path, target)
        if IS_WINDOWS:
            with suppress(OSError):
                os.utime(target, ns=(time.time_ns(), target.stat().st_mtime_ns))

    def removed_pictures(self) -> list[Entry]:
        """Return the pictures that were removed last, up to BATCH of them, the newest removal last.

        Their paths are those from which they were removed.
        """
        files = []
        for day, entry in on_disk.files(self.removed):
            with suppress(OSError):  # it is put back meanwhile
                about = entry.stat()
                moved = about.st_atime_ns if IS_WINDOWS else about.st_ctime_ns
                files.append((moved, about.st_mtime_ns, f"{day.name}/{entry.name}"))
        found = []
        for _, made, path in sorted(files)[-BATCH:]:
            about = self.describe(self.removed / path)
            if about is not None:
                found.append(Entry(self.folder / path, made, day_of(path, made), about))
        return found

    def put_back(self, entry: Entry) -> None:
        """Move a removed picture back to its place.

        Raises:
            LDMError: If it cannot be moved.
        """
        on_disk.move(self._place(entry), entry.path)

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
