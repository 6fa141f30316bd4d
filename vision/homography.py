# SPDX-License-Identifier: Apache-2.0
"""A plane's homography from points, and what it tells of the camera.

Sources: Hartley and Zisserman, *Multiple View Geometry*, 2nd edition: 4.1 and 4.4 (normalised
direct linear transform), 8.1 (a plane's homography from a camera), 8.8 (focal length from
constraints on the image of the absolute conic).
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

POINTS_MIN = 4
"""A homography has eight unknowns and each point gives two equations."""


class CalibrationError(ValueError):
    """What was measured does not determine the camera."""


def homography_from_points(source: npt.ArrayLike, target: npt.ArrayLike) -> FloatArray:
    """Return the ``(3, 3)`` homography that takes ``(n, 2)`` source to target points.

    The least-squares solution of the normalised direct linear transform.

    Raises:
        CalibrationError: Fewer than four points, not as many of both, or (nearly) in a line.
    """
    from_points = np.asarray(source, dtype=np.float64).reshape(-1, 2)
    to_points = np.asarray(target, dtype=np.float64).reshape(-1, 2)
    if len(from_points) != len(to_points):
        raise CalibrationError(
            f"floor points: {len(from_points)} of one kind and {len(to_points)} of the other. "
            "Give each in pixels and in mm"
        )
    if len(from_points) < POINTS_MIN:
        raise CalibrationError(
            f"floor points: {len(from_points)} given. Give at least {POINTS_MIN}, each in pixels "
            "and in mm"
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


def _normaliser(points: FloatArray) -> FloatArray:
    """Return the similarity that centres points and scales their mean distance to sqrt(2)."""
    centre = points.mean(axis=0)
    spread = float(np.linalg.norm(points - centre, axis=1).mean())
    if spread == 0.0:
        raise CalibrationError("floor points: all the same. Spread them over the floor")
    scale = np.sqrt(2.0) / spread
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1.0]])


def centre_from_homography(homography: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
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
