"""The favourites among the pictures of a history: a text file that names one in each line.

People may read, edit and copy it, and it outlives the index. This module needs no torch.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ldm.errors import LDMError
from ldm.files import put_in_place


@dataclass(frozen=True)
class Favourites:
    """The names in a file, which need not exist. It may be used by several threads."""

    file: Path
    _changing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def names(self) -> list[str]:
        """Return the names in the order in which they were added.

        Raises:
            LDMError: If the file cannot be read.
        """
        try:
            text = self.file.read_text("utf-8-sig")  # some editors begin a file with a mark
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable("read", error) from error
        return [line for line in dict.fromkeys(text.split("\n")) if line]

    def mark(self, marked: Collection[str], is_one: bool) -> None:
        """Add names to the file, or remove them; the file is replaced atomically.

        Raises:
            LDMError: If the file cannot be read or written, or cannot hold a name; it is then as
                before.
        """
        if bad := next((name for name in marked if "\n" in name or "\r" in name), None):
            raise LDMError(f"{bad!r} has more than one line; rename it to make it a favourite.")
        with self._changing:
            names = [one for one in self.names() if one not in marked] + [*marked] * is_one
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                part = self.file.with_suffix(".part")
                part.write_text("".join(f"{one}\n" for one in names), "utf-8")
                put_in_place(part, self.file)
            except OSError as error:
                raise self._unusable("written", error) from error

    def _unusable(self, what: str, error: Exception) -> LDMError:
        reason = getattr(error, "strerror", None) or error
        return LDMError(f"the favourites in {self.file} cannot be {what}: {reason}.")
