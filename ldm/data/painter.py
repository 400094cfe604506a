"""A painter that draws a picture and its label map together, with antialiased edges.

Everything is drawn at SUPERSAMPLE times the size and averaged down once. A label is taken from the
middle of each pixel, so labels are not mixed and are aligned with the picture. Coordinates are
pixels of the finished picture, (x, y), y down.
"""

from __future__ import annotations

import cv2
import numpy as np

SUPERSAMPLE = 3


class Painter:
    """A picture that is being drawn, at SUPERSAMPLE times its size.

    `image` is (S H, S W, 3) uint8 and `labels` is (S H, S W) uint8, where S is SUPERSAMPLE.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.image = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE, 3), np.uint8)
        self.labels = np.zeros(self.image.shape[:2], np.uint8)

    def polygon(
        self, points: np.ndarray, colour: np.ndarray, label: int | None, alpha: float = 1.0
    ) -> None:
        """Fill a polygon (N, 2); `label` None leaves the labels as they are."""
        shape = np.round(np.asarray(points, np.float32) * SUPERSAMPLE).astype(np.int32)
        if label is not None:
            cv2.fillPoly(self.labels, [shape], label)
        if alpha >= 1.0:
            cv2.fillPoly(self.image, [shape], _rgb(colour))
            return
        x, y, w, h = cv2.boundingRect(shape)
        x0, y0 = max(x, 0), max(y, 0)
        region = self.image[y0 : max(y + h, 0), x0 : max(x + w, 0)]
        if region.size:
            painted = region.copy()
            cv2.fillPoly(painted, [shape - (x0, y0)], _rgb(colour))
            cv2.addWeighted(painted, alpha, region, 1 - alpha, 0, dst=region)

    def ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        colour: np.ndarray,
        label: int | None,
        alpha: float = 1.0,
    ) -> None:
        """Fill an ellipse; `label` None leaves the labels as they are."""
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        outline = np.stack([np.cos(angle), np.sin(angle)], 1) * radii + np.asarray(centre)
        self.polygon(outline, colour, label, alpha)

    def terrain(
        self, ridge: np.ndarray, top: np.ndarray, bottom: np.ndarray, depth: float, label: int
    ) -> None:
        """Fill below a ridge line, fading from `top` to `bottom` colour over `depth` px.

        Args:
            ridge: y of the upper edge at each of the `width` columns.
            top: Colour at the height of the ridge's highest point.
            bottom: Colour `depth` px below that, and further down.
            depth: Length of the gradient in px.
            label: Class id.
        """
        fine = np.interp(
            (np.arange(self.width * SUPERSAMPLE) + 0.5) / SUPERSAMPLE,
            np.arange(self.width) + 0.5,
            ridge,
        )
        start = max(int(fine.min() * SUPERSAMPLE), 0)
        rows = (np.arange(start, self.image.shape[0]) + 0.5) / SUPERSAMPLE
        mask = rows[:, None] >= fine[None, :]
        blend = np.clip((rows - fine.min()) / max(depth, 1.0), 0, 1)[:, None]
        column = (top + (bottom - top) * blend).astype(np.uint8)
        region = self.image[start:]
        np.copyto(region, column[:, None, :], where=mask[..., None])
        self.labels[start:][mask] = label

    def glow(self, centre: tuple[float, float], radius: float, colour: np.ndarray) -> None:
        """Blend towards a colour with Gaussian weights around a point; `radius` is their sigma."""
        scale = SUPERSAMPLE
        ys = (np.arange(self.image.shape[0]) / scale - centre[1])[:, None]
        xs = (np.arange(self.image.shape[1]) / scale - centre[0])[None, :]
        strength = np.exp(-(xs**2 + ys**2) / (2 * radius**2)).astype(np.float32)[..., None]
        image = self.image.astype(np.float32)
        image += strength * (np.float32(colour) - image)
        self.image = image.astype(np.uint8)

    def veil(self, alpha: np.ndarray, colour: np.ndarray) -> None:
        """Blend the whole picture towards a colour; `alpha` has one weight per finished row."""
        rows = cv2.resize(alpha[:, None].astype(np.float32), (1, self.image.shape[0]))
        image = self.image.astype(np.float32)
        image += rows.reshape(-1, 1, 1) * (np.float32(colour) - image)
        self.image = image.astype(np.uint8)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture, (H, W, 3) uint8, and the labels, (H, W) uint8."""
        size = (self.width, self.height)
        image = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        middle = SUPERSAMPLE // 2
        return image, self.labels[middle::SUPERSAMPLE, middle::SUPERSAMPLE].copy()


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    r, g, b = np.clip(colour, 0, 255)
    return int(r), int(g), int(b)
