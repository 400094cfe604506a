"""The numbers of a configuration: what each may hold stands at its field, and is checked here.

Ranges are wide: they keep out what cannot be meant, before anything is built of it.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ldm.errors import LDMError


@dataclass(frozen=True)
class Range:
    """What one field may hold; both ends inclusive."""

    low: float
    high: float
    counts: tuple[int, int] | None = None  # fewest and most numbers in it; None: it is one number

    def holds(self, value: Any) -> bool:
        """Whether a field may be `value`."""
        if self.counts is None:
            return self.low <= value <= self.high  # nan compares to nothing
        within = all(self.low <= number <= self.high for number in value)
        return within and self.counts[0] <= len(value) <= self.counts[1]

    def __str__(self) -> str:
        """For a person."""
        one = f"{self.low:.12g}"
        if self.low != self.high:
            one += f" to {self.high:.12g}"
        if self.counts is None:
            return one
        least, most = self.counts
        return f"{least if least == most else f'{least} to {most}'} numbers of {one}"


def number(low: float, high: float, default: Any = MISSING) -> Any:
    """A field of one number; its default may lie outside, and None is not looked at."""
    return field(default=default, metadata={"range": Range(low, high)})


def numbers(counts: tuple[int, int], low: float, high: float, default: Any = MISSING) -> Any:
    """Likewise, of several."""
    return field(default=default, metadata={"range": Range(low, high, counts)})


def check_ranges(config: Any, error: type[LDMError], where: str = "") -> None:
    """Check every field of a dataclass that was made by `number` or `numbers`.

    Args:
        config: The dataclass.
        error: What is raised.
        where: What the configuration is called, for the message.

    Raises:
        LDMError: Of the type `error`: the field, what it may hold and what came.
    """
    for about in fields(config):
        value, allowed = getattr(config, about.name), about.metadata.get("range")
        if allowed is None or value is None or value == about.default or allowed.holds(value):
            continue
        name = f"{where}.{about.name}" if where else about.name
        raise error(f"{name} must be {allowed}, got {value!s:.80}.")
