"""Sentences about a scene: many wordings, all of them true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TIMES = {
    "day": ("by day", "in daylight", "in the afternoon", "at noon"),
    "dawn": ("at dawn", "at sunrise", "early in the morning"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "by night", "in the dark"),
}
WEATHERS = {
    "clear": ("clear sky", "a cloudless sky", "clear weather"),
    "cloudy": ("white clouds", "a cloudy sky", "some clouds", "puffy clouds"),
    "overcast": ("an overcast sky", "a grey sky", "heavy clouds"),
    "fog": ("fog", "mist", "foggy weather"),
    "snowfall": ("falling snow", "snowfall", "snowy weather"),
}
GROUNDS = {
    "grass": ("a green meadow", "green grass", "a grassy field", "a summer meadow"),
    "autumn": ("an autumn meadow", "golden grass", "an autumn field"),
    "snow": ("snow", "a snowy field", "snow covered ground", "a winter field"),
    "sand": ("a sandy beach", "sand", "a sand beach"),
}
LAKES = ("a lake", "a calm lake", "still water", "a quiet lake")
MOUNTAINS = ("mountains", "a mountain range", "high mountains", "distant mountains")
NO_MOUNTAINS = ("low hills", "rolling hills", "hills")
NOUNS = {
    "pine": (("pine tree", "pine trees"), ("conifer", "conifers"), ("fir", "firs")),
    "tree": (("tree", "trees"), ("leafy tree", "leafy trees"), ("round tree", "round trees")),
    "house": (("house", "houses"), ("cottage", "cottages"), ("cabin", "cabins")),
    "boat": (("sailing boat", "sailing boats"), ("boat", "boats"), ("sailboat", "sailboats")),
}
COUNTS = {1: ("a", "one", "a single"), 2: ("two", "a pair of"), 3: ("three",)}
MANY = ("several", "many")
SIDES = {
    "left": ("on the left", "at the left"),
    "middle": ("in the middle", "in the centre"),
    "right": ("on the right", "at the right"),
}
DISCS = {
    "sun": ("the sun", "a bright sun", "the sun in the sky"),
    "moon": ("the moon", "a full moon"),
}
STARTS = ("", "", "", "a landscape with ", "a picture of ", "a view of ", "an illustration of ")
JOINS = (", ", ", ", " with ", " and ")


def describe(about: Mapping[str, Any], rng: np.random.Generator, share: float = 0.8) -> str:
    """One sentence about a scene.

    Args:
        about: `time, weather, ground, lake, mountains, disc` and `groups`, a list of
            (kind, count, colour or None, side or None) of what is visible.
        rng: Chooses what is named and how.
        share: Chance of naming each property; 1 names all. Objects are always named: only then
            does a model learn that what is not asked for is not there.
    """

    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    def named() -> bool:
        return share >= 1 or rng.random() < share

    parts = [_group(group, pick, named()) for group in about["groups"]]
    if about["lake"]:
        parts.append(pick(LAKES))
    if not about["lake"] or named():
        parts.append(pick(GROUNDS[about["ground"]]))
    if named():
        parts.append(pick(MOUNTAINS if about["mountains"] else NO_MOUNTAINS))
    if about["disc"] and named():
        parts.append(pick(DISCS[about["disc"]]))
    weather = [pick(WEATHERS[about["weather"]])] if named() else []
    rng.shuffle(parts)
    time = pick(TIMES[about["time"]]) if named() else ""
    place = rng.integers(3)
    if place == 0 and time:
        sentence = time + ", " + _join(parts + weather, pick)
    elif place == 1:
        sentence = " ".join(filter(None, [_join(parts, pick), time]))
        sentence = ", ".join([sentence, *weather])
    else:
        sentence = " ".join(filter(None, [_join(parts + weather, pick), time]))
    start = "" if sentence.startswith(time or "\0") else pick(STARTS)
    return start + sentence


def _join(parts: list[str], pick: Any) -> str:
    text = parts[0] if parts else ""
    for i, part in enumerate(parts[1:], start=2):
        text += (pick(JOINS) if i == len(parts) else ", ") + part
    return text


def _group(group: tuple[str, int, str | None, str | None], pick: Any, detailed: bool) -> str:
    kind, count, colour, side = group
    one, several = pick(NOUNS[kind])
    number = pick(COUNTS.get(count, MANY))
    if colour and detailed:
        what = f"{colour} sail" if kind == "boat" else f"{colour} walls"
        noun = (
            f"{colour} {one if count == 1 else several}"
            if kind == "house"
            else (one if count == 1 else several)
        )
        text = f"{number} {noun}" + (f" with a {what}" if kind == "boat" and count == 1 else "")
    else:
        text = f"{number} {one if count == 1 else several}"
    if side and detailed:
        text += " " + pick(SIDES[side])
    return text


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can contain, sorted."""
    tables = (TIMES, WEATHERS, GROUNDS, DISCS, COUNTS, SIDES)
    texts = [text for table in tables for options in table.values() for text in options]
    texts += [*LAKES, *MOUNTAINS, *NO_MOUNTAINS, *MANY, *STARTS, "and with a , sail walls"]
    texts += [name for pairs in NOUNS.values() for pair in pairs for name in pair]
    texts += ["white red yellow blue"]
    return tuple(sorted({word for text in texts for word in text.split()}))
