"""Days as people call them: "yesterday", "last week", "monday", "november", "23 November".

Conditions of an index whose column `day` holds days like 2026-11-23.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta

Condition = tuple[str, list[str]]  # SQL and its values

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
# weekdays are not shortened: a picture of the sun is searched for more often than one of a Sunday
NUMBERS = {name[:3]: f"{number:02}" for number, name in enumerate(MONTHS, 1)}
NUMBERS |= {name: NUMBERS[name[:3]] for name in MONTHS} | {"sept": "09"}
DAY = re.compile(r"(0?[1-9]|[12]\d|3[01])(st|nd|rd|th)?")  # of a month
ISO = re.compile(r"\d{4}-\d\d-\d\d")
YEAR = re.compile(r"20\d\d")
MOST_WORDS = 3  # of "23 November 2026"


def named(words: Sequence[str], today: date) -> tuple[int, Condition]:
    """Return how many of the first words name days together, and the condition of these days.

    Args:
        words: Words in small letters, without commas; "23", "november" are a day together, and ""
            is none.
        today: The day that relative words are told from; weeks begin on Monday.

    Returns:
        (0, ("", [])) if the first word names no day.
    """
    for count in range(min(MOST_WORDS, len(words)), 0, -1):
        some = [word.rstrip(".") for word in words[:count]]
        condition = _relative(" ".join(some), today) or _of_a_calendar(some)
        if condition:
            return count, condition
    return 0, ("", [])


def _relative(words: str, today: date) -> Condition | None:
    monday = today - timedelta(days=today.weekday())
    begin, length = {
        "today": (today, 1),
        "yesterday": (today - timedelta(days=1), 1),
        "this week": (monday, 7),
        "last week": (monday - timedelta(days=7), 7),
    }.get(words, (today, 0))
    end = begin + timedelta(days=length - 1)
    return ("day BETWEEN ? AND ?", [str(begin), str(end)]) if length else None


def _of_a_calendar(words: Sequence[str]) -> Condition | None:
    """Condition of a weekday, a day like 2026-11-23, or a month with or without day and year."""
    if len(words) == 1 and ISO.fullmatch(words[0]):
        return "day = ?", [words[0]]
    if len(words) == 1 and words[0] in WEEKDAYS:
        return "strftime('%w', day) = ?", [str(WEEKDAYS.index(words[0]))]
    rest, year, day = list(words), "____", "__"
    if len(rest) > 1 and YEAR.fullmatch(rest[-1]):
        year = rest.pop()
    if len(rest) > 1:
        at = 0 if rest[1] in NUMBERS else 1
        found = DAY.fullmatch(rest.pop(at))
        day = found[1].zfill(2) if found else ""
    if len(rest) != 1 or rest[0] not in NUMBERS or not day:
        return None
    return "day LIKE ?", [f"{year}-{NUMBERS[rest[0]]}-{day}"]


def day_of(path: str, made: int) -> str:
    """Return the day of a picture, like 2026-11-23: the name of its folder or, of one of another
    name, when it was made. A copy of the folder keeps the name, but perhaps no times.

    Args:
        path: In the folder of all pictures.
        made: Time of the file, in ns.
    """
    name = path.partition("/")[0]
    try:
        return str(date.fromisoformat(name))
    except ValueError:
        return str(datetime.fromtimestamp(made / 1e9).date())
