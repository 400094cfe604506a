"""The words of a search in the history, as a condition of its index.

Every word and every quoted phrase must be in a picture's words. A number stands alone, and a plural
finds its singular, too. Words that name days, see `ldm.history.days`, find the pictures of these
days, too. What begins with a minus sign, as in "boat -moon", must not be in them.
"""

from __future__ import annotations

import os
import re
from datetime import date
from string import digits

from ldm.history.days import named

MAX_WORDS = 16  # words and phrases of a search; more are ignored
QUOTES = str.maketrans("“”„«»", '"' * 5)
# a minus, and a phrase whose last quote is optional, or a word; a minus before a digit is its sign
PARTS = re.compile(r'(-(?=[^\s\d-]))?(?:"([^"]*)"?|([^"\s]+))')


def matches(pattern: str, words: str | None) -> bool:
    """Whether a pattern is found in words; the index calls it under this name."""
    return re.search(pattern, words or "") is not None


def where(words: str, task: str, today: date) -> tuple[str, list[str | int]]:
    """Return the SQL condition of a search that is made today, and its values."""
    found = PARTS.findall(words.casefold().translate(QUOTES))
    # the comma of a list is none of its words
    parts = [(minus, " ".join(phrase.split()), word.rstrip(",")) for minus, phrase, word in found]
    parts = [part for part in parts if any(part[1:])][:MAX_WORDS]
    some = _conditions([part for minus, *part in parts if not minus], today)
    for part in (part for minus, *part in parts if minus):
        some += [(f"NOT ({text})", values) for text, values in _conditions([part], today)]
    condition = " AND ".join(["words IS NOT NULL", *(part for part, _ in some)])
    values = [value for _, pair in some for value in pair]
    return (f"{condition} AND task = ?", [*values, task]) if task else (condition, values)


def _conditions(parts: list[tuple[str, str]], today: date) -> list[tuple[str, list[str]]]:
    """Conditions and values of phrases and words, of which several may name a day together."""
    conditions = []
    while parts:
        count, (day, values) = named([word for _, word in parts], today)
        holds = [_holds(*part) for part in parts[: count or 1]]
        text = " AND ".join(condition for condition, _ in holds)
        values = [*values, *(value for _, some in holds for value in some)]
        conditions.append((f"({day} OR ({text}))" if day else text, values))
        parts = parts[count or 1 :]
    return conditions


def _holds(phrase: str, word: str) -> tuple[str, list[str]]:
    """Condition and values of a phrase or a word in a picture's words."""
    text = phrase or word
    if phrase or not text.strip(digits):
        pattern = _alone(text)
    elif len(text) > 3 and text.isalpha() and text[-1] == "s":
        text, pattern = _plural(text)
    else:
        return "instr(words, ?)", [text]
    return "instr(words, ?) AND matches(?, words)", [text, pattern]  # the faster one first


def _plural(text: str) -> tuple[str, str]:
    """Return how a plural and its singulars begin, and their pattern: "boats" finds "boat"."""
    singulars = [text[:-1]]
    if re.search("(s|x|z|ch|sh)es$", text):
        singulars.append(text[:-2])
    if text.endswith("ies"):
        singulars.append(text[:-3] + "y")
    start = os.path.commonprefix(singulars)
    ends = [text[len(start) :], *(one[len(start) :] + r"(?!\w)" for one in singulars)]
    return start, f"{start}({'|'.join(ends)})"


def _alone(text: str) -> str:
    """Return the pattern of a text in which a number at its start or end stands alone.

    7 is no part of 17, 0.7, 7.5, -7 and v7, nor of a date or a file name like 7-8-1; it is found in
    "7.", "7-8" and "7pm".
    """
    # behind the first character, as a pattern that begins with one is found much faster
    before = rf"(?<![\w.-]{text[0]})" if text[0] in digits else ""
    after = r"(?!\d|\.\d|-\d+-)" if text[-1] in digits else ""
    return re.escape(text[0]) + before + re.escape(text[1:]) + after
