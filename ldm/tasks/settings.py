"""Sampling settings and canvas of a request, and checks of what a model or sampler can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from ldm.canvas.plan import Canvas
from ldm.canvas.windows import EvenWindows
from ldm.canvas.wrapped import MARGIN, Wrap
from ldm.diffusion.inversion import EVALUATIONS
from ldm.diffusion.noise import InterpolatedSeed, Seed
from ldm.diffusion.timesteps import FEW
from ldm.errors import RequestError
from ldm.images import EncodedImage, cropped_to
from ldm.requests import start_image
from ldm.requests.seeds import read_variations, split_by_picture
from ldm.tasks.words import Reads, check_words

# fields that not all requests have
OPTIONAL_FIELDS = ("cover", "coarse", "coarse_hold", "strength", "inversion")
WRAPS = {
    "no": Wrap(),
    "across": Wrap(across=True),
    "down": Wrap(down=True),
    "both": Wrap(down=True, across=True),
}
"""Value of `seamless` -> edges that meet."""


class Grid(Protocol):
    """What the sides of a picture depend on."""

    factor: int  # px per latent cell
    size_multiple: int  # px: sides are multiples of it


class Measures(Grid, Protocol):
    """The properties that a canvas depends on, of a `LatentDiffusion` or of its `Facts`."""

    trained_size: tuple[int, int] | None  # height and width in px
    cells_at_once: int  # latent cells of a batch; 0: the default of the CPU


class Limits(Grid, Reads, Protocol):
    """What limits the settings, of a `LatentDiffusion` or of its `Preset`."""

    schedule_length: int  # time steps of its training


@dataclass(frozen=True)
class Sampling:
    """Settings for sampling latents; those of a request have the names of its fields."""

    sampler: str
    steps: int
    guidance_scale: float
    eta: float
    seeds: tuple[Seed, ...]  # one per picture
    height: int  # px
    width: int  # px
    temperature: float = 1.0
    cover: str = "auto"
    wrap: Wrap = WRAPS["no"]  # which edges of the canvas meet
    coarse: float = 0.0
    coarse_hold: float = 0.0
    image: EncodedImage | None = None  # the picture to start from
    strength: float = 0.0
    inversion: float = 0.0
    inner: tuple[int, int] | None = None  # height and width in px without padding; None: all
    # (preview of what is made, longest side in px) -> what a preview shows
    shown: Callable[[np.ndarray, int], np.ndarray] | None = None

    @property
    def resampled_steps(self) -> int:
        """Steps that regenerate the picture to start from, or the enlarged small picture.

        After a small picture they are at least two where the last step alone, from t = 0 or 1,
        would change nothing; see `ddim_timesteps` for the other grids.
        """
        if self.image is not None:
            return min(self.steps, max(1, round(self.strength * self.steps)))
        least = 1 if self.steps < FEW and self.sampler != "ddpm" else 2
        return min(self.steps, max(least, round(self.coarse * self.steps)))

    @property
    def first_pass_steps(self) -> int:
        """Steps of the first sampling: from the picture to start from, or from noise."""
        return self.steps if self.image is None else self.resampled_steps

    @property
    def inverts(self) -> bool:
        """Whether the noise of the picture to start from is found first."""
        return self.image is not None and self.inversion > 0

    @property
    def second_pass(self) -> Sampling:
        """Return the settings that regenerate an enlarged small picture at full size."""
        return replace(self, image=None)


def of_request(
    request: Any, size: tuple[int, int] | None = None, inner: tuple[int, int] | None = None
) -> Sampling:
    """Return the sampling settings of a request whose fields are all filled in.

    Args:
        request: Any request.
        size: (height, width) in px, for tasks whose size follows from a picture.
        inner: (height, width) in px without padding; None: there is no padding.
    """
    height, width = size or (request.height, request.width)
    return Sampling(
        sampler=request.sampler,
        steps=request.steps,
        guidance_scale=getattr(request, "guidance_scale", 1.0),
        eta=request.eta,
        seeds=tuple(map(_seed_of, split_by_picture(request))),
        height=height,
        width=width,
        temperature=request.temperature,
        wrap=WRAPS[request.seamless],
        image=start_image(request),
        inner=inner,
        **{name: getattr(request, name) for name in OPTIONAL_FIELDS if hasattr(request, name)},
    )


def _seed_of(request: Any) -> Seed:
    """Return the seed of a request for one picture, with its variations."""
    turns = tuple(read_variations(request.variations))
    return InterpolatedSeed(request.seed, turns) if turns else request.seed


def start_fitted(request: Any) -> Any:
    """Fit the picture to start from to the canvas if it is larger, since every result stores it."""
    image = start_image(request)
    if image is None:
        return request
    canvas = getattr(request, "label_map", None) or request
    if image.width * image.height <= canvas.width * canvas.height:
        return request
    array = cropped_to(image.array(), canvas.height, canvas.width)
    return replace(request, image=EncodedImage.from_array(array))


def canvas_of(about: Measures, sampling: Sampling, *, encodes: bool = False) -> Canvas:
    """Return the canvas to be covered; `encodes`: whether a picture is encoded in any case."""
    rows, columns = sampling.height // about.factor, sampling.width // about.factor
    rows, columns = sampling.wrap.size(rows, columns)
    return Canvas(
        rows=rows,
        columns=columns,
        count=len(sampling.seeds),
        passes=1 if sampling.guidance_scale == 1 else 2,
        encodes=encodes or sampling.image is not None or small_of(about, sampling) is not None,
        inverts=EVALUATIONS if sampling.inverts else 0,
        windows=_windows(about),
        at_once=about.cells_at_once,
    )


def multiples_of(about: Grid, wrap: Wrap) -> tuple[int, int]:
    """Return the multiples in px for height and width: whole latent cells where edges meet."""
    sides = (wrap.down, wrap.across)
    return tuple(about.factor if meets else about.size_multiple for meets in sides)


def rounded_up(side: int, multiple: int) -> int:
    """Round a side in px up to the next multiple."""
    return -(-side // multiple) * multiple


def _windows(about: Measures) -> EvenWindows | None:
    """Return windows of the size that the model was trained at; None: it is not known."""
    if about.trained_size is None:
        return None
    height, width = (side // about.factor for side in about.trained_size)
    return EvenWindows((height, width), about.size_multiple // about.factor)


def small_of(about: Measures, sampling: Sampling) -> Sampling | None:
    """Return the settings of the small picture that comes first, its shorter side as trained.

    None: there is no small picture, since `coarse` is 0, the trained size is not known, the canvas
    is no larger than it, `strength`, with a picture to start from, is at most `coarse`, or so few
    steps are taken that all of them would be taken again at full size.
    """
    if not sampling.coarse or about.trained_size is None:
        return None
    if sampling.image is not None and sampling.strength <= sampling.coarse:
        return None
    if sampling.second_pass.resampled_steps >= sampling.first_pass_steps:
        return None
    scale = min(about.trained_size) / min(sampling.height, sampling.width)
    if scale >= 1:
        return None
    multiple = about.size_multiple
    height, width = (
        max(1, round(scale * side / multiple)) * multiple
        for side in (sampling.height, sampling.width)
    )
    inner = None
    if sampling.inner is not None:  # scaled, so that the same share is padding
        of = (height / sampling.height, width / sampling.width)
        inner = tuple(round(share * side) for share, side in zip(of, sampling.inner, strict=True))
    sides = {"height": height, "width": width, "inner": inner}
    return replace(sampling, **sides, coarse=0.0, cover="auto")


def check_request(request: Any, about: Limits) -> None:
    """Do for a request whose fields are all filled in what `check` does, before a model is loaded.

    Tasks whose size follows from a picture pad it, so that it always suits.

    Raises:
        RequestError: See `check`.
    """
    names = {field.name for field in fields(request)}
    is_padded = not {"height", "width"} <= names
    check(about, of_request(request, (about.size_multiple,) * 2 if is_padded else None))
    check_words(about, request)


def check(about: Limits, sampling: Sampling) -> None:
    """Refuse settings that this model or sampler does not support.

    Raises:
        RequestError: If there is one; the message states the value and what would work.
    """
    down, across = multiples_of(about, sampling.wrap)
    _check_side("width", sampling.width, across)
    _check_side("height", sampling.height, down)
    halved = about.size_multiple // about.factor
    if sampling.wrap and MARGIN % halved:
        raise RequestError(
            f"seamless must be no for this model: its network halves a canvas to cells of "
            f"{halved}, edges meet in cells of {MARGIN}."
        )
    if sampling.steps > about.schedule_length:
        raise RequestError(
            f"steps must be at most {about.schedule_length} for this model, got {sampling.steps}."
        )
    if sampling.inverts and (sampling.sampler == "ddpm" or sampling.eta > 0):
        with_eta = f" with an eta of {sampling.eta:g}" if sampling.eta else ""
        raise RequestError(
            f"inversion must be 0 for {sampling.sampler}{with_eta}, which draws new noise in every "
            f"step, got {sampling.inversion:g}; the other samplers with an eta of 0 draw none."
        )
    if sampling.eta > 0 and sampling.sampler != "ddim":
        raise RequestError(
            f"eta must be 0 for {sampling.sampler}, got {sampling.eta:g}; only ddim uses it."
        )


def _check_side(name: str, side: int, multiple: int) -> None:
    if side % multiple:
        low = side // multiple * multiple
        near = f"{low} or {low + multiple}" if low else f"{multiple}"
        raise RequestError(
            f"{name} must be a multiple of {multiple} px for this model, got {side}; "
            f"{near} would do."
        )
