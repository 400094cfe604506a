"""Inpainting of a hole in a picture, and outpainting beyond its edges (LDM Sec. 4.5).

The model sees the area around the hole, scaled to its working size; its output is blended back at
the picture's own resolution. Outside the feathered mask not one pixel changes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from ldm.canvas.wrapped import Wrap
from ldm.diffusion.conditioning import Conditioning
from ldm.errors import RequestError
from ldm.events import Progress, Result
from ldm.images import MARKED, EncodedImage, to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import Inpaint
from ldm.tasks.area import (
    Area,
    Hole,
    continued,
    put_back,
    rolled,
    scaled,
    standing_in,
    without_seam,
)
from ldm.tasks.covering import RunContext, cover, pausing, returned
from ldm.tasks.denoising import Conditions
from ldm.tasks.sampling import padded, result, sample
from ldm.tasks.settings import WRAPS, Sampling, canvas_of, check, of_request
from ldm.tasks.words import check_words, notes_on

NOTHING_LEFT = "Everything was marked, so nothing of the picture was left to go by."
CONTEXT = 2.0  # side of the area that the model sees / longer side of the hole's box


@torch.no_grad()
def run(
    model: LatentDiffusion, request: Inpaint, context: RunContext | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` fillings of the same hole.

    Yields:
        Progress after every step, then one Result, at the size of the (grown) canvas.

    Raises:
        RequestError: If the mask, grown or shrunk, is empty, or the settings do not fit the model.
    """
    hole = hole_of(request)
    area, alpha = hole.area.fitted(model.size_multiple), hole.alpha
    canvas = rolled(grown_canvas(request), hole.turn)
    image, touched = _at_work(area, canvas, alpha, model)
    sampling = sampling_on(area, request, touched.shape)
    check(model, sampling)
    check_words(model, request)
    if context is not None and (hole.alpha == 1).all():
        context.add_note(NOTHING_LEFT)

    def read(
        model: LatentDiffusion, context: RunContext | None = context
    ) -> Generator[Progress, None, Conditions]:
        around = yield from _read(model, image, touched, sampling, context)
        said = (request.prompt, request.negative_prompt)
        return tuple(worded(model, around, [words]) for words in said)

    conditions = yield from read(model)
    shown = replace(sampling, shown=standing_in(hole, area, canvas, touched.shape))
    if shown.image is not None:
        shown = replace(shown, image=EncodedImage.from_array(image))
    made = yield from sample(
        model, shown, conditions, lambda *wider: returned(read(*wider)), context
    )
    made = [without_seam(area, canvas, alpha, image) for image in made]
    back = tuple(-by for by in hole.turn)
    filled = [rolled(put_back(area, canvas, alpha, image), back) for image in made]
    yield result(request, filled, notes_on(request, model.tokenizer))


def hole_of(request: Inpaint) -> Hole:
    """Return the hole of a request and the area around it.

    Raises:
        RequestError: If the mask, grown or shrunk, is empty.
    """
    mask, wrap = grown_mask(request), WRAPS[request.seamless]
    sides = ((mask.any(axis=1), wrap.down), (mask.any(axis=0), wrap.across))
    turn = tuple(_turn(marked) if meets else 0 for marked, meets in sides)
    # where edges meet, growth and feather continue across them
    more = abs(request.mask_grow) + request.mask_feather + 1
    above, left = (more if meets else 0 for meets in (wrap.down, wrap.across))
    mask = changed(continued(rolled(mask, turn), above, left), request.mask_grow)
    if request.mask_grow < 0:  # the painted mask shrinks, the canvas' new margins do not
        mask |= continued(rolled(grown_mask(request, painted=False), turn), above, left)
    height, width = mask.shape
    alpha = feathered(mask, request.mask_feather)[above : height - above, left : width - left]
    if not alpha.any():
        why = "nothing is left of it"
        if request.mask is not None and 0 < (brightest := request.mask.array().max()) < MARKED:
            why = f"its brightest value is {brightest}, and {MARKED} to 255 are marked"
        raise RequestError(f"mask must say what to make anew; {why}.")
    return Hole(turn, alpha, area_around(alpha > 0, request.working_size, wrap))


def sampling_on(area: Area, request: Inpaint, size: tuple[int, int]) -> Sampling:
    """Return the settings for an area at `size` px, with the wrap of the area.

    Without words there is nothing that guidance could lead to. With a strength below 1 it starts
    from the picture, of which `run` takes the area.
    """
    scale = request.guidance_scale if request.is_told else 1.0
    start = request.image if request.strength < 1 else None
    sampling = of_request(request, size)
    return replace(sampling, wrap=area.wrap, guidance_scale=scale, image=start)


def worded(model: LatentDiffusion, around: Conditioning, words: Sequence[str]) -> Conditioning:
    """Add to what is known around holes what to make in each, if the model reads words."""
    if not model.fills_by_words:
        return around
    return replace(around, context=model.condition(words).context)


def _read(
    model: LatentDiffusion,
    image: np.ndarray,
    touched: np.ndarray,
    sampling: Sampling,
    context: RunContext | None,
) -> Generator[Progress, None, Conditioning]:
    """Encode what is known around a hole: image (H, W, 3) uint8, touched (H, W) bool."""
    on = cover(model, canvas_of(model, sampling, encodes=True), context)
    wrap, factor = sampling.wrap, model.factor
    around = wrap.pad(to_tensor([image]), factor)
    mask = wrap.pad(torch.from_numpy(touched)[None, None].float(), factor)
    cond = yield from pausing(
        lambda: on.model.condition_hole(around, mask),
        on.space,
        lambda _: Progress("reading the picture"),
    )
    h, w = (side // factor for side in touched.shape)
    return cond.with_maps(lambda part: wrap.cut(part, h, w))


def _turn(marked: np.ndarray) -> int:
    """Return how far to roll a side to bring the middle of its longest unmarked gap to its ends."""
    places = np.flatnonzero(marked)
    if not len(places):
        return 0
    gaps = np.diff(places, append=places[0] + len(marked))
    widest = int(gaps.argmax())
    return -int(places[widest] + (gaps[widest] + 1) // 2) if gaps[widest] > 1 else 0


def grown_mask(request: Inpaint, *, painted: bool = True) -> np.ndarray:
    """Return the mask (H, W) bool of the canvas with its new margins, which are all marked.

    `painted`: whether to mark the painted mask, too.
    """
    size = (request.image.height, request.image.width)
    is_bare = request.mask is None or not painted
    mask = np.zeros(size, bool) if is_bare else request.mask.marked()
    left, top, right, bottom = request.outpaint
    return np.pad(mask, ((top, bottom), (left, right)), constant_values=True)


def grown_canvas(request: Inpaint) -> np.ndarray:
    """Return the canvas (H, W, 3) with its new margins, which repeat the edges."""
    image = request.image.array()
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    left, top, right, bottom = request.outpaint
    sides = ((top, bottom), (left, right), (0, 0))
    return np.pad(image, sides, mode="edge")


def changed(mask: np.ndarray, grow: int) -> np.ndarray:
    """Grow a mask (H, W) bool by `grow` px in every direction; shrink it if negative."""
    if not grow:
        return mask
    return _distance_to(mask) <= grow if grow > 0 else _distance_to(~mask) > -grow


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Return the distance (H, W) in px of each pixel to the nearest one in the mask."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def feathered(mask: np.ndarray, feather: int) -> np.ndarray:
    """Return (H, W) float32: 1 in the mask, falling to 0 over `feather` px around it."""
    if not feather or not mask.any():
        return mask.astype(np.float32)
    return np.clip(1 - _distance_to(mask) / (feather + 1), 0, 1).astype(np.float32)


def area_around(hole: np.ndarray, working_size: int, wrap: Wrap = WRAPS["no"]) -> Area:
    """Return the area around a hole (H, W) bool: its bounding box with context, scaled down to fit.

    Its edges meet where those of the canvas do by `wrap` and it spans that whole side.
    """
    places = [np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0)]
    longest = max(int(np.ptp(place)) + 1 for place in places)
    side = max(round(CONTEXT * longest), working_size // 2)
    rows, columns = (_around(p, side, n) for p, n in zip(places, hole.shape, strict=True))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = min(1.0, working_size / max(height, width))
    around = Wrap(
        down=wrap.down and height == hole.shape[0], across=wrap.across and width == hole.shape[1]
    )
    return Area(rows, columns, max(1, round(scale * height)), max(1, round(scale * width)), around)


def _around(places: np.ndarray, side: int, length: int) -> slice:
    """Return a slice of `side` px around the middle of the places, moved to lie in 0..length."""
    if side >= length:
        return slice(0, length)
    first = int(places[0] + places[-1] + 1 - side) // 2
    first = min(max(first, 0), length - side)
    return slice(first, first + side)


def _at_work(
    area: Area, canvas: np.ndarray, alpha: np.ndarray, model: LatentDiffusion
) -> tuple[np.ndarray, np.ndarray]:
    """Return the padded area (h, w, 3) at its working size, and its hole (h, w) in whole cells."""
    cell = model.factor
    parts = (scaled(area, canvas), scaled(area, alpha) > 0)
    image, touched = (padded(array, model.size_multiple) for array in parts)
    height, width = touched.shape
    cells = touched.reshape(height // cell, cell, width // cell, cell).any(axis=(1, 3))
    return image, cells.repeat(cell, axis=0).repeat(cell, axis=1)
