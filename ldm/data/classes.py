"""Classes of whole scenes: pairs of ground and time of day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ldm.data.captions import TIMES
from ldm.data.scenes import ATTRIBUTES

PAIRS = tuple((ground, time) for ground in ATTRIBUTES["ground"] for time in ATTRIBUTES["time"])
NAMES = tuple(f"{ground} {TIMES[time][0]}" for ground, time in PAIRS)
"""Class names in the order of their ids: "grass by day", "grass at dawn", ..."""
NO_CLASS = len(NAMES)
"""The id that stands for "no class given"."""


def class_of(attributes: Mapping[str, Any]) -> int:
    """Return the class id of a scene with these attributes."""
    return PAIRS.index((attributes["ground"], attributes["time"]))
