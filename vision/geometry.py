# SPDX-License-Identifier: Apache-2.0
"""From pixels to store millimetres and back, for one camera over one flat floor.

Store coordinates are millimetres: x and y on the floor, z up. Pixels have their origin at the
image's upper left corner, x to the right, y down. A camera with a calibrated lens is a
:class:`Camera`; one of which floor points alone are known is a :class:`FloorView`, and its lens is
taken as a pinhole. Both are a :class:`View`.

Source: Hartley and Zisserman, *Multiple View Geometry*, 2nd edition, 6.1 (the pinhole camera) and
8.1 (a plane's homography from it).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vision.homography import (
    POINTS_MIN,
    CalibrationError,
    FloatArray,
    apply_homography,
    centre_from_homography,
    homography_from_points,
)
from vision.lens import Distortion, bend, straighten

__all__ = [
    "POINTS_MIN",
    "CalibrationError",
    "Camera",
    "FloatArray",
    "FloorView",
    "ShelfFront",
    "View",
    "apply_homography",
    "homography_from_points",
]


class View(Protocol):
    """What is known of a camera: every pixel's line of sight."""

    @property
    def position_mm(self) -> FloatArray:
        """``(3,)`` centre of projection in the store."""
        ...

    def project(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 2)`` pixels of ``(n, 3)`` store points; NaN where one cannot be seen."""
        ...

    def rays(self, pixels: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 3)`` unit directions in store axes of ``(n, 2)`` pixels."""
        ...

    def floor(self, pixels: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 2)`` floor mm under ``(n, 2)`` pixels; NaN at and above the horizon."""
        ...

    def at_height(self, pixels: npt.ArrayLike, height_mm: float) -> FloatArray:
        """Return ``(n, 3)`` points where lines of sight reach a height; x and y NaN if never."""
        ...

    def scale_at_height(
        self, pixels: npt.ArrayLike, height_mm: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return what :meth:`at_height` does, and ``(n,)`` how many mm one pixel moves each."""
        ...

    def mm_per_px(self, pixel: npt.ArrayLike, height_mm: float = 0.0) -> float:
        """Return how many mm a point at this height moves for one pixel, the worse way."""
        ...


class _Sight:
    """What follows from a camera's place and its lines of sight."""

    __slots__ = ()

    def floor(self: View, pixels: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 2)`` floor mm under ``(n, 2)`` pixels; NaN at and above the horizon."""
        return np.asarray(self.at_height(pixels, 0.0)[:, :2])

    def at_height(self: View, pixels: npt.ArrayLike, height_mm: float) -> FloatArray:
        """Return ``(n, 3)`` points where lines of sight reach a height; x and y NaN if never."""
        rays = self.rays(pixels)
        rise = height_mm - self.position_mm[2]
        steep = np.where(np.abs(rays[:, 2]) > 1e-9, rays[:, 2], np.nan)
        far = rise / steep
        far = np.where(far > 0.0, far, np.nan)
        flat = self.position_mm[:2] + rays[:, :2] * far[:, None]
        return np.column_stack([flat, np.full(len(flat), float(height_mm))])

    def scale_at_height(
        self: View, pixels: npt.ArrayLike, height_mm: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return what :meth:`at_height` does, and ``(n,)`` how many mm one pixel moves each.

        The latter is that of the worse way, and infinite beside the horizon.
        """
        middle = np.asarray(pixels, dtype=np.float64).reshape(-1, 1, 2)
        around = self.at_height((middle + _AROUND_PX).reshape(-1, 2), height_mm)
        points = around.reshape(-1, len(_AROUND_PX), 3)
        # Columns of the Jacobian; its larger singular value in closed form for two by two.
        one, other = points[:, 2, :2] - points[:, 1, :2], points[:, 4, :2] - points[:, 3, :2]
        squares = (one**2).sum(axis=1) + (other**2).sum(axis=1)
        area = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
        rest = np.sqrt(np.maximum(squares**2 - 4.0 * area**2, 0.0))
        return points[:, 0], np.nan_to_num(
            np.sqrt((squares + rest) / 2.0), nan=np.inf, posinf=np.inf
        )

    def mm_per_px(self: View, pixel: npt.ArrayLike, height_mm: float = 0.0) -> float:
        """Return how many mm a point at this height moves for one pixel, the worse way."""
        return float(self.scale_at_height(pixel, height_mm)[1][0])


_AROUND_PX = np.array([(0.0, 0.0), (-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)])
"""A pixel, and half a pixel left and right, above and below."""


@dataclass(frozen=True, slots=True)
class Camera(_Sight):
    """A camera with known optics and pose.

    Attributes:
        intrinsics: ``(3, 3)`` matrix K, pixels.
        rotation: ``(3, 3)`` matrix R that turns store axes into camera axes (x right, y down,
            z forward).
        position_mm: ``(3,)`` centre of projection in the store.
        size_wh: Image width and height in pixels.
        distortion: Coefficients of the lens as :mod:`vision.lens` has them; empty for a pinhole.
    """

    intrinsics: FloatArray
    rotation: FloatArray
    position_mm: FloatArray
    size_wh: tuple[int, int]
    distortion: Distortion = ()

    @classmethod
    def overhead(
        cls,
        position_mm: tuple[float, float, float],
        focal_px: float,
        size_wh: tuple[int, int],
        *,
        tilt_rad: tuple[float, float] = (0.0, 0.0),
        yaw_rad: float = 0.0,
        distortion: Distortion = (),
    ) -> "Camera":
        """Return a camera that looks down, with store x to the image's right and y upwards.

        Args:
            position_mm: Centre of projection.
            focal_px: Focal length of square pixels.
            size_wh: Image width and height in pixels.
            tilt_rad: Rotation about the image's x and y axes, from straight down.
            yaw_rad: Rotation about the optical axis.
            distortion: Of the lens.
        """
        down = np.diag([1.0, -1.0, -1.0])
        (sin_a, cos_a), (sin_b, cos_b), (sin_c, cos_c) = (
            (np.sin(angle), np.cos(angle)) for angle in (*tilt_rad, yaw_rad)
        )
        about_x = np.array([[1, 0, 0], [0, cos_a, -sin_a], [0, sin_a, cos_a]])
        about_y = np.array([[cos_b, 0, sin_b], [0, 1, 0], [-sin_b, 0, cos_b]])
        about_z = np.array([[cos_c, -sin_c, 0], [sin_c, cos_c, 0], [0, 0, 1]])
        rotation = about_z @ about_y @ about_x @ down
        place = np.asarray(position_mm, dtype=np.float64)
        return cls(_intrinsics(focal_px, size_wh), rotation, place, size_wh, distortion)

    @classmethod
    def looking_at(
        cls,
        position_mm: tuple[float, float, float],
        target_mm: tuple[float, float, float],
        focal_px: float,
        size_wh: tuple[int, int],
        *,
        distortion: Distortion = (),
    ) -> "Camera":
        """Return a camera upright at a place with a point of the store in its middle.

        Args:
            position_mm: Centre of projection.
            target_mm: What is in the image's middle; neither right above nor below it.
            focal_px: Focal length of square pixels.
            size_wh: Image width and height in pixels.
            distortion: Of the lens.
        """
        place = np.asarray(position_mm, dtype=np.float64)
        forward = np.asarray(target_mm, dtype=np.float64) - place
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right = right / np.linalg.norm(right)
        rotation = np.array([right, np.cross(forward, right), forward])
        return cls(_intrinsics(focal_px, size_wh), rotation, place, size_wh, distortion)

    def project(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 2)`` pixels of ``(n, 3)`` store points; NaN where one cannot be seen."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        seen = (points - self.position_mm) @ self.rotation.T
        depth = np.where(seen[:, 2] > 1.0, seen[:, 2], np.nan)
        flat = bend(np.asarray(seen[:, :2] / depth[:, None]), self.distortion)
        return np.asarray(flat @ self.intrinsics[:2, :2].T + self.intrinsics[:2, 2])

    def rays(self, pixels: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 3)`` unit directions in store axes of ``(n, 2)`` pixels."""
        points = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        bent = (points - self.intrinsics[:2, 2]) @ np.linalg.inv(self.intrinsics[:2, :2]).T
        flat = straighten(np.asarray(bent), self.distortion)
        rays = np.column_stack([flat, np.ones(len(flat))]) @ self.rotation
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))

    def pinhole(self, beyond: float = 1.0) -> "Camera":
        """Return this camera without its lens's distortion.

        Args:
            beyond: How many times as wide and as high its image is, around the same middle.
        """
        width, height = (round(side * beyond) for side in self.size_wh)
        intrinsics = self.intrinsics.copy()
        intrinsics[0, 2] += (width - self.size_wh[0]) / 2
        intrinsics[1, 2] += (height - self.size_wh[1]) / 2
        return replace(self, intrinsics=intrinsics, size_wh=(width, height), distortion=())

    def view(self) -> "FloorView":
        """Return what floor points and the place tell of this camera, its lens left out."""
        translation = -self.rotation @ self.position_mm
        columns = np.column_stack([self.rotation[:, 0], self.rotation[:, 1], translation])
        return FloorView(self.intrinsics @ columns, self.position_mm)


@dataclass(frozen=True, slots=True)
class FloorView(_Sight):
    """What floor points and the camera's place tell: enough for every line of sight.

    The line through the camera and the floor point under a pixel is that pixel's line of sight,
    so that neither focal length nor orientation is needed on their own.

    Attributes:
        homography: ``(3, 3)`` matrix from floor millimetres ``(x, y, 1)`` to pixels; its third row
            is positive for what lies before the camera.
        position_mm: ``(3,)`` centre of projection in the store.
    """

    homography: FloatArray
    position_mm: FloatArray
    _back: FloatArray = field(init=False, repr=False, compare=False)
    """The homography's inverse: asked for several times a person."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_back", np.linalg.inv(self.homography))

    @classmethod
    def from_points(
        cls,
        points_px: npt.ArrayLike,
        points_mm: npt.ArrayLike,
        *,
        size_wh: tuple[int, int] | None = None,
        position_mm: Sequence[float] | None = None,
    ) -> "FloorView":
        """Calibrate from known points on the floor.

        Args:
            points_px: ``(n, 2)`` where they are seen, ``n >= 4``, no three in a line.
            points_mm: ``(n, 2)`` where they are on the floor.
            size_wh: Image size; needed only without ``position_mm``.
            position_mm: The camera's place. Without it square pixels and a centred principal
                point are assumed, and the camera has to be tilted by some degrees: seen from
                straight above, a low wide lens and a high narrow one look the same.

        Raises:
            CalibrationError: The points, or their number, do not determine the view.
        """
        homography = homography_from_points(points_mm, points_px)
        if position_mm is None:
            if size_wh is None:
                raise CalibrationError("camera: neither position nor image size. Give position_mm")
            centre = centre_from_homography(homography, size_wh)
        else:
            centre = np.asarray(position_mm, dtype=np.float64).reshape(3)
        if not centre[2] > 0:
            raise CalibrationError(
                f"camera: stands {centre[2]:.0f} mm above the floor. Check position_mm"
            )
        return cls(homography, centre)

    def project(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 2)`` pixels of ``(n, 3)`` store points; NaN from the camera's height on."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        drop = self.position_mm[2] - points[:, 2]
        scale = self.position_mm[2] / np.where(drop > 0, drop, np.nan)
        floor = self.position_mm[:2] + (points[:, :2] - self.position_mm[:2]) * scale[:, None]
        ahead = np.column_stack([floor, np.ones(len(floor))]) @ self.homography[2] > 0
        pixels = apply_homography(self.homography, np.asarray(floor, dtype=np.float64))
        return np.where(ahead[:, None], pixels, np.nan)

    def rays(self, pixels: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 3)`` unit directions in store axes of ``(n, 2)`` pixels."""
        points = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        # The third number is positive where the floor is before the camera, and shrinks to zero
        # at the horizon: multiplied out, the direction turns upwards there without a jump.
        floor = np.column_stack([points, np.ones(len(points))]) @ self._back.T
        flat = floor[:, :2] - floor[:, 2:] * self.position_mm[:2]
        rays = np.column_stack([flat, -floor[:, 2] * self.position_mm[2]])
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


@dataclass(frozen=True, slots=True)
class ShelfFront:
    """The upright rectangle through which hands reach into a gondola.

    Looking from its start to its end, the products lie to the left and the aisle to the right.

    Attributes:
        start_mm: ``(x, y)`` of one end of its front line on the floor.
        end_mm: ``(x, y)`` of the other end.
        z_min_mm: Lowest shelf's height.
        z_max_mm: Highest shelf's height.
        levels_mm: The heights of all shelves; the lowest and the highest alone where empty.
        depth_mm: How far the products reach behind it.
    """

    start_mm: tuple[float, float]
    end_mm: tuple[float, float]
    z_min_mm: float
    z_max_mm: float
    levels_mm: tuple[float, ...] = ()
    depth_mm: float = 400.0


def _intrinsics(focal_px: float, size_wh: tuple[int, int]) -> FloatArray:
    return np.array([[focal_px, 0, size_wh[0] / 2], [0, focal_px, size_wh[1] / 2], [0, 0, 1.0]])
