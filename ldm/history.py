"""Pictures that were made, to be found again: an index of a folder, newest first.

The pictures carry all that is known of them. The index is made from them and holds what a search
needs: it may be deleted at any time, and a picture that is put into the folder, or taken out of it
by hand, is in the history or is not.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ldm.errors import LDMError

SCHEMA = 2  # of the index; one of another version is made anew
BATCH = 100  # pictures that are read before the index is written
WAIT = 10.0  # s for another window's or program's writing
LATEST = 2**63 - 1  # ns since 1970: the index holds no larger number
MAX_WORDS = 16  # of a search

CREATE = """
CREATE TABLE pictures (
    path TEXT PRIMARY KEY,  -- in the folder
    made INTEGER NOT NULL,  -- ns since 1970
    task TEXT, title TEXT, settings TEXT, without TEXT,
    words TEXT              -- what is searched, in small letters; NULL: it was not made here
);
CREATE INDEX newest ON pictures (made DESC, path DESC);
"""


@dataclass(frozen=True)
class About:
    """What a picture says of itself."""

    task: str
    title: str  # what it shows, in a line
    settings: str  # in a line
    without: str  # what it was to leave out
    words: str  # all that it may be found by


@dataclass(frozen=True)
class Entry:
    """A picture of the history."""

    path: Path
    made: int  # ns since 1970
    about: About


class History:
    """The pictures in the folders of a folder.

    Args:
        folder: Holds a folder for each day, with PNG files.
        index: The file to keep the index in.
        removed: Where pictures go that are taken out.
        describe: Reads what a picture says of itself; None if it was not made here.
    """

    def __init__(
        self, folder: Path, index: Path, removed: Path, describe: Callable[[Path], About | None]
    ) -> None:
        self.folder = folder
        self.index = index
        self.removed = removed
        self.describe = describe

    def refresh(self) -> Iterator[int]:
        """Read the pictures that are new, newest first, and forget those that are gone.

        Yields:
            How many are still to be read, now and after each BATCH; a search in between finds
            those that were.

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
        """Forget the pictures that are gone; none is read.

        Raises:
            LDMError: If the index cannot be written.
        """
        self._forget({f"{day.name}/{entry.name}" for day, entry in _files(self.folder)})

    def _forget(self, there: Container[str]) -> dict[str, int]:
        """Forget the pictures that are not among these; gives what was known, path -> ns."""
        with self._open() as index:
            known = dict(index.execute("SELECT path, made FROM pictures"))
            gone = [(path,) for path in known if path not in there]
            if gone:
                index.executemany("DELETE FROM pictures WHERE path = ?", gone)
        return known

    def _about(self, path: str) -> tuple[str | None, ...]:
        """The columns of what a picture says."""
        about = self.describe(self.folder / path)
        if about is None:
            return (None,) * len(fields(About))
        *rest, words = astuple(about)
        return *rest, words.casefold()

    def _write(self, rows: Sequence[tuple[str, int, tuple[str | None, ...]]]) -> None:
        flat = [(path, made, *about) for path, made, about in rows]
        marks = ", ".join("?" * len(flat[0]))
        with self._open() as index:
            index.executemany(f"INSERT OR REPLACE INTO pictures VALUES ({marks})", flat)

    def find(
        self, words: str = "", task: str = "", *, after: Entry | None = None, limit: int = 40
    ) -> list[Entry]:
        """Pictures with all of some words, newest first.

        Args:
            words: Parts of words, in any order; nothing finds all.
            task: Of this task alone; nothing is any.
            after: Those that come after this one.
            limit: No more than so many.

        Raises:
            LDMError: If the index cannot be read.
        """
        where, values = _where(words, task)
        if after is not None:
            where += " AND (made, path) < (?, ?)"
            values += [after.made, after.path.relative_to(self.folder).as_posix()]
        query = f"SELECT * FROM pictures WHERE {where} ORDER BY made DESC, path DESC LIMIT ?"
        with self._open() as index:
            rows = index.execute(query, [*values, limit]).fetchall()
        return [Entry(self.folder / path, made, About(*about)) for path, made, *about in rows]

    def count(self, words: str = "", task: str = "") -> int:
        """How many pictures `find` would find without a limit.

        Raises:
            LDMError: If the index cannot be read.
        """
        where, values = _where(words, task)
        query = f"SELECT COUNT(*) FROM pictures WHERE {where}"
        with self._open() as index:
            return index.execute(query, values).fetchone()[0]

    def remove(self, entry: Entry) -> None:
        """Take a picture out of its folder; nothing is deleted.

        Raises:
            LDMError: If it cannot be moved.
        """
        _move(entry.path, self._place(entry))

    def put_back(self, entry: Entry) -> None:
        """Put a picture back that was removed.

        Raises:
            LDMError: If it cannot be moved.
        """
        _move(self._place(entry), entry.path)

    def _place(self, entry: Entry) -> Path:
        """Where a picture is when it is removed."""
        return self.removed / entry.path.relative_to(self.folder)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The index, written down at the end; made anew if it is damaged or of another version."""
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
    """Whether an index is none, or holds no such table; not that it is locked or the disk full."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such" in str(error)
    return type(error) is sqlite3.DatabaseError


def _move(path: Path, target: Path) -> None:
    """Move a file to where none is yet.

    Raises:
        LDMError: In one sentence.
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
    """The PNG files of a folder's folders, with the time when each was written in ns."""
    for day, entry in _files(folder):
        if (made := _written(entry)) is not None:
            yield f"{day.name}/{entry.name}", made


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], os.DirEntry[str]]]:
    """What is called a PNG in a folder's folders, with its folder."""
    for day in _entries(folder):
        if _is_text(day.name) and day.is_dir():
            yield from ((day, one) for one in _entries(Path(day.path)) if one.name.endswith(".png"))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing in one that is gone or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _written(entry: os.DirEntry[str]) -> int | None:
    """When a picture was written, in ns; None of what is none, or is gone meanwhile.

    A file of no bytes is a picture still to come, and a name may be of any: not all are text.
    """
    try:
        about = entry.stat()
    except OSError:
        return None
    is_one = _is_text(entry.name) and about.st_size and stat.S_ISREG(about.st_mode)
    return max(-LATEST, min(about.st_mtime_ns, LATEST)) if is_one else None


def _is_text(name: str) -> bool:
    """Whether a name can be written down: a disk may hold any bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _where(words: str, task: str) -> tuple[str, list[str | int]]:
    """The condition of a search, and its values."""
    some = words.casefold().split()[:MAX_WORDS]
    where = " AND ".join(["words IS NOT NULL", *(["instr(words, ?)"] * len(some))])
    return (f"{where} AND task = ?", [*some, task]) if task else (where, [*some])
