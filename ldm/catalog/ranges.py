"""Ranges of the numbers in a configuration, declared at their dataclass fields and checked here.

Ranges are wide: they refuse implausible values before anything is built from them.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ldm.errors import LDMError


@dataclass(frozen=True)
class Range:
    """The values that a field may hold, both ends inclusive."""

    low: float
    high: float
    counts: tuple[int, int] | None = None  # fewest and most numbers of a tuple; None: one number

    def holds(self, value: Any) -> bool:
        """Whether a field may hold `value`."""
        if self.counts is None:
            return self.low <= value <= self.high  # False for nan
        within = all(self.low <= number <= self.high for number in value)
        return within and self.counts[0] <= len(value) <= self.counts[1]

    def __str__(self) -> str:
        """Describe the range for error messages."""
        one = f"{self.low:.12g}"
        if self.low != self.high:
            one += f" to {self.high:.12g}"
        if self.counts is None:
            return one
        least, most = self.counts
        return f"{least if least == most else f'{least} to {most}'} numbers of {one}"


def number(low: float, high: float, default: Any = MISSING) -> Any:
    """Declare a field of one number; its default may be out of range, and None is not checked."""
    return field(default=default, metadata={"range": Range(low, high)})


def numbers(counts: tuple[int, int], low: float, high: float, default: Any = MISSING) -> Any:
    """Declare a field of several numbers; its default may be out of range; see `number`."""
    return field(default=default, metadata={"range": Range(low, high, counts)})


def check_ranges(config: Any, error: type[LDMError], where: str = "") -> None:
    """Check every field of a dataclass that was declared by `number` or `numbers`.

    Args:
        config: An instance of the dataclass.
        error: The type of the error to raise.
        where: Name of the configuration, for the error message.

    Raises:
        LDMError: Of the type `error`, if a value is out of range; it names the field and both.
    """
    for about in fields(config):
        value, allowed = getattr(config, about.name), about.metadata.get("range")
        if allowed is None or value is None or value == about.default or allowed.holds(value):
            continue
        name = f"{where}.{about.name}" if where else about.name
        raise error(f"{name} must be {allowed}, got {value!s:.80}.")
