# SPDX-License-Identifier: Apache-2.0
"""Printed things in a rendered scene: boards and tags, drawn as a camera sees them.

A picture is warped at several times the image's resolution and then averaged down, so that its
edges lie where they belong to a small part of a pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vision.figure import Point3
from vision.geometry import Camera
from vision.homography import FloatArray

Image = npt.NDArray[np.uint8]

FINE = 4
"""Each pixel is the mean of so many by so many."""


@dataclass(frozen=True, slots=True)
class Flat:
    """A flat picture in the store.

    Attributes:
        image: ``(h, w)`` grey or ``(h, w, 3)`` BGR.
        corners_mm: Where its upper left, upper right, lower right and lower left corner are.
    """

    image: Image
    corners_mm: tuple[Point3, Point3, Point3, Point3]

    @classmethod
    def placed(
        cls,
        image: Image,
        centre_mm: Point3,
        right: Point3,
        down: Point3,
        size_wh_mm: tuple[float, float],
    ) -> "Flat":
        """Return it anywhere: around a point, along two unit vectors."""
        middle = np.asarray(centre_mm, dtype=np.float64)
        across = np.asarray(right, dtype=np.float64) * size_wh_mm[0] / 2
        along = np.asarray(down, dtype=np.float64) * size_wh_mm[1] / 2
        corners = [
            middle - across - along,
            middle + across - along,
            middle + across + along,
            middle - across + along,
        ]
        one, two, three, four = ((float(x), float(y), float(z)) for x, y, z in corners)
        return cls(image, (one, two, three, four))

    @property
    def top_mm(self) -> float:
        """Return its highest corner's height."""
        return max(corner[2] for corner in self.corners_mm)


def paint_flat(image: Image, flat: Flat, camera: Camera) -> None:
    """Paint a flat picture into an ``(h, w, 3)`` one, as a pinhole camera sees it."""
    assert not any(camera.distortion), "a lens bends the whole image afterwards"
    corners = camera.project(flat.corners_mm)
    if not np.isfinite(corners).all() or not _faces(corners):
        return
    height, width = image.shape[:2]
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, (width, height)).astype(int)
    if (high <= low).any():
        return
    wide, tall = (int(side) for side in high - low)
    fine = _near_in_size(flat.image, corners)
    rows, columns = fine.shape[:2]
    # Pixels are squares around whole coordinates; the picture's corners are its outer edges.
    ring = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]]) - 0.5
    shift = (corners - low + 0.5) * FINE - 0.5
    to_image = cv2.getPerspectiveTransform(ring.astype(np.float32), shift.astype(np.float32))
    size = (wide * FINE, tall * FINE)
    drawn = cv2.warpPerspective(
        fine, to_image, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros((tall * FINE, wide * FINE), dtype=np.uint8)
    cv2.fillConvexPoly(mask, np.round(shift * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    share = cv2.resize(mask, (wide, tall), interpolation=cv2.INTER_AREA)
    small = cv2.resize(drawn, (wide, tall), interpolation=cv2.INTER_AREA)
    cover = np.asarray(share, dtype=np.float64)[:, :, None] / 255.0
    window = image[low[1] : high[1], low[0] : high[0]]
    window[:] = np.round(window * (1.0 - cover) + np.asarray(small) * cover).astype(np.uint8)


def _faces(corners: FloatArray) -> bool:
    """Return whether the printed side is seen: its corners then run clockwise."""
    x, y = corners.T
    return bool((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0)


def _near_in_size(picture: Image, corners: FloatArray) -> Image:
    """Return the picture in colour, no more than twice as fine as it is drawn."""
    colour = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
    longest = float(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).max())
    gain = 2.0 * FINE * longest / max(colour.shape[:2])
    if gain >= 1.0:
        return np.ascontiguousarray(colour)
    size = (max(round(colour.shape[1] * gain), 1), max(round(colour.shape[0] * gain), 1))
    return np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
