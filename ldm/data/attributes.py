"""A scene's attributes as numbers: a value per exclusive attribute, and 0 or 1 per object kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ldm.data.scenes import ATTRIBUTES, OBJECTS

NAMES = (*ATTRIBUTES, *OBJECTS)
ANSWERS = sum(len(values) for values in ATTRIBUTES.values()) + len(OBJECTS)
"""Number of logits of an attribute classifier: all values of exclusive attributes, then objects."""


def slices() -> dict[str, slice]:
    """Return attribute or object -> slice of its logits; an object has one."""
    widths = [*(len(values) for values in ATTRIBUTES.values()), *(1 for _ in OBJECTS)]
    ends = np.cumsum(widths)
    return {name: slice(end - w, end) for name, end, w in zip(NAMES, ends, widths, strict=True)}


def encode(attributes: Mapping[str, Any]) -> np.ndarray:
    """Encode a value index per exclusive attribute, then 0 or 1 per object: (len(NAMES),) int64."""
    values = [ATTRIBUTES[name].index(attributes[name]) for name in ATTRIBUTES]
    present = [int(kind in attributes["objects"]) for kind in OBJECTS]
    return np.array(values + present, np.int64)
