"""Colours of the procedural world: colours by day, and the light of each time of day."""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]  # RGB, 0..255

# time of day -> colours of the sky at the top and at the horizon
SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((58, 132, 208), (190, 224, 242)),
    "dawn": ((112, 134, 196), (250, 206, 190)),
    "sunset": ((88, 62, 130), (250, 142, 82)),
    "night": ((10, 16, 44), (44, 60, 108)),
}
# time of day -> factors of the light on objects
LIGHTS: dict[str, tuple[float, float, float]] = {
    "day": (1.0, 1.0, 1.0),
    "dawn": (0.92, 0.82, 0.86),
    "sunset": (0.92, 0.66, 0.54),
    "night": (0.24, 0.31, 0.50),
}
GREY_SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((138, 152, 168), (202, 210, 216)),
    "dawn": ((138, 132, 156), (214, 196, 196)),
    "sunset": ((104, 84, 110), (196, 138, 116)),
    "night": ((22, 28, 46), (54, 64, 88)),
}
SUN: dict[str, Colour] = {
    "day": (255, 246, 196),
    "dawn": (255, 232, 190),
    "sunset": (255, 206, 104),
    "night": (240, 242, 230),
}
CLOUD: dict[str, Colour] = {
    "day": (250, 252, 255),
    "dawn": (255, 226, 220),
    "sunset": (252, 172, 134),
    "night": (62, 76, 120),
}

ROCK: Colour = (120, 126, 146)
SNOWCAP: Colour = (244, 248, 255)
GROUNDS: dict[str, tuple[Colour, Colour]] = {  # far, near
    "grass": ((150, 190, 92), (84, 150, 66)),
    "autumn": ((222, 176, 88), (196, 128, 52)),
    "snow": ((236, 242, 250), (214, 226, 242)),
    "sand": ((240, 218, 168), (224, 190, 126)),
}
HILLS: dict[str, Colour] = {
    "grass": (112, 164, 96),
    "autumn": (206, 140, 72),
    "snow": (214, 226, 242),
    "sand": (214, 182, 130),
}
LEAVES: dict[str, tuple[Colour, ...]] = {
    "grass": ((72, 140, 62), (104, 162, 64)),
    "autumn": ((214, 112, 40), (226, 158, 52), (188, 72, 44)),
    "snow": ((150, 172, 170), (178, 192, 190)),
    "sand": ((92, 152, 78), (122, 166, 80)),
}
PINE: Colour = (38, 98, 82)
TRUNK: Colour = (104, 72, 56)
WALLS: dict[str, Colour] = {
    "white": (242, 238, 228),
    "red": (196, 66, 56),
    "yellow": (238, 196, 92),
    "blue": (88, 132, 184),
}
ROOFS: dict[str, Colour] = {"dark": (72, 68, 84), "brown": (138, 82, 60)}
SAILS: dict[str, Colour] = {
    "white": (250, 248, 240),
    "red": (210, 72, 60),
    "yellow": (244, 200, 88),
}
HULL: Colour = (108, 66, 50)
WINDOW: Colour = (96, 128, 158)
LAMP: Colour = (255, 222, 128)
WATER: Colour = (74, 136, 178)


def lit(colour: Colour, time: str, grey: float = 0.0) -> np.ndarray:
    """Return a day colour in the light of `time`, (3,) float32; `grey`, 0..1, desaturates it."""
    value = np.float32(colour) * np.float32(LIGHTS[time])
    return value + grey * (value.mean() * np.float32((0.97, 1.0, 1.05)) - value)
