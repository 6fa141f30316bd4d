# SPDX-License-Identifier: Apache-2.0
"""What a lens does to a pinhole's picture: it is painted straight, larger, and bent as a whole."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from vision.flats import Image
from vision.geometry import Camera, FloatArray
from vision.lens import Distortion, bend, radius_max, straighten

CANVAS_MAX = 4.0
"""What a lens would show beyond so many times the image's size stays black."""
RIM = 0.999
"""As a share of how far a lens keeps the order of points: what lies beyond is taken to be there."""


@dataclass(frozen=True, slots=True)
class Bending:
    """What one camera's lens does to the picture of a pinhole at its place.

    Attributes:
        camera: With the lens.
        eye: The pinhole, whose picture is as much larger as the lens needs.
        map_x: ``(h, w)`` where each pixel is in that picture.
        map_y: Likewise.
    """

    camera: Camera
    eye: Camera
    map_x: npt.NDArray[np.float32]
    map_y: npt.NDArray[np.float32]

    @classmethod
    def of(cls, camera: Camera) -> "Bending | None":
        """Return what the camera's lens does; None for a pinhole."""
        if not any(camera.distortion):
            return None
        focal, centre = _optics(camera)
        told = (float(focal[0]), float(focal[1])), (float(centre[0]), float(centre[1]))
        straight = _straight(camera.size_wh, *told, camera.distortion)
        half = np.array(camera.size_wh) / 2
        away = float(np.nanmax(np.abs(straight * focal) / half))
        eye = camera.pinhole(float(np.clip(1.05 * away, 1.0, CANVAS_MAX)))
        places = straight * focal + _optics(eye)[1]
        maps = np.where(np.isfinite(places), places, -1e4).astype(np.float32)
        return cls(camera, eye, maps[:, :, 0].copy(), maps[:, :, 1].copy())

    def bent(self, image: Image, interpolation: int) -> Image:
        """Return the picture through the lens; black where the lens shows nothing."""
        return np.asarray(cv2.remap(image, self.map_x, self.map_y, interpolation), dtype=np.uint8)

    def shown(self, low_px: FloatArray, high_px: FloatArray) -> FloatArray:
        """Return ``(4, 2)`` where the lens shows the corners of a box of the pinhole's picture.

        Args:
            low_px: ``(2,)`` its least x and y.
            high_px: ``(2,)`` its greatest.
        """
        corners = np.array(
            [(x, y) for x in (low_px[0], high_px[0]) for y in (low_px[1], high_px[1])]
        )
        focal, centre = _optics(self.eye)
        flat = (corners - centre) / focal
        far = np.hypot(flat[:, 0], flat[:, 1]) / (RIM * radius_max(self.camera.distortion))
        return (
            bend(flat / np.maximum(far, 1.0)[:, None], self.camera.distortion) * focal
            + (_optics(self.camera)[1])
        )


def _optics(camera: Camera) -> tuple[FloatArray, FloatArray]:
    """Return ``(2,)`` focal lengths and ``(2,)`` principal point, in pixels."""
    return np.diag(camera.intrinsics)[:2], camera.intrinsics[:2, 2]


@lru_cache(maxsize=4)
def _straight(
    size_wh: tuple[int, int],
    focal_px: tuple[float, float],
    centre_px: tuple[float, float],
    distortion: Distortion,
) -> FloatArray:
    """Return ``(h, w, 2)`` where each pixel looks, one unit before the lens."""
    width, height = size_wh
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    flat = np.asarray((grid - centre_px) / focal_px, dtype=np.float64)
    return straighten(flat, distortion).reshape(height, width, 2)
