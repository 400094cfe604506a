"""Requests of the user: one frozen dataclass per task.

None in a setting means the preset's default (for `seed`: a new one). `ldm.resolve` fills it in
before the run, so the request that is stored with a result holds every number that made it. The
label and range of a field are in its `control(...)`, see `ldm.requests.fields`; fields that several
requests share are made in `ldm.requests.shared_fields`. A picture may be given as the Path of its
file, as a Pillow image or as an array, see `ldm.images`; the request holds its pixels. It needs no
torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ldm.errors import RequestError
from ldm.images import EncodedImage, as_labels, as_mask, as_picture
from ldm.requests import shared_fields as shared
from ldm.requests.canvas import CHOSEN_SIDE_PX, check_canvas, check_growth, check_sides
from ldm.requests.fields import Box, check, control, documented
from ldm.requests.fields import Control as Control  # re-exported for callers
from ldm.requests.fields import controls as controls
from ldm.requests.shared_fields import MAX_PROMPT_CHARACTERS


@documented
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
    negative_prompt: str = shared.negative_prompt()
    preset: str = shared.preset("demo-text-to-image")
    width: int | None = shared.width()
    height: int | None = shared.height()
    steps: int | None = shared.steps()
    sampler: str | None = shared.sampler()
    guidance_scale: float | None = shared.guidance_scale("the prompt is")
    eta: float | None = shared.eta(None)
    temperature: float | None = shared.temperature()
    seed: int | None = shared.seed()
    variations: str = shared.variations()
    count: int = shared.count()
    cover: str = shared.cover()
    seamless: str = shared.seamless()
    coarse: float | None = shared.coarse()
    coarse_hold: float = shared.coarse_hold()
    image: EncodedImage | None = shared.image()
    strength: float = shared.strength()
    inversion: float = shared.inversion()

    def __post_init__(self) -> None:
        check(self)
        if not self.prompt.strip():
            raise RequestError("prompt must say what to draw, got an empty one.")
        check_sides(self.width, self.height)


@documented
@dataclass(frozen=True, kw_only=True)
class Inpaint:
    """Fill the masked part of a picture, or grow it beyond its edges (LDM Sec. 4.5).

    With words, if the model reads any: they say what is made there.

    Raises:
        RequestError: If a field is of the wrong type or out of range, or there is nothing to fill.
    """

    task: ClassVar[str] = "inpaint"

    image: EncodedImage = control(
        label="Picture", help="The picture to change", converts=as_picture
    )
    mask: EncodedImage | None = control(
        None,
        label="Mask",
        help="White where the picture is made anew; as large as the picture",
        converts=as_mask,
    )
    prompt: str = control(
        "",
        label="Prompt",
        help="What is made there; empty: what is around it goes on",
        max_length=MAX_PROMPT_CHARACTERS,
    )
    negative_prompt: str = shared.negative_prompt(advanced=True)
    preset: str = shared.preset("demo-inpaint")
    strength: float = shared.strength_in_hole()
    mask_grow: int = shared.pixels("Grow", "Grow the mask; negative shrinks it", 64, -64)
    mask_feather: int = shared.pixels(
        "Feather", "Width of the soft edge of the mask", 64, default=4
    )
    outpaint_left: int = shared.pixels("Grow left", "Canvas added on the left", 1024)
    outpaint_top: int = shared.pixels("Grow up", "Canvas added above", 1024)
    outpaint_right: int = shared.pixels("Grow right", "Canvas added on the right", 1024)
    outpaint_bottom: int = shared.pixels("Grow down", "Canvas added below", 1024)
    working_size: int | None = control(
        None,
        label="Working size",
        help="Longer side at which the model sees the area around the hole",
        unit="px",
        minimum=64,
        maximum=CHOSEN_SIDE_PX,
        step=64,
        advanced=True,
    )
    steps: int | None = shared.steps()
    sampler: str | None = shared.sampler()
    guidance_scale: float | None = shared.guidance_scale("the prompt is")
    eta: float | None = shared.eta(None)
    temperature: float | None = shared.temperature()
    seed: int | None = shared.seed()
    variations: str = shared.variations()
    count: int = shared.count()
    seamless: str = shared.seamless()
    coarse: float | None = shared.coarse()
    coarse_hold: float = shared.coarse_hold()

    def __post_init__(self) -> None:
        check(self)
        if self.mask is None and not any(self.outpaint):
            raise RequestError("mask must say what to make anew; there is none.")
        if self.strength < 1 and any(self.outpaint):
            raise RequestError(
                f"strength must be 1 where the canvas grows, since nothing is there to be kept, "
                f"got {self.strength:g}."
            )
        if self.mask is not None and self.mask.size != self.image.size:
            raise RequestError(
                f"mask must be as large as the picture, {_by(self.image)}, got {_by(self.mask)}."
            )
        check_growth(self.image.size, *self.outpaint)

    @property
    def is_told(self) -> bool:
        """Whether words say what to make, or what not to make, in the hole."""
        return bool(self.prompt.strip() or self.negative_prompt.strip())

    @property
    def outpaint(self) -> tuple[int, int, int, int]:
        """Px added left, above, right and below."""
        return self.outpaint_left, self.outpaint_top, self.outpaint_right, self.outpaint_bottom


@documented
@dataclass(frozen=True, kw_only=True)
class Semantic:
    """Make a picture from a painted label map, at the map's size (LDM Sec. 4.3.2).

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "semantic"

    label_map: EncodedImage = control(
        label="Label map",
        help="One channel; the value of a pixel is the number of its class",
        converts=as_labels,
    )
    preset: str = shared.preset("demo-semantic")
    steps: int | None = shared.steps()
    sampler: str | None = shared.sampler()
    eta: float | None = shared.eta(None)
    temperature: float | None = shared.temperature()
    seed: int | None = shared.seed()
    variations: str = shared.variations()
    count: int = shared.count()
    cover: str = shared.cover()
    seamless: str = shared.seamless()
    coarse: float | None = shared.coarse()
    coarse_hold: float = shared.coarse_hold()
    image: EncodedImage | None = shared.image()
    strength: float = shared.strength()

    def __post_init__(self) -> None:
        check(self)
        if self.label_map.mode != "L":
            raise RequestError("label_map must have one channel of class numbers, got a picture.")
        check_canvas("label_map", *self.label_map.size)


@documented
@dataclass(frozen=True, kw_only=True)
class Layout:
    """Make a picture from boxes with classes (LDM Sec. 4.3.1).

    Raises:
        RequestError: If a field is of the wrong type or out of range, or there is no box.
    """

    task: ClassVar[str] = "layout"

    boxes: tuple[Box, ...] = control(label="Boxes", help="What is where")
    preset: str = shared.preset("demo-layout")
    width: int | None = shared.width()
    height: int | None = shared.height()
    steps: int | None = shared.steps()
    sampler: str | None = shared.sampler()
    guidance_scale: float | None = shared.guidance_scale("the boxes are")
    eta: float | None = shared.eta(None)
    temperature: float | None = shared.temperature()
    seed: int | None = shared.seed()
    variations: str = shared.variations()
    count: int = shared.count()
    cover: str = shared.cover()
    seamless: str = shared.seamless()
    coarse: float | None = shared.coarse()
    coarse_hold: float = shared.coarse_hold()
    image: EncodedImage | None = shared.image()
    strength: float = shared.strength()
    inversion: float = shared.inversion()

    def __post_init__(self) -> None:
        check(self)
        if not self.boxes:
            raise RequestError("boxes must hold at least one box, got none.")
        check_sides(self.width, self.height)


@documented
@dataclass(frozen=True, kw_only=True)
class Upscale:
    """Make a picture four times as large, or sixteen times in two passes (LDM Sec. 4.4).

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "upscale"

    image: EncodedImage = control(
        label="Picture", help="The picture to enlarge", converts=as_picture
    )
    preset: str = shared.preset("demo-upscale-bicubic")
    passes: int = control(
        1,
        label="How much larger",
        help="One makes it 4 times as large, two 16",
        minimum=1,
        maximum=2,
        step=1,
    )
    steps: int | None = shared.steps()
    sampler: str | None = shared.sampler()
    eta: float | None = shared.eta(None)
    temperature: float | None = shared.temperature()
    seed: int | None = shared.seed()
    variations: str = shared.variations()
    count: int = shared.count()
    cover: str = shared.cover()
    seamless: str = shared.seamless("Where opposite edges meet already, they still do afterwards")

    def __post_init__(self) -> None:
        check(self)
        check_canvas("image", *self.image.size, times=4**self.passes)


@documented
@dataclass(frozen=True, kw_only=True)
class ClassConditional:
    """Make pictures of a class, or of any (LDM App. D.4); or by a model that knows no classes.

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "class-conditional"

    class_index: int | None = control(
        None, label="Class", help="Number of the class; none: any", minimum=0, maximum=9999, step=1
    )
    preset: str = shared.preset("demo-class-conditional")
    width: int | None = shared.width()
    height: int | None = shared.height()
    steps: int | None = shared.steps()
    sampler: str | None = shared.sampler()
    guidance_scale: float | None = shared.guidance_scale("the class is")
    eta: float | None = shared.eta(None)
    temperature: float | None = shared.temperature()
    seed: int | None = shared.seed()
    variations: str = shared.variations()
    count: int = shared.count()
    cover: str = shared.cover()
    seamless: str = shared.seamless()
    coarse: float | None = shared.coarse()
    coarse_hold: float = shared.coarse_hold()
    image: EncodedImage | None = shared.image()
    strength: float = shared.strength()
    inversion: float = shared.inversion()

    def __post_init__(self) -> None:
        check(self)
        check_sides(self.width, self.height)


def takes_start_image(request_type: type) -> bool:
    """Whether requests of this type may start from a picture; others use `image` differently."""
    return getattr(request_type, "image", ...) is None  # the field's default


def start_image(request: Any) -> EncodedImage | None:
    """Return the picture that a request starts from; None: it starts from noise."""
    return request.image if takes_start_image(type(request)) else None


def _by(image: EncodedImage) -> str:
    return f"{image.width} x {image.height} px"


_TYPES = (TextToImage, Inpaint, Semantic, Layout, Upscale, ClassConditional)
REQUESTS: dict[str, type] = {request_type.task: request_type for request_type in _TYPES}
"""Task name -> request type."""

PRESET_TASKS: dict[str, tuple[str, ...]] = {
    **{task: (task,) for task in REQUESTS},
    "class-conditional": ("class-conditional", "unconditional"),
    "inpaint": ("inpaint", "text-to-image"),  # the latter were not trained on holes
}
"""Task name -> the tasks of the presets that can run such a request."""
