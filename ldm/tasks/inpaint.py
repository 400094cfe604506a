"""Filling a hole in a picture, or what lies beyond its edges (LDM Sec. 4.5).

The model sees the area around the hole, scaled to its working size; what it makes is put back at
the picture's own resolution. Outside the feathered mask not one pixel changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ldm.errors import RequestError
from ldm.events import Progress, Result
from ldm.images import to_arrays, to_tensor
from ldm.latent_diffusion import LatentDiffusion
from ldm.requests import EncodedImage, Inpaint
from ldm.tasks.covering import Site, cover, pausing
from ldm.tasks.joining import joined
from ldm.tasks.sampling import padded, result, sample
from ldm.tasks.settings import canvas_of, check, of_request

CONTEXT = 2.0  # the area that the model sees, in sides of the hole's box
OPAQUE = 128  # from this value on, a mask's pixel is made anew


@dataclass(frozen=True)
class Area:
    """The part of the canvas that the model works on, and the size in px at which it does."""

    rows: slice
    columns: slice
    height: int
    width: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """That part of a canvas; a view."""
        return array[self.rows, self.columns]


@torch.no_grad()
def run(
    model: LatentDiffusion, request: Inpaint, site: Site | None = None
) -> Iterator[Progress | Result]:
    """Make `request.count` fillings of the same hole.

    Yields:
        Progress after every step, then one Result, at the size of the (grown) canvas.

    Raises:
        RequestError: If nothing is left of the mask.
    """
    canvas, mask = grown_canvas(request)
    alpha = feathered(changed(mask, request.mask_grow), request.mask_feather)
    if not alpha.any():
        raise RequestError("mask must say what to make anew; nothing is left of it.")
    area = area_around(alpha > 0, request.working_size)
    image, hole = _at_work(area, canvas, alpha, model)
    sampling = of_request(request, hole.shape)
    check(model, sampling)
    given, mask = to_tensor([image]), torch.from_numpy(hole)[None, None].float()
    on = cover(model, canvas_of(model, sampling, encodes=True), site)
    cond = yield from pausing(
        lambda: on.model.condition_hole(given, mask),
        on.space,
        lambda _: Progress("reading the picture"),
    )
    made = yield from sample(model, sampling, cond, cond, site)
    made = [_without_seam(area, canvas, alpha, image) for image in made]
    yield result(request, [put_back(area, canvas, alpha, image) for image in made])


def area_of(request: Inpaint) -> Area:
    """The part of the canvas that the model will work on, without the work.

    Raises:
        RequestError: If nothing is left of the mask.
    """
    mask = changed(grown_mask(request), request.mask_grow)
    alpha = feathered(mask, request.mask_feather)
    if not alpha.any():
        raise RequestError("mask must say what to make anew; nothing is left of it.")
    return area_around(alpha > 0, request.working_size)


def grown_mask(request: Inpaint) -> np.ndarray:
    """The mask (H, W) bool of the canvas with its new margins, which are all made anew."""
    size = (request.image.height, request.image.width)
    mask = np.zeros(size, bool) if request.mask is None else _opaque(request.mask)
    left, top, right, bottom = request.outpaint
    return np.pad(mask, ((top, bottom), (left, right)), constant_values=True)


def grown_canvas(request: Inpaint) -> tuple[np.ndarray, np.ndarray]:
    """The canvas (H, W, 3) with its new margins, edges repeated, and the mask (H, W) bool."""
    image = request.image.array()
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    left, top, right, bottom = request.outpaint
    sides = ((top, bottom), (left, right), (0, 0))
    return np.pad(image, sides, mode="edge"), grown_mask(request)


def _opaque(mask: EncodedImage) -> np.ndarray:
    array = mask.array()
    return (array if array.ndim == 2 else array.mean(axis=2)) >= OPAQUE


def changed(mask: np.ndarray, grow: int) -> np.ndarray:
    """A mask (H, W) bool, grown by so many px in every direction, or shrunk if negative."""
    if not grow:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(grow) + 1,) * 2)
    change = cv2.dilate if grow > 0 else cv2.erode
    return change(mask.astype(np.uint8), disc).astype(bool)


def feathered(mask: np.ndarray, feather: int) -> np.ndarray:
    """(H, W) float32: 1 in the mask, falling to 0 over `feather` px around it."""
    if not feather or not mask.any():
        return mask.astype(np.float32)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.clip(1 - distance / (feather + 1), 0, 1).astype(np.float32)


def area_around(hole: np.ndarray, working_size: int) -> Area:
    """What the model sees of a hole (H, W) bool: its box with room around it, scaled to fit."""
    places = [np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0)]
    longest = max(int(np.ptp(place)) + 1 for place in places)
    side = max(round(CONTEXT * longest), working_size // 2)
    rows, columns = (_around(p, side, n) for p, n in zip(places, hole.shape, strict=True))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = min(1.0, working_size / max(height, width))
    return Area(rows, columns, max(1, round(scale * height)), max(1, round(scale * width)))


def _around(places: np.ndarray, side: int, length: int) -> slice:
    """`side` px around the middle of the places, moved to lie within `length`, or all of it."""
    if side >= length:
        return slice(0, length)
    first = int(places[0] + places[-1] + 1 - side) // 2
    first = min(max(first, 0), length - side)
    return slice(first, first + side)


def _at_work(
    area: Area, canvas: np.ndarray, alpha: np.ndarray, model: LatentDiffusion
) -> tuple[np.ndarray, np.ndarray]:
    """The area (h, w, 3) at its working size and its hole (h, w) bool in whole latent cells."""
    cell = model.factor
    parts = (_scaled(area, canvas), _scaled(area, alpha) > 0)
    image, touched = (padded(array, model.size_multiple) for array in parts)
    height, width = touched.shape
    cells = touched.reshape(height // cell, cell, width // cell, cell).any(axis=(1, 3))
    return image, cells.repeat(cell, axis=0).repeat(cell, axis=1)


def _scaled(area: Area, array: np.ndarray) -> np.ndarray:
    """The area of a canvas at its working size."""
    return cv2.resize(area.of(array), (area.width, area.height), interpolation=cv2.INTER_AREA)


def _without_seam(
    area: Area, canvas: np.ndarray, alpha: np.ndarray, made: np.ndarray
) -> np.ndarray:
    """What was made (h, w, 3), at the working size, moved to meet what is around the hole."""
    made = np.ascontiguousarray(made[: area.height, : area.width])
    hole = torch.from_numpy(_scaled(area, alpha) > 0)[None, None].float()
    return to_arrays(joined(to_tensor([made]), to_tensor([_scaled(area, canvas)]), hole))[0]


def put_back(area: Area, canvas: np.ndarray, alpha: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The canvas with the made part, at the area's working size, blended in by `alpha`; where that
    is 0, nothing changes."""
    before, weight = area.of(canvas), area.of(alpha)[:, :, None]
    if made.shape != before.shape:
        size = (before.shape[1], before.shape[0])
        made = cv2.resize(made, size, interpolation=cv2.INTER_CUBIC)
    blended = np.rint(weight * made + (1 - weight) * before).astype(np.uint8)
    after = canvas.copy()
    area.of(after)[:] = np.where(weight > 0, blended, before)
    return after
