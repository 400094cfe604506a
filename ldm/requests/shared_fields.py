"""Controls that several requests share, and the values that they allow.

This module needs no torch.
"""

from __future__ import annotations

from typing import Any

from ldm.images import as_picture
from ldm.requests.canvas import MAX_SIDE_PX
from ldm.requests.fields import control
from ldm.requests.seeds import MAX_SEED, read_variations

MAX_PROMPT_CHARACTERS = 2000
CALLED = {
    "sampler": {
        "ddim": "DDIM",
        "dpmpp_2m": "DPM-Solver++",
        "unipc": "UniPC",
        "plms": "PLMS",
        "ddpm": "DDPM",
    },
    "cover": {
        "auto": "Automatic",
        "whole": "Whole",
        "bands": "In bands",
        "windows": "In windows",
    },
    "seamless": {
        "no": "No edges",
        "across": "Left and right",
        "down": "Top and bottom",
        "both": "All edges",
    },
}
"""Field -> its values, and what people call each."""
SAMPLER_NAMES, COVERS, SEAMLESS = map(tuple, CALLED.values())


def called(name: str, value: Any) -> str:
    """Return what people call a field's value; most values stand for themselves."""
    names = CALLED.get(name, {})
    return names.get(value, value) if isinstance(value, str) else str(value)


def value_called(name: str, text: str) -> str:
    """Return the value that people call so, in small or capital letters; else the text."""
    names = {words.casefold(): value for value, words in CALLED.get(name, {}).items()}
    return names.get(text.casefold(), text)


def width() -> Any:
    """Width of the picture."""
    return control(None, label="Width", unit="px", minimum=16, maximum=MAX_SIDE_PX, step=16)


def height() -> Any:
    """Height of the picture."""
    return control(None, label="Height", unit="px", minimum=16, maximum=MAX_SIDE_PX, step=16)


def preset(name: str) -> Any:
    """Name of the preset that makes the picture."""
    return control(name, label="Model", help="The preset that makes it")


def negative_prompt(*, advanced: bool = False) -> Any:
    """What not to draw."""
    return control(
        "",
        label="Negative prompt",
        help="What the picture should not show; needs a guidance scale above 1",
        max_length=MAX_PROMPT_CHARACTERS,
        advanced=advanced,
    )


def steps() -> Any:
    """Number of steps that the sampler takes."""
    return control(
        None, label="Steps", help="More steps, more time", minimum=1, maximum=1000, step=1
    )


def sampler() -> Any:
    """Name of the sampler."""
    return control(
        None,
        label="Sampler",
        help="How noise becomes a picture: DDIM, DPM-Solver++ and UniPC with few steps, too; PLMS "
        "and DDPM need 25 or more",
        choices=SAMPLER_NAMES,
    )


def guidance_scale(what: str) -> Any:
    """Guidance scale; `what` names the condition with its verb for the help: "the boxes are"."""
    return control(
        None,
        label="Guidance",
        help=f"How strictly {what} followed: 1 as the model does by itself, above 1 more, 0 not",
        minimum=0.0,
        maximum=30.0,
        step=0.1,
    )


def eta(default: float | None) -> Any:
    """Share of fresh noise per step; a default of None means the preset's own."""
    return control(
        default,
        label="Eta",
        help="Fresh noise per step, for DDIM: 0 none, 1 as much as DDPM",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )


def temperature() -> Any:
    """Factor of all noise that is drawn."""
    return control(
        None,
        label="Temperature",
        help="How strong the noise is that pictures are made of: below 1 they vary less and keep "
        "closer to what is given; the model brings what is best for it",
        minimum=0.0,
        maximum=1.5,
        step=0.05,
        advanced=True,
    )


def seed() -> Any:
    """Seed of the first picture."""
    return control(
        None,
        label="Seed",
        help="The same seed makes the same picture; picture i of a batch uses seed + i",
        minimum=0,
        maximum=MAX_SEED,
        step=1,
    )


def variations() -> Any:
    """Seeds towards whose noise the picture's noise is interpolated, see `ldm.requests.seeds`."""
    return control(
        "",
        label="Variations",
        help="Turns the noise towards that of other seeds: 7:0.3 goes three tenths of the way to "
        "seed 7, new:0.3 to a new one; several are parted by commas",
        max_length=500,
        reads=read_variations,
        advanced=True,
    )


def count() -> Any:
    """Number of pictures."""
    return control(1, label="Pictures", minimum=1, maximum=16, step=1)


def cover() -> Any:
    """How a large canvas is covered."""
    return control(
        "auto",
        label="How a large picture is made",
        help="Whole or in bands is the same picture, auto takes what fits into the memory; windows "
        "of the trained size, which overlap, make another one",
        choices=COVERS,
        advanced=True,
    )


def seamless(help_text: str = "Opposite edges meet, as a texture or a panorama needs it") -> Any:
    """Which opposite edges of the canvas meet."""
    return control(
        "no",
        label="Seamless",
        help=help_text,
        choices=SEAMLESS,
        advanced=True,
    )


def coarse() -> Any:
    """Share of the steps that regenerate an enlarged small picture at full size."""
    return control(
        None,
        label="Small first",
        help="Share of the steps that make a large picture out of one of the trained size, against "
        "repeated things: 0 makes it large at once; the model brings what is best for it",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )


def coarse_hold() -> Any:
    """How strictly a large picture keeps to the small one."""
    return control(
        0.0,
        label="Hold",
        help="How strictly it keeps to the large shapes of the small picture, or of the picture to "
        "start from",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )


def image() -> Any:
    """A picture to start from instead of noise alone (SDEdit, arXiv:2108.01073)."""
    return control(
        None,
        label="Picture to start from",
        help="It is made anew, as much of it as the strength says; a picture of another shape is "
        "cut at its sides",
        converts=as_picture,
    )


def inversion() -> Any:
    """How much of the starting noise is the picture's own (DDIM inversion)."""
    return control(
        0.0,
        label="Keep its shapes",
        help="How much of the noise is the picture's own (DDIM inversion): with this and the "
        "strength at 1 things stay where they are while colours, light and season change; takes "
        "two to three times as long",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )


def strength() -> Any:
    """How much of the picture to start from is made anew."""
    return _strength(
        0.8,
        "How much of the picture to start from is made anew: 0.4 changes small things, 0.8 "
        "follows other words, 1 keeps nothing but shapes that are to be kept",
    )


def strength_in_hole() -> Any:
    """How much of what a hole covers is made anew."""
    return _strength(
        1.0,
        "How much of what is under the mask is made anew: 1 keeps nothing of it, 0.5 its colours, "
        "0.3 changes small things",
    )


def _strength(default: float, help_text: str) -> Any:
    return control(
        default,
        label="Strength",
        help=help_text,
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )


def pixels(label: str, help_text: str, maximum: int, minimum: int = 0, default: int = 0) -> Any:
    """A length in px."""
    return control(
        default, label=label, help=help_text, unit="px", minimum=minimum, maximum=maximum, step=1
    )
