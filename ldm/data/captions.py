"""Captions of a scene, in many wordings, all of them true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TIMES = {
    "day": ("by day", "in daylight", "in the afternoon", "at noon", "at midday", "during the day"),
    "dawn": ("at dawn", "at sunrise", "early in the morning", "at daybreak", "in the morning"),
    "sunset": ("at sunset", "at dusk", "in the evening", "at twilight", "late in the evening"),
    "night": ("at night", "by night", "in the dark", "at midnight", "late at night"),
}
WEATHERS = {
    "clear": ("clear sky", "a cloudless sky", "clear weather", "a clear sky", "fine weather"),
    "cloudy": ("white clouds", "a cloudy sky", "some clouds", "puffy clouds", "scattered clouds"),
    "overcast": ("an overcast sky", "a grey sky", "heavy clouds", "dark clouds", "a gray sky"),
    "fog": ("fog", "mist", "foggy weather", "haze", "a misty landscape"),
    "snowfall": ("falling snow", "snowfall", "snowy weather", "snowflakes", "a snowstorm"),
}
GROUNDS = {
    "grass": (
        *("a green meadow", "green grass", "a grassy field", "a summer meadow", "a green field"),
        *("grassland", "a lawn", "a green pasture", "green land in spring"),
    ),
    "autumn": (
        *("an autumn meadow", "golden grass", "an autumn field", "a golden field", "a wheat field"),
        *("an autumn landscape", "a meadow in fall", "dry grass"),
    ),
    "snow": (
        *("snow", "a snowy field", "snow covered ground", "a winter field", "a winter landscape"),
        *("deep snow", "a snowy landscape", "a meadow in winter", "snowy ground"),
    ),
    "sand": (
        *("a sandy beach", "sand", "a sand beach", "a beach", "a desert", "dunes", "sand dunes"),
        *("a sandy shore", "a sandy desert"),
    ),
}
LAKES = (
    *("a lake", "a calm lake", "still water", "a quiet lake", "water", "a pond"),
    *("the sea", "a calm sea", "the ocean", "a river", "a bay"),
)
FAR = {
    "mountains": (
        *("mountains", "a mountain range", "high mountains", "distant mountains", "a mountain"),
        *("tall mountains", "rocky mountains", "mountain peaks", "the alps"),
    ),
    "hills": ("low hills", "rolling hills", "hills", "gentle hills", "a hill", "distant hills"),
}
NOUNS = {
    "pine": (
        *(("pine tree", "pine trees"), ("conifer", "conifers"), ("fir", "firs")),
        *(("pine", "pines"), ("fir tree", "fir trees"), ("spruce", "spruces")),
        ("evergreen", "evergreens"),
    ),
    "tree": (
        *(("tree", "trees"), ("leafy tree", "leafy trees"), ("round tree", "round trees")),
        *(("oak", "oaks"), ("oak tree", "oak trees")),
    ),
    "house": (
        *(("house", "houses"), ("cottage", "cottages"), ("cabin", "cabins")),
        *(("hut", "huts"), ("home", "homes"), ("barn", "barns"), ("farmhouse", "farmhouses")),
    ),
    "boat": (
        *(("sailing boat", "sailing boats"), ("boat", "boats"), ("sailboat", "sailboats")),
        *(("ship", "ships"), ("sailing ship", "sailing ships"), ("yacht", "yachts")),
    ),
}
CROWDS = {
    "pine": ("a forest", "a pine forest", "woods"),
    "tree": ("a grove", "a grove of trees", "woodland"),
    "house": ("a village", "a small village", "a hamlet"),
    "boat": ("a fleet of boats",),
}
CROWD, CROWD_SHARE = 4, 0.3  # from so many of a kind on, a collective noun is used so often
COUNTS = {
    1: ("a", "one", "a single"),
    2: ("two", "a pair of", "a couple of"),
    3: ("three",),
    4: ("four", "several", "many"),
}
MANY = ("several", "many", "a group of")
SIDES = {
    "left": ("on the left", "at the left", "to the left"),
    "middle": ("in the middle", "in the centre", "in the center"),
    "right": ("on the right", "at the right", "to the right"),
}
# Chances of being named. Usual values are often left out, so that a caption without them means
# them; unusual values are nearly always named.
NAMED = {
    **dict.fromkeys(("day", "clear", "grass", "hills"), 0.55),
    **dict.fromkeys(("overcast", "snow", "mountains"), 0.95),
    **dict.fromkeys(("night", "fog", "snowfall"), 1.0),
}
PLACED = 0.5  # chance that a group gets a place in the scenery instead of a side
BY_WATER = ("by", "near", "beside", "next to")
ON_GROUND = {"grass": ("in",), "autumn": ("in",), "snow": ("in",), "sand": ("on",)}
BEFORE = {"mountains": ("in front of", "below", "near"), "hills": ("in front of",)}
UNDER = {"sun": ("under", "below"), "moon": ("under", "below")}
DISCS = {
    "sun": ("the sun", "a bright sun", "the sun in the sky", "sunshine", "a sun"),
    "moon": ("the moon", "a full moon", "moonlight", "a moon"),
}
LAND = {  # class of a label map -> what its places are called
    "mountain": FAR["mountains"],
    "hill": FAR["hills"],
    "grass": GROUNDS["grass"],
    "autumn field": GROUNDS["autumn"],
    "snow": GROUNDS["snow"],
    "sand": GROUNDS["sand"],
    "water": LAKES,
    "cloud": WEATHERS["cloudy"],
}
TOLD_OF_PART = 0.25  # chance that land, time or weather is named beside the objects of a part
STARTS = (
    *("", "", "", "a landscape with ", "a picture of ", "a view of ", "an illustration of "),
    *("a painting of ", "a drawing of ", "a photo of "),
)
JOINS = (", ", ", ", " with ", " and ")
Group = tuple[str, int, str | None, str | None]  # kind, count, colour or None, side or None
Scenery = dict[str, tuple[tuple[str, ...], str]]  # kind -> (prepositions, name)


def describe(about: Mapping[str, Any], rng: np.random.Generator, share: float = 0.8) -> str:
    """Write one sentence about a scene.

    Args:
        about: What is visible: `time, weather, ground`, of ATTRIBUTES or None; `lake`, a bool;
            `far`, "mountains", "hills" or None; `disc`, "sun", "moon" or None; `groups`, a list
            of `Group`.
        rng: Chooses what is named and how.
        share: Chance of naming a property that is not in NAMED; 1 names all properties. Objects are
            always named, so that a model learns not to draw objects that are not asked for.
    """

    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    def named(value: str | None = None) -> bool:
        return share >= 1 or rng.random() < NAMED.get(value, share)

    def told(table: Mapping[str, Sequence[str]], value: str | None) -> str:
        return pick(table[value]) if value and named(value) else ""

    scenery = _scenery(about, pick, told)
    parts = []
    for group in about["groups"]:
        text, side = _group(group, pick, named(), rng.random() < CROWD_SHARE)
        place = _place(group[0], scenery, pick) if rng.random() < PLACED else None
        parts.append(" ".join(filter(None, (text, place or side))))
    parts += [text for _, text in scenery.values()]
    weather = list(filter(None, [told(WEATHERS, about["weather"])]))
    rng.shuffle(parts)
    time = told(TIMES, about["time"]) or ("" if parts + weather else pick(TIMES[about["time"]]))
    place = rng.integers(3)
    if place == 0 and time:
        sentence = time + ", " + _join(parts + weather, pick)
    elif place == 1:
        sentence = " ".join(filter(None, [_join(parts, pick), time]))
        sentence = ", ".join(filter(None, [sentence, *weather]))
    else:
        sentence = " ".join(filter(None, [_join(parts + weather, pick), time]))
    start = "" if sentence.startswith(time or "\0") else pick(STARTS)
    return start + sentence


def describe_part(
    things: Mapping[str, int],
    land: str,
    about: Mapping[str, Any],
    rng: np.random.Generator,
) -> str:
    """Say what a part of a scene shows, as one would who asks for it to be drawn there.

    Args:
        things: Kind of object, sun or moon -> how many of them are in the part.
        land: The class of a label map that most of the part shows apart from them.
        about: The scene's `time` and `weather`, of ATTRIBUTES.
        rng: Chooses what is named and how.
    """

    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    def chance() -> bool:
        return rng.random() < TOLD_OF_PART

    parts = [
        pick(DISCS[kind])
        if kind in DISCS
        else _group((kind, count, None, None), pick, False, rng.random() < CROWD_SHARE)[0]
        for kind, count in things.items()
    ]
    rng.shuffle(parts)
    if not parts or chance():
        parts.append(pick(LAND[land] if land in LAND else WEATHERS[about["weather"]]))
    parts += [pick(TIMES[about["time"]])] if chance() else []
    parts += [pick(WEATHERS[about["weather"]])] if chance() else []
    return _join(parts, pick)


def _scenery(about: Mapping[str, Any], pick: Any, told: Any) -> Scenery:
    """Choose the scenery that is named beside the objects."""
    found: Scenery = {}
    if about["lake"]:
        found["lake"] = BY_WATER, pick(LAKES)
    tables = {"ground": (ON_GROUND, GROUNDS), "far": (BEFORE, FAR), "disc": (UNDER, DISCS)}
    for name, (words, texts) in tables.items():
        if text := told(texts, about[name]):
            found[name] = words[about[name]], text
    return found


def _place(kind: str, scenery: Scenery, pick: Any) -> str | None:
    """Choose a place like "by a lake" for objects of a kind, and remove it from `scenery`."""
    if kind == "boat":
        return f"on {scenery.pop('lake')[1]}" if "lake" in scenery else None
    if not scenery:
        return None
    words, text = scenery.pop(pick(sorted(scenery)))
    return f"{pick(words)} {text}"


def _join(parts: list[str], pick: Any) -> str:
    text = parts[0] if parts else ""
    for i, part in enumerate(parts[1:], start=2):
        text += (pick(JOINS) if i == len(parts) else ", ") + part
    return text


def _group(group: Group, pick: Any, detailed: bool, crowded: bool) -> tuple[str, str | None]:
    """Name a group of objects, and its side or None."""
    kind, count, colour, side = group
    noun = pick(NOUNS[kind])[count > 1]
    if kind == "house" and colour and detailed:
        noun = f"{colour} {noun}"
    number = pick(COUNTS.get(count, MANY))
    if number == "a" and noun[0] in "aeiou":
        number = "an"
    text = pick(CROWDS[kind]) if crowded and count >= CROWD else f"{number} {noun}"
    if kind == "boat" and count == 1 and colour and detailed:
        text += f" with a {colour} sail"
    return text, pick(SIDES[side]) if side and detailed else None


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can contain, sorted."""
    tables = (TIMES, WEATHERS, GROUNDS, FAR, DISCS, COUNTS, SIDES, BEFORE, ON_GROUND, UNDER)
    texts = [text for table in tables for options in table.values() for text in options]
    texts += [*LAKES, *MANY, *STARTS, "an and with a , sail walls"]
    texts += [*BY_WATER, "on"]
    texts += [text for options in CROWDS.values() for text in options]
    texts += [name for pairs in NOUNS.values() for pair in pairs for name in pair]
    texts += ["white red yellow blue"]
    return tuple(sorted({word for text in texts for word in text.split()}))
