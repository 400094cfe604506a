"""An SVG figure of peak memory over the size of a decoded picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 720, 440  # px
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 40, 60
SIDES = (512, 1024, 2048, 4096)  # px, the ticks of the horizontal axis
MEMORY = (64, 8192)  # MiB, the ends of the vertical axis
COLOURS = ("#0f766e", "#b45309", "#1d4ed8", "#9f1239", "#4d7c0f", "#6b21a8")
Points = Sequence[tuple[int, float]]  # side in px, MiB


def memory_figure(rows: Iterable[Mapping[str, Any]]) -> str:
    """Draw a line for each preset, dtype and way to decode; both axes are logarithmic.

    Args:
        rows: Rows with preset, what, side, dtype, way and peak; only decodes are drawn, except
            those of the way "plain".
    """
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["what"] == "decode" and row["way"] != "plain":
            name = f"{row['preset']}, {row['dtype']}, {row['way']}"
            lines.setdefault(name, []).append((row["side"], row["peak"]))
    parts = [*_frame(), *_curves(lines)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="#222">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _x(side: float) -> float:
    share = math.log(side / SIDES[0]) / math.log(SIDES[-1] / SIDES[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(mib: float) -> float:
    low, high = MEMORY
    share = math.log(min(max(mib, low), high) / low) / math.log(high / low)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _rule(x: float, y: float, to_x: float, to_y: float) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="#ddd"/>'


def _frame() -> Iterator[str]:
    yield _text(LEFT, TOP - 18, "peak resident memory above the loaded model", "start")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "decoded picture, px")
    for side in SIDES:
        yield _rule(_x(side), TOP, _x(side), HEIGHT - BOTTOM)
        yield _text(_x(side), HEIGHT - BOTTOM + 20, f"{side} x {side}")
    mib = MEMORY[0]
    while mib <= MEMORY[1]:
        yield _rule(LEFT, _y(mib), WIDTH - RIGHT, _y(mib))
        label = f"{mib} MiB" if mib < 1024 else f"{mib // 1024} GiB"
        yield _text(LEFT - 8, _y(mib) + 4, label, "end")
        mib *= 2


def _curves(lines: Mapping[str, Points]) -> Iterator[str]:
    places: list[float] = []  # y of the names, from the top down, so that they do not overlap
    ordered = sorted(lines.items(), key=lambda item: -max(item[1])[1])
    for number, (name, points) in enumerate(ordered):
        colour = COLOURS[number % len(COLOURS)]
        at = [(_x(side), _y(mib)) for side, mib in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at)
        place = max([TOP, *(p + 16 for p in places[-1:])])
        places.append(place)
        yield _rule(WIDTH - RIGHT + 8, place - 4, WIDTH - RIGHT + 20, place - 4).replace(
            "#ddd", colour
        )
        yield _text(WIDTH - RIGHT + 24, place, name, "start", colour)
