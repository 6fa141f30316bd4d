# SPDX-License-Identifier: Apache-2.0
"""From pixels to store millimetres and back, for one camera over one flat floor.

Store coordinates are millimetres: x and y on the floor, z up. Pixels have their origin at the
image's upper left corner, x to the right, y down. Lenses are pinholes: an image with visible
distortion has to be undistorted before it comes here.

Sources: Hartley and Zisserman, *Multiple View Geometry*, 2nd edition: 4.1 and 4.4 (normalised
direct linear transform), 8.1 (a plane's homography from a camera), 8.8 (focal length from
constraints on the image of the absolute conic).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

POINTS_MIN = 4
"""A homography has eight unknowns and each point gives two equations."""


class CalibrationError(ValueError):
    """The points given do not determine the camera."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera with known optics, used to render scenes.

    Attributes:
        intrinsics: ``(3, 3)`` matrix K, pixels.
        rotation: ``(3, 3)`` matrix R that turns store axes into camera axes (x right, y down,
            z forward).
        position_mm: ``(3,)`` centre of projection in the store.
        size_wh: Image width and height in pixels.
    """

    intrinsics: FloatArray
    rotation: FloatArray
    position_mm: FloatArray
    size_wh: tuple[int, int]

    @classmethod
    def overhead(
        cls,
        position_mm: tuple[float, float, float],
        focal_px: float,
        size_wh: tuple[int, int],
        *,
        tilt_rad: tuple[float, float] = (0.0, 0.0),
        yaw_rad: float = 0.0,
    ) -> "Camera":
        """Return a camera that looks down, with store x to the image's right and y upwards.

        Args:
            position_mm: Centre of projection.
            focal_px: Focal length of square pixels.
            size_wh: Image width and height in pixels.
            tilt_rad: Rotation about the image's x and y axes, from straight down.
            yaw_rad: Rotation about the optical axis.
        """
        width, height = size_wh
        intrinsics = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
        down = np.diag([1.0, -1.0, -1.0])
        (sin_a, cos_a), (sin_b, cos_b), (sin_c, cos_c) = (
            (np.sin(angle), np.cos(angle)) for angle in (*tilt_rad, yaw_rad)
        )
        about_x = np.array([[1, 0, 0], [0, cos_a, -sin_a], [0, sin_a, cos_a]])
        about_y = np.array([[cos_b, 0, sin_b], [0, 1, 0], [-sin_b, 0, cos_b]])
        about_z = np.array([[cos_c, -sin_c, 0], [sin_c, cos_c, 0], [0, 0, 1]])
        rotation = about_z @ about_y @ about_x @ down
        return cls(intrinsics, rotation, np.asarray(position_mm, dtype=np.float64), size_wh)

    def project(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 2)`` pixels of ``(n, 3)`` store points; NaN for those behind the camera."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        seen = (points - self.position_mm) @ (self.intrinsics @ self.rotation).T
        depth = np.where(seen[:, 2] > 1.0, seen[:, 2], np.nan)
        return np.asarray(seen[:, :2] / depth[:, None])

    def rays(self, pixels: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 3)`` unit directions in store axes of ``(n, 2)`` pixels."""
        points = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        homogeneous = np.column_stack([points, np.ones(len(points))])
        rays = homogeneous @ np.linalg.inv(self.intrinsics @ self.rotation).T
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))

    def view(self) -> "FloorView":
        """Return what an installer's calibration of this camera would find."""
        translation = -self.rotation @ self.position_mm
        columns = np.column_stack([self.rotation[:, 0], self.rotation[:, 1], translation])
        return FloorView(self.intrinsics @ columns, self.position_mm)


@dataclass(frozen=True, slots=True)
class FloorView:
    """What floor points and the camera's place tell: enough for every line of sight.

    The line through the camera and the floor point under a pixel is that pixel's line of sight,
    so that neither focal length nor orientation is needed on their own.

    Attributes:
        homography: ``(3, 3)`` matrix from floor millimetres ``(x, y, 1)`` to pixels.
        position_mm: ``(3,)`` centre of projection in the store.
    """

    homography: FloatArray
    position_mm: FloatArray

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
            centre = _centre_from_homography(homography, size_wh)
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
        return apply_homography(self.homography, np.asarray(floor, dtype=np.float64))

    def floor(self, pixels: npt.ArrayLike) -> FloatArray:
        """Return ``(n, 2)`` floor millimetres under ``(n, 2)`` pixels."""
        return apply_homography(
            np.asarray(np.linalg.inv(self.homography), dtype=np.float64), pixels
        )

    def at_height(self, pixels: npt.ArrayLike, height_mm: float) -> FloatArray:
        """Return ``(n, 3)`` points where the lines of sight of ``(n, 2)`` pixels reach a height."""
        floor = self.floor(pixels)
        share = 1.0 - height_mm / self.position_mm[2]
        flat = self.position_mm[:2] + (floor - self.position_mm[:2]) * share
        return np.column_stack([flat, np.full(len(flat), float(height_mm))])

    def mm_per_px(self, pixel: npt.ArrayLike, height_mm: float = 0.0) -> float:
        """Return how many mm a point at this height moves for one pixel, the worse way."""
        x, y = np.asarray(pixel, dtype=np.float64).reshape(2)
        around = self.at_height([[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]], height_mm)
        jacobian = np.column_stack([around[1] - around[0], around[3] - around[2]])[:2]
        return float(np.linalg.svd(jacobian, compute_uv=False)[0])


@dataclass(frozen=True, slots=True)
class ShelfFront:
    """The upright rectangle through which hands reach into a gondola.

    Looking from its start to its end, the products lie to the left and the aisle to the right.

    Attributes:
        start_mm: ``(x, y)`` of one end of its front line on the floor.
        end_mm: ``(x, y)`` of the other end.
        z_min_mm: Lowest shelf's height.
        z_max_mm: Highest shelf's height.
    """

    start_mm: tuple[float, float]
    end_mm: tuple[float, float]
    z_min_mm: float
    z_max_mm: float


def homography_from_points(source: npt.ArrayLike, target: npt.ArrayLike) -> FloatArray:
    """Return the ``(3, 3)`` homography that takes ``(n, 2)`` source to target points.

    The least-squares solution of the normalised direct linear transform.

    Raises:
        CalibrationError: Fewer than four points, or points (nearly) in a line.
    """
    from_points = np.asarray(source, dtype=np.float64).reshape(-1, 2)
    to_points = np.asarray(target, dtype=np.float64).reshape(-1, 2)
    if len(from_points) != len(to_points) or len(from_points) < POINTS_MIN:
        raise CalibrationError(
            f"floor points: {len(from_points)} and {len(to_points)} given. "
            f"Give at least {POINTS_MIN}, each in pixels and in mm"
        )
    if not (np.isfinite(from_points).all() and np.isfinite(to_points).all()):
        raise CalibrationError("floor points: not all are finite numbers. Correct them")
    from_norm, to_norm = _normaliser(from_points), _normaliser(to_points)
    p, q = apply_homography(from_norm, from_points), apply_homography(to_norm, to_points)
    one, zero = np.ones(len(p)), np.zeros(len(p))
    x_rows = np.column_stack(
        [p, one, zero, zero, zero, -q[:, 0] * p[:, 0], -q[:, 0] * p[:, 1], -q[:, 0]]
    )
    y_rows = np.column_stack(
        [zero, zero, zero, p, one, -q[:, 1] * p[:, 0], -q[:, 1] * p[:, 1], -q[:, 1]]
    )
    _, sizes, rows = np.linalg.svd(np.vstack([x_rows, y_rows]))
    solved = rows[-1].reshape(3, 3)
    if sizes[7] < 1e-6 * sizes[0] or np.linalg.cond(solved) > 1e8:
        raise CalibrationError("floor points: (nearly) in one line. Spread them over the floor")
    homography = np.linalg.inv(to_norm) @ solved @ from_norm
    # The sign is free; fix it so that the points given lie in front of the camera.
    depth = np.column_stack([from_points, one]) @ homography[2]
    if not ((depth > 0).all() or (depth < 0).all()):
        raise CalibrationError("floor points: some lie behind the camera. Check their pairing")
    return np.asarray(homography * np.sign(depth[0]) / np.linalg.norm(homography))


def apply_homography(homography: FloatArray, points: npt.ArrayLike) -> FloatArray:
    """Return ``(n, 2)`` points taken through a ``(3, 3)`` homography; NaN where they vanish."""
    flat = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    mapped = np.column_stack([flat, np.ones(len(flat))]) @ homography.T
    scale = np.where(np.abs(mapped[:, 2]) > 1e-15, mapped[:, 2], np.nan)
    return np.asarray(mapped[:, :2] / scale[:, None])


def meet_fronts(
    view: FloorView,
    pixel: npt.ArrayLike,
    fronts: Sequence[ShelfFront],
    *,
    inside_mm: float = 0.0,
    below_mm: float = 150.0,
    above_mm: float = 450.0,
    beside_mm: float = 100.0,
) -> FloatArray | None:
    """Return the ``(3,)`` nearest point where a pixel's line of sight meets a shelf front.

    Args:
        view: The calibrated camera.
        pixel: ``(2,)`` image point.
        fronts: The rectangles to look through.
        inside_mm: How far behind the front the meeting is looked for.
        below_mm: How far under the lowest shelf a meeting still counts.
        above_mm: How far over the highest shelf it still counts: a hand is above what it takes.
        beside_mm: How far beyond either end it still counts.

    Returns:
        None if no front is met.
    """
    [toward] = view.at_height(pixel, 0.0)
    direction = toward - view.position_mm
    best, best_share = None, np.inf
    for front in fronts:
        start = np.asarray(front.start_mm, dtype=np.float64)
        along = np.asarray(front.end_mm, dtype=np.float64) - start
        length = float(np.hypot(along[0], along[1]))
        if length == 0.0:
            continue
        normal = np.array([-along[1], along[0]]) / length
        start = start + inside_mm * normal
        closing = float(normal @ direction[:2])
        if abs(closing) < 1e-9:
            continue
        share = float(normal @ (start - view.position_mm[:2])) / closing
        point = view.position_mm + share * direction
        offset = float((point[:2] - start) @ along) / length
        level = front.z_min_mm - below_mm <= point[2] <= front.z_max_mm + above_mm
        if 0 < share < best_share and level and -beside_mm <= offset <= length + beside_mm:
            best, best_share = point, share
    return best


def _normaliser(points: FloatArray) -> FloatArray:
    """Return the similarity that centres points and scales their mean distance to sqrt(2)."""
    centre = points.mean(axis=0)
    spread = float(np.linalg.norm(points - centre, axis=1).mean())
    if spread == 0.0:
        raise CalibrationError("floor points: all the same. Spread them over the floor")
    scale = np.sqrt(2.0) / spread
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1.0]])


def _centre_from_homography(homography: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return the camera's place, from square pixels and a centred principal point.

    With ``H ~ K [r1 r2 t]`` and r1, r2 orthonormal, both constraints are linear in ``1 / f**2``.
    """
    shift = np.array([[1, 0, -size_wh[0] / 2], [0, 1, -size_wh[1] / 2], [0, 0, 1.0]])
    centred = shift @ homography
    h1, h2 = centred[:, 0], centred[:, 1]
    gain = np.array([h1[:2] @ h2[:2], h1[:2] @ h1[:2] - h2[:2] @ h2[:2]])
    free = -np.array([h1[2] * h2[2], h1[2] ** 2 - h2[2] ** 2])
    inverse_square = float(gain @ free) / max(float(gain @ gain), 1e-300)
    # How much of the plane's appearance is perspective: zero straight from above.
    slant = np.hypot(h1[2], h2[2]) * max(size_wh) / max(np.linalg.norm(h1[:2]), 1e-300)
    if slant < 0.05 or inverse_square <= 0:
        raise CalibrationError(
            "camera: looks (nearly) straight down, so its height cannot be told from floor "
            "points. Give position_mm"
        )
    focal_inverse = np.diag([np.sqrt(inverse_square), np.sqrt(inverse_square), 1.0])
    columns = focal_inverse @ centred
    columns = columns / np.sqrt(np.linalg.norm(columns[:, 0]) * np.linalg.norm(columns[:, 1]))
    r1, r2, translation = columns.T
    u, _, v = np.linalg.svd(np.column_stack([r1, r2, np.cross(r1, r2)]))
    return np.asarray(-(u @ v).T @ translation)
