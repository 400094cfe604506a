"""Planning: the one place that decides whether a canvas is run whole, in bands or in windows.

All functions are pure: a `Plan` follows from the canvas, the facts of the model, the memory and
what was asked for.
"""

from __future__ import annotations

import math
from bisect import bisect
from dataclasses import dataclass, replace
from pathlib import Path

from ldm.canvas.facts import Facts
from ldm.canvas.windows import EvenWindows
from ldm.errors import MemoryBudgetError, RequestError

COVERS = ("auto", "whole", "bands", "windows")
CELLS_PER_BATCH = 8 * 32 * 32  # default number of latent cells that are denoised at once
BANDS_BUDGET = 512 * 2**20  # bytes; a larger budget does not make bands faster
MIB = 2**20
BEHIND = 64 * MIB  # bytes on the disk of rows that are freed only after the next strip
SMALLEST_PX = 64  # the smallest side that an error message proposes instead
PIXEL_BYTES = 16  # bytes per px of a result: as floats, as uint8 and in between


@dataclass(frozen=True)
class Resources:
    """The memory and disk that a run may take.

    Args:
        memory: Bytes for activations and pictures; the weights of the model are not counted.
        disk: Bytes free in `folder`.
        folder: Folder for maps that do not fit; None: the system's folder for temporary files.
    """

    memory: int
    disk: int = 2**62
    folder: Path | None = None


@dataclass(frozen=True)
class Canvas:
    """The canvas of one request, in latent cells.

    Args:
        rows: Height.
        columns: Width.
        count: Number of pictures.
        passes: Evaluations of the denoiser per picture and step: 2 with guidance.
        encodes: Whether a picture of this size is encoded first.
        inverts: Evaluations of the denoiser, per step and batch, that find the noise of the picture
            to start from before the steps; 0: it is not looked for.
        windows: Windows of the model's training size; None: the size is not known.
        share: Share of the request's steps that is taken on this canvas.
        at_once: Latent cells of a batch if memory suffices; 0: the default of the CPU.
    """

    rows: int
    columns: int
    count: int = 1
    passes: int = 1
    encodes: bool = False
    inverts: int = 0
    windows: EvenWindows | None = None
    share: float = 1.0
    at_once: int = 0

    @property
    def cells(self) -> int:
        """Latent cells of one picture."""
        return self.rows * self.columns

    @property
    def together(self) -> int:
        """Pictures of one batch if memory suffices."""
        return min(self.count, max(1, (self.at_once or CELLS_PER_BATCH) // self.cells))


@dataclass(frozen=True)
class Plan:
    """How a canvas is covered; "bands" and "whole" give the same picture.

    Args:
        cover: "whole", or "bands" if any network runs in them, or "windows".
        batch: Pictures that are denoised together.
        unet, decoder, encoder: Whether each runs in bands.
        budget: Bytes for a network in bands.
        memory: Expected peak bytes, without the weights of the model.
        why: The reason, as part of a sentence for the user.
        windows: The windows that the denoiser sees one at a time; None: the whole canvas.
    """

    cover: str
    batch: int
    unet: bool = False
    decoder: bool = False
    encoder: bool = False
    budget: int = BANDS_BUDGET
    memory: int = 0
    why: str = ""
    windows: EvenWindows | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether any network runs in bands."""
        return self.unet or self.decoder or self.encoder


def plan(canvas: Canvas, facts: Facts, resources: Resources, asked: str = "auto") -> Plan:
    """Decide how to cover a canvas.

    Networks run whole if that fits, since it is the simplest, else in bands. Windows are used only
    when asked for, since their picture differs from that of the whole canvas.

    Raises:
        MemoryBudgetError: If it cannot be made with these resources; the message says what could.
        RequestError: If `asked` is not in COVERS, or windows are asked for and their size is not
            known.
    """
    if asked not in COVERS:
        raise RequestError(f"cover must be one of {', '.join(COVERS)}, got {asked!r:.40}.")
    windows = windows_of(canvas) if asked == "windows" else None
    made = _covered(replace(canvas, windows=windows), facts, resources, asked)
    if windows is None:
        return made
    number = len(windows.corners(canvas.rows, canvas.columns))
    rows, columns = (facts.factor * side for side in windows.size)
    why = f"in {number} windows of {columns} x {rows} px that overlap; {made.why}"
    return replace(made, cover="windows", windows=windows, why=why)


def windows_of(canvas: Canvas) -> EvenWindows | None:
    """Return the windows of a canvas; None if one window holds all of it.

    Raises:
        RequestError: If the model's training size, and so the size of a window, is not known.
    """
    if canvas.windows is None:
        raise RequestError(
            "cover must be auto, whole or bands for this model, got 'windows'; its preset does not "
            "say how large its training pictures were."
        )
    windows = canvas.windows.on(canvas.rows, canvas.columns)
    return None if windows.size == (canvas.rows, canvas.columns) else windows


def _covered(
    canvas: Canvas, facts: Facts, resources: Resources, asked: str, *, proposes: bool = True
) -> Plan:
    """Plan a canvas whose denoiser sees `canvas.windows` one at a time; None: all of it.

    `proposes`: whether a refusal names a size that works.
    """
    pixels = PIXEL_BYTES * canvas.count * canvas.cells * facts.factor**2
    free = resources.memory - pixels
    batch = canvas.together
    while batch > 1 and _most(_whole(canvas, facts, batch)) > free:
        batch -= 1
    need = _whole(canvas, facts, batch)
    in_bands = {name: asked == "bands" or bytes_ > free for name, bytes_ in need.items()}
    if not any(in_bands.values()):
        memory = _most(need) + pixels
        return Plan("whole", batch, memory=memory, why=f"whole, it takes about {_mib(memory)}")
    if asked == "whole":
        raise MemoryBudgetError(
            f"{_size(canvas, facts)} whole needs about {_mib(_most(need) + pixels)} and there are "
            f"{_mib(resources.memory)}; in bands it is the same picture in less."
        )
    return _bands(canvas, facts, resources, in_bands, need, pixels, asked, proposes)


def _whole(canvas: Canvas, facts: Facts, batch: int) -> dict[str, int]:
    """Return the bytes that each network takes when run whole."""
    need = {
        "unet": facts.unet.at(batch * canvas.passes * _at_once(canvas)),
        "decoder": facts.decoder.at(batch * canvas.cells),
    }
    return need | ({"encoder": facts.encoder.at(canvas.cells)} if canvas.encodes else {})


def _at_once(canvas: Canvas) -> int:
    """Return the cells of one picture that the denoiser sees at a time."""
    return math.prod(canvas.windows.size) if canvas.windows else canvas.cells


def _most(need: dict[str, int]) -> int:
    return max(need.values())


def _bands(  # noqa: PLR0913  (what `plan` found so far)
    canvas: Canvas,
    facts: Facts,
    resources: Resources,
    in_bands: dict[str, bool],
    need: dict[str, int],
    pixels: int,
    asked: str,
    proposes: bool,
) -> Plan:
    """Plan one picture at a time, with the networks of `in_bands` in bands, the others whole."""
    wide = min(canvas.windows.size[1], canvas.columns) if canvas.windows else canvas.columns
    ways = {
        "unet": (facts.unet_bands, canvas.passes, wide, _at_once(canvas)),
        "decoder": (facts.decoder_bands, 1, canvas.columns, canvas.cells),
        "encoder": (facts.encoder_bands, 1, canvas.columns, canvas.cells),
    }
    used = [ways[name] for name in in_bands if in_bands[name]]

    least = max(times * bands.least(columns) for bands, times, columns, _ in used)
    free = resources.memory - pixels
    if least > free:
        smaller = _largest_square(canvas, facts, resources, asked) if proposes else ""
        raise MemoryBudgetError(
            f"{_size(canvas, facts)} needs at least {_mib(least + pixels)}, even in bands, and "
            f"there are {_mib(resources.memory)}; take more memory{smaller}."
        )
    spilled = max(round(times * bands.spilled * cells) for bands, times, _, cells in used)
    spilled += BEHIND if spilled else 0
    if spilled > resources.disk:
        raise MemoryBudgetError(
            f"{_size(canvas, facts)} needs up to {_mib(spilled)} on the disk while it is made and "
            f"{_mib(resources.disk)} are free; make room or take a smaller size."
        )
    budget = min(free, max(BANDS_BUDGET, least))
    rest = [need[name] for name in need if not in_bands[name]]
    memory = max([budget, *rest]) + pixels
    why = (
        f"in bands, the same picture within {_mib(memory)}; whole it would take about "
        f"{_mib(_most(need) + pixels)}"
    )
    return Plan("bands", 1, **in_bands, budget=budget, memory=memory, why=why)


def _largest_square(canvas: Canvas, facts: Facts, resources: Resources, asked: str) -> str:
    """Return " or SIDE x SIDE px": the largest square that can be made instead; "" if too small."""

    def fails(side: int) -> bool:
        cells = side // facts.factor
        square = replace(canvas, rows=cells, columns=cells)
        try:
            _covered(square, facts, resources, asked, proposes=False)
        except MemoryBudgetError:
            return True
        return False

    longest = math.isqrt(canvas.cells) * facts.factor
    sides = range(facts.multiple, longest + 1, facts.multiple)
    side = facts.multiple * bisect(sides, False, key=fails)
    return f" or {side} x {side} px" if side >= SMALLEST_PX else ""


def _size(canvas: Canvas, facts: Facts) -> str:
    count = f"{canvas.count} pictures" if canvas.count > 1 else "a picture"
    return f"{count} of {canvas.columns * facts.factor} x {canvas.rows * facts.factor} px"


def _mib(bytes_: int) -> str:
    if bytes_ >= 2**30:
        return f"{bytes_ / 2**30:.1f} GiB"
    if bytes_ >= MIB:
        return f"{math.ceil(bytes_ / MIB)} MiB"
    return f"{bytes_ / 2**10:.4g} KiB" if bytes_ >= 2**10 else f"{bytes_} bytes"
