"""Seeds, and variations: further seeds towards whose noise a picture's noise is interpolated.

"7:0.3, 8:0.2" means three tenths of the way from the seed's noise to that of seed 7, then two
tenths of the way from there to that of seed 8. This module needs no torch.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ldm.errors import RequestError

MAX_SEED = 2**32 - 1
MOST = 16  # most variations of a request
NEW = "new"  # stands for a seed that is still to be drawn
Turns = Sequence[tuple[int | None, float]]  # seed (None: a new one) and share of the way to it


def new_seed() -> int:
    """Draw a new seed."""
    return secrets.randbelow(MAX_SEED + 1)


def read_variations(text: str) -> Turns:
    """Parse variations, such as "7:0.3, new:0.2".

    Raises:
        RequestError: If a part is no variation, or there are more than MOST.
    """
    turns = [_turn(part.strip()) for part in text.split(",") if part.strip()]
    if len(turns) > MOST:
        raise RequestError(f"variations must be at most {MOST}, got {len(turns)}.")
    return turns


def write_variations(turns: Turns) -> str:
    """The inverse of `read_variations`."""
    return ", ".join(f"{NEW if seed is None else seed}:{share:.12g}" for seed, share in turns)


def with_seeds_drawn(text: str) -> str:
    """Replace each "new" in variations by a seed that is drawn now.

    Raises:
        RequestError: If the text holds no valid variations.
    """
    turns = read_variations(text)
    return write_variations(
        [(new_seed() if seed is None else seed, share) for seed, share in turns]
    )


def split_by_picture(request: Any) -> list[Any]:
    """Split a request whose seeds are all known into one request for each picture.

    Picture i has seed + i; with variations, all have the same seed, and i is added to the last
    variation's seed.
    """
    turns = read_variations(request.variations)
    if not turns:
        return [
            replace(request, seed=(request.seed + i) % (MAX_SEED + 1), count=1)
            for i in range(request.count)
        ]
    *before, (last, share) = turns
    each = ([*before, ((last + i) % (MAX_SEED + 1), share)] for i in range(request.count))
    return [replace(request, variations=write_variations(part), count=1) for part in each]


def _turn(text: str) -> tuple[int | None, float]:
    name, _, share = (part.strip() for part in text.partition(":"))
    is_seed = re.fullmatch(r"[0-9]{1,12}", name) and int(name) <= MAX_SEED
    is_share = re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]{1,2})?", share) and float(share) <= 1
    if (name == NEW or is_seed) and is_share:
        return None if name == NEW else int(name), float(share)
    raise RequestError(
        "variations must be seeds, each with its share of the way from 0 to 1, like 7:0.3 or "
        f"{NEW}:0.3, got {text!r:.40}."
    )
