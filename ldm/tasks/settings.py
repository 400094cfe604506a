"""How a request is to be sampled, what its canvas is, and what a model or sampler cannot do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ldm.canvas.plan import Canvas
from ldm.canvas.windows import EvenWindows
from ldm.canvas.wrapped import MARGIN, Wrap
from ldm.diffusion.noise import Seed, Varied
from ldm.errors import RequestError
from ldm.images import EncodedImage, fitted
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import start_of
from ldm.seeds import one_by_one, read_variations

SOME_HAVE = ("cover", "coarse", "coarse_hold", "strength")  # fields that not all requests have
WRAPS = {
    "no": Wrap(),
    "across": Wrap(across=True),
    "down": Wrap(down=True),
    "both": Wrap(down=True, across=True),
}
"""What `seamless` means."""


class Measures(Protocol):
    """What a canvas depends on: a `LatentDiffusion` has it, and what is known of one."""

    factor: int  # px per latent cell
    size_multiple: int  # px: sides are multiples of it
    trained_size: tuple[int, int] | None  # height and width in px
    cells_at_once: int  # latent cells of a batch; 0: as on a CPU


@dataclass(frozen=True)
class Sampling:
    """How to get from noise to latents; the fields of a request of the same names."""

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
    image: EncodedImage | None = None  # to start from
    strength: float = 0.0
    inner: tuple[int, int] | None = None  # height and width in px, where the rest is padding
    # a picture, a px per latent cell, and the longest side in px -> what a preview shows of it
    shown: Callable[[np.ndarray, int], np.ndarray] | None = None

    @property
    def again(self) -> int:
        """Steps that make the picture to start from anew, or at full size after a small one.

        The last one alone starts at t = 1 and makes nothing anew: after a small picture there are
        two at least.
        """
        share, least = (self.coarse, 2) if self.image is None else (self.strength, 1)
        return min(self.steps, max(least, round(share * self.steps)))

    @property
    def first(self) -> int:
        """Steps from the picture to start from, or from noise."""
        return self.steps if self.image is None else self.again

    @property
    def refined(self) -> Sampling:
        """How a small picture is made anew at full size."""
        return replace(self, image=None)


def of_request(
    request: Any, size: tuple[int, int] | None = None, inner: tuple[int, int] | None = None
) -> Sampling:
    """The sampling part of a request whose fields are all filled in.

    Args:
        request: Any request.
        size: (height, width) in px, for tasks whose size follows from a picture.
        inner: What of it is not padding, if not all.
    """
    height, width = size or (request.height, request.width)
    return Sampling(
        sampler=request.sampler,
        steps=request.steps,
        guidance_scale=getattr(request, "guidance_scale", 1.0),
        eta=request.eta,
        seeds=tuple(map(_seed_of, one_by_one(request))),
        height=height,
        width=width,
        temperature=request.temperature,
        wrap=WRAPS[request.seamless],
        image=start_of(request),
        inner=inner,
        **{name: getattr(request, name) for name in SOME_HAVE if hasattr(request, name)},
    )


def _seed_of(request: Any) -> Seed:
    """Of the one picture of a request."""
    turns = tuple(read_variations(request.variations))
    return Varied(request.seed, turns) if turns else request.seed


def start_fitted(request: Any) -> Any:
    """The request with no more of a picture to start from than its canvas shows: every result
    carries it."""
    image = start_of(request)
    if image is None:
        return request
    canvas = getattr(request, "label_map", None) or request
    if image.width * image.height <= canvas.width * canvas.height:
        return request
    array = fitted(image.array(), canvas.height, canvas.width)
    return replace(request, image=EncodedImage.from_array(array))


def canvas_of(about: Measures, sampling: Sampling, *, encodes: bool = False) -> Canvas:
    """What has to be covered."""
    rows, columns = sampling.height // about.factor, sampling.width // about.factor
    rows, columns = sampling.wrap.size(rows, columns)
    return Canvas(
        rows=rows,
        columns=columns,
        count=len(sampling.seeds),
        passes=1 if sampling.guidance_scale == 1 else 2,
        encodes=encodes or sampling.image is not None or small_of(about, sampling) is not None,
        windows=_windows(about),
        at_once=about.cells_at_once,
    )


def multiples_of(about: Measures, wrap: Wrap) -> tuple[int, int]:
    """Px that height and width are multiples of; sides that meet are continued to more of them."""
    sides = (wrap.down, wrap.across)
    return tuple(about.factor if meets else about.size_multiple for meets in sides)


def rounded_up(side: int, multiple: int) -> int:
    """The next multiple of a number of px."""
    return -(-side // multiple) * multiple


def _windows(about: Measures) -> EvenWindows | None:
    """Windows of the size that the model was trained at."""
    if about.trained_size is None:
        return None
    height, width = (side // about.factor for side in about.trained_size)
    return EvenWindows((height, width), about.size_multiple // about.factor)


def small_of(about: Measures, sampling: Sampling) -> Sampling | None:
    """How to make the small picture that comes first, its shorter side as it was trained.

    None: there is none, since nobody asked for it, the canvas is no larger, or less of a picture to
    start from is made anew than would be after a small one.
    """
    if not sampling.coarse or about.trained_size is None:
        return None
    if sampling.image is not None and sampling.strength <= sampling.coarse:
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
    if sampling.inner is not None:  # the same share of it is padding
        of = (height / sampling.height, width / sampling.width)
        inner = tuple(round(share * side) for share, side in zip(of, sampling.inner, strict=True))
    sides = {"height": height, "width": width, "inner": inner}
    return replace(sampling, **sides, coarse=0.0, cover="auto")


def check(model: LatentDiffusion, sampling: Sampling) -> None:
    """Refuse what this model or sampler cannot do.

    Raises:
        RequestError: Naming the value and what would work.
    """
    down, across = multiples_of(model, sampling.wrap)
    _check_side("width", sampling.width, across)
    _check_side("height", sampling.height, down)
    if sampling.wrap and MARGIN % model.unet.factor:
        raise RequestError(
            f"seamless must be no for this model: its network halves a canvas to cells of "
            f"{model.unet.factor}, edges meet in cells of {MARGIN}."
        )
    if sampling.steps > model.schedule.length:
        raise RequestError(
            f"steps must be at most {model.schedule.length} for this model, got {sampling.steps}."
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
