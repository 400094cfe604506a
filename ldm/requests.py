"""What a person may ask for: a frozen dataclass per task.

None in a field means "the preset's own default" (for `seed`: drawn anew); `ldm.studio` fills it in
before the run, so the request that is stored with a result holds every number that made it. What a
field is called and may hold stands in its `control(...)`, see `ldm.fields`. This module needs no
torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ldm.errors import RequestError
from ldm.fields import Box, check, control
from ldm.fields import Control as Control  # what a caller needs beside the requests
from ldm.fields import controls as controls
from ldm.images import EncodedImage

MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARACTERS = 2000
MAX_SIDE_PX = 4096
SAMPLER_NAMES = ("ddim", "dpmpp_2m", "plms", "ddpm")
COVERS = ("auto", "whole", "bands", "windows")
SEAMLESS = ("no", "across", "down", "both")


def _width() -> Any:
    return control(None, label="Width", unit="px", minimum=16, maximum=MAX_SIDE_PX, step=16)


def _height() -> Any:
    return control(None, label="Height", unit="px", minimum=16, maximum=MAX_SIDE_PX, step=16)


def _preset(name: str) -> Any:
    return control(name, label="Model", help="The preset that makes it")


def _steps() -> Any:
    return control(
        None, label="Steps", help="More steps, more time", minimum=1, maximum=1000, step=1
    )


def _sampler() -> Any:
    return control(None, label="Sampler", help="How noise becomes a picture", choices=SAMPLER_NAMES)


def _guidance_scale(what: str) -> Any:
    return control(
        None,
        label="Guidance",
        help=f"How strictly {what} followed; 1 switches guidance off",
        minimum=1.0,
        maximum=30.0,
        step=0.1,
    )


def _eta(default: float | None) -> Any:
    return control(
        default,
        label="Eta",
        help="Fresh noise per step, for DDIM: 0 none, 1 as much as DDPM",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )


def _temperature() -> Any:
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


def _seed() -> Any:
    return control(
        None,
        label="Seed",
        help="The same seed makes the same picture; picture i of a batch uses seed + i",
        minimum=0,
        maximum=MAX_SEED,
        step=1,
    )


def _count() -> Any:
    return control(1, label="Pictures", minimum=1, maximum=16, step=1)


def _cover() -> Any:
    return control(
        "auto",
        label="Canvas",
        help="Whole or in bands is the same picture, auto takes what fits; overlapping windows of "
        "the trained size make another one",
        choices=COVERS,
        advanced=True,
    )


def _seamless() -> Any:
    return control(
        "no",
        label="Seamless",
        help="Opposite edges meet, as a texture or a panorama needs it",
        choices=SEAMLESS,
        advanced=True,
    )


def _coarse() -> Any:
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


def _coarse_hold() -> Any:
    return control(
        0.0,
        label="Hold",
        help="How strictly it keeps to the large shapes of the small picture",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )


def _pixels(label: str, help_text: str, maximum: int, minimum: int = 0, default: int = 0) -> Any:
    return control(
        default, label=label, help=help_text, unit="px", minimum=minimum, maximum=maximum, step=1
    )


@dataclass(frozen=True, kw_only=True)
class TextToImage:
    """Make pictures from a sentence (LDM Sec. 4.3.1).

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "text-to-image"

    prompt: str = control(
        label="Prompt", help="What the picture shows", max_length=MAX_PROMPT_CHARACTERS
    )
    negative_prompt: str = control(
        "",
        label="Negative prompt",
        help="What the picture should not show; needs a guidance scale above 1",
        max_length=MAX_PROMPT_CHARACTERS,
    )
    preset: str = _preset("demo-text-to-image")
    width: int | None = _width()
    height: int | None = _height()
    steps: int | None = _steps()
    sampler: str | None = _sampler()
    guidance_scale: float | None = _guidance_scale("the prompt is")
    eta: float = _eta(0.0)
    temperature: float | None = _temperature()
    seed: int | None = _seed()
    count: int = _count()
    cover: str = _cover()
    seamless: str = _seamless()
    coarse: float | None = _coarse()
    coarse_hold: float = _coarse_hold()

    def __post_init__(self) -> None:
        check(self)
        if not self.prompt.strip():
            raise RequestError("prompt must say what to draw, got an empty one.")


@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Fill the masked part of a picture, or grow it beyond its edges (LDM Sec. 4.5).

    Raises:
        RequestError: If a field is of the wrong type or out of range, or there is nothing to fill.
    """

    task: ClassVar[str] = "inpaint"

    image: EncodedImage = control(label="Picture", help="The picture to change")
    mask: EncodedImage | None = control(
        None, label="Mask", help="White where the picture is made anew; as large as the picture"
    )
    preset: str = _preset("demo-inpaint")
    mask_grow: int = _pixels("Grow", "Grow the mask; negative shrinks it", 64, -64)
    mask_feather: int = _pixels("Feather", "Width of the soft edge of the mask", 64, default=4)
    outpaint_left: int = _pixels("Grow left", "Canvas added on the left", 1024)
    outpaint_top: int = _pixels("Grow up", "Canvas added above", 1024)
    outpaint_right: int = _pixels("Grow right", "Canvas added on the right", 1024)
    outpaint_bottom: int = _pixels("Grow down", "Canvas added below", 1024)
    working_size: int | None = control(
        None,
        label="Working size",
        help="Longer side at which the model sees the area around the hole",
        unit="px",
        minimum=64,
        maximum=MAX_SIDE_PX,
        step=64,
        advanced=True,
    )
    steps: int | None = _steps()
    sampler: str | None = _sampler()
    eta: float | None = _eta(None)
    temperature: float | None = _temperature()
    seed: int | None = _seed()
    count: int = _count()
    coarse: float | None = _coarse()
    coarse_hold: float = _coarse_hold()

    def __post_init__(self) -> None:
        check(self)
        if self.mask is None and not any(self.outpaint):
            raise RequestError("mask must say what to make anew; there is none.")
        if self.mask is not None and self.mask.size != self.image.size:
            raise RequestError(
                f"mask must be as large as the picture, {_by(self.image)}, got {_by(self.mask)}."
            )

    @property
    def outpaint(self) -> tuple[int, int, int, int]:
        """Px added left, above, right and below."""
        return self.outpaint_left, self.outpaint_top, self.outpaint_right, self.outpaint_bottom


@dataclass(frozen=True, kw_only=True)
class Semantic:
    """Make a picture from a painted label map, at the map's size (LDM Sec. 4.3.2).

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "semantic"

    label_map: EncodedImage = control(
        label="Label map", help="One channel; the value of a pixel is the number of its class"
    )
    preset: str = _preset("demo-semantic")
    steps: int | None = _steps()
    sampler: str | None = _sampler()
    eta: float | None = _eta(None)
    temperature: float | None = _temperature()
    seed: int | None = _seed()
    count: int = _count()
    cover: str = _cover()
    seamless: str = _seamless()
    coarse: float | None = _coarse()
    coarse_hold: float = _coarse_hold()

    def __post_init__(self) -> None:
        check(self)
        if self.label_map.mode != "L":
            raise RequestError("label_map must have one channel of class numbers, got a picture.")
        if max(self.label_map.size) > MAX_SIDE_PX:
            raise RequestError(
                f"label_map must be at most {MAX_SIDE_PX} px a side, got {_by(self.label_map)}."
            )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Make a picture from boxes with classes (LDM Sec. 4.3.1).

    Raises:
        RequestError: If a field is of the wrong type or out of range, or there is no box.
    """

    task: ClassVar[str] = "layout"

    boxes: tuple[Box, ...] = control(label="Boxes", help="What is where")
    preset: str = _preset("demo-layout")
    width: int | None = _width()
    height: int | None = _height()
    steps: int | None = _steps()
    sampler: str | None = _sampler()
    guidance_scale: float | None = _guidance_scale("the boxes are")
    eta: float | None = _eta(None)
    temperature: float | None = _temperature()
    seed: int | None = _seed()
    count: int = _count()
    cover: str = _cover()
    seamless: str = _seamless()
    coarse: float | None = _coarse()
    coarse_hold: float = _coarse_hold()

    def __post_init__(self) -> None:
        check(self)
        if not self.boxes:
            raise RequestError("boxes must hold at least one box, got none.")


@dataclass(frozen=True, kw_only=True)
class Upscale:
    """Make a picture four times as large, or sixteen times in two passes (LDM Sec. 4.4).

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "upscale"

    image: EncodedImage = control(label="Picture", help="The picture to enlarge")
    preset: str = _preset("demo-upscale-bicubic")
    passes: int = control(
        1,
        label="Passes",
        help="One makes it 4 times as large, two 16",
        minimum=1,
        maximum=2,
        step=1,
    )
    steps: int | None = _steps()
    sampler: str | None = _sampler()
    eta: float | None = _eta(None)
    temperature: float | None = _temperature()
    seed: int | None = _seed()
    count: int = _count()
    cover: str = _cover()

    def __post_init__(self) -> None:
        check(self)
        largest = MAX_SIDE_PX // 4**self.passes
        if max(self.image.size) > largest:
            raise RequestError(
                f"image must be at most {largest} px a side for {4**self.passes} times the size, "
                f"got {_by(self.image)}."
            )


@dataclass(frozen=True, kw_only=True)
class ClassConditional:
    """Make pictures of a class, or of any (LDM App. D.4).

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "class-conditional"

    class_index: int | None = control(
        None, label="Class", help="Number of the class; none: any", minimum=0, maximum=9999, step=1
    )
    preset: str = _preset("demo-class-conditional")
    width: int | None = _width()
    height: int | None = _height()
    steps: int | None = _steps()
    sampler: str | None = _sampler()
    guidance_scale: float | None = _guidance_scale("the class is")
    eta: float | None = _eta(None)
    temperature: float | None = _temperature()
    seed: int | None = _seed()
    count: int = _count()
    cover: str = _cover()
    seamless: str = _seamless()
    coarse: float | None = _coarse()
    coarse_hold: float = _coarse_hold()

    def __post_init__(self) -> None:
        check(self)


def _by(image: EncodedImage) -> str:
    return f"{image.width} x {image.height} px"


_TYPES = (TextToImage, Inpaint, Semantic, Layout, Upscale, ClassConditional)
REQUESTS: dict[str, type] = {request_type.task: request_type for request_type in _TYPES}
"""Task name -> request type."""
