"""The favourites among the pictures of a history: a text file that names one in each line.

People may read, edit and copy it, and it outlives the index. This module needs no torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ldm.errors import LDMError


@dataclass(frozen=True)
class Favourites:
    """The names in a file, which need not exist."""

    file: Path

    def names(self) -> list[str]:
        """Return the names in the order in which they were added.

        Raises:
            LDMError: If the file cannot be read.
        """
        try:
            text = self.file.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable("read", error) from error
        lines = (line.strip() for line in text.splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def mark(self, name: str, is_one: bool) -> None:
        """Add a name to the file, or remove it; the file is replaced atomically.

        Raises:
            LDMError: If the file cannot be read or written; it is then as before.
        """
        names = [one for one in self.names() if one != name] + [name] * is_one
        text = "".join(f"{one}\n" for one in names)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            part.write_text(text, "utf-8")
            os.replace(part, self.file)
        except OSError as error:
            raise self._unusable("written", error) from error

    def _unusable(self, what: str, error: Exception) -> LDMError:
        reason = getattr(error, "strerror", None) or error
        return LDMError(f"the favourites in {self.file} cannot be {what}: {reason}.")
