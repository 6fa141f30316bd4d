# SPDX-License-Identifier: Apache-2.0
"""How a lens bends straight lines, and how that is undone.

Points are ``(n, 2)`` on the plane one unit before the camera: x right, y down, no pixels yet. The
coefficients are those of OpenCV, in its order: k1, k2, p1, p2, k3, and for wide lenses k4, k5, k6.

Sources: D. C. Brown, *Decentering Distortion of Lenses*, Photogrammetric Engineering 32 (1966), for
k and p; D. Claus and A. Fitzgibbon, *A Rational Function Lens Distortion Model*, CVPR 2005, for the
denominator.
"""

from functools import lru_cache

import numpy as np

from vision.homography import FloatArray

Distortion = tuple[float, ...]

COEFFICIENTS_MAX = 8
RADIUS_MAX = 6.0
"""The tangent of 80 degrees off the axis: no lens of this kind sees further."""
STEPS = 512
ROUNDS = 6
"""Newton's steps from the table's guess, which is within 1 %."""


def bend(points: FloatArray, distortion: Distortion) -> FloatArray:
    """Return where ``(n, 2)`` straight points are seen; NaN beyond what the lens can show."""
    if not any(distortion):
        return points
    seen = _bent(points, distortion)
    beyond = ~(np.hypot(points[:, 0], points[:, 1]) <= radius_max(distortion))
    return np.where(beyond[:, None], np.nan, seen)


def straighten(points: FloatArray, distortion: Distortion) -> FloatArray:
    """Return the ``(n, 2)`` straight points that are seen at ``(n, 2)``; NaN where none is."""
    if not any(distortion):
        return points
    straight, bent = _table(distortion)
    radius = np.hypot(points[:, 0], points[:, 1])
    gain = np.interp(radius, bent, straight) / np.maximum(radius, 1e-12)
    # Within a margin for p1 and p2, which shift the rim a little.
    inside = radius <= 1.02 * bent[-1]
    guess = np.where(inside[:, None], points * gain[:, None], 0.0)
    step = 1e-6
    right, down = np.array([step, 0.0]), np.array([0.0, step])
    for _ in range(ROUNDS):
        off = _bent(guess, distortion) - points
        by_x = (_bent(guess + right, distortion) - off - points) / step
        by_y = (_bent(guess + down, distortion) - off - points) / step
        area = by_x[:, 0] * by_y[:, 1] - by_y[:, 0] * by_x[:, 1]
        area = np.where(np.abs(area) > 1e-9, area, np.inf)
        move_x = (off[:, 0] * by_y[:, 1] - off[:, 1] * by_y[:, 0]) / area
        move_y = (by_x[:, 0] * off[:, 1] - by_x[:, 1] * off[:, 0]) / area
        guess = guess - np.column_stack([move_x, move_y])
    missed = np.abs(_bent(guess, distortion) - points).max(axis=1) > 1e-6
    return np.where((missed | ~inside)[:, None], np.nan, guess)


def radius_max(distortion: Distortion) -> float:
    """Return how far from the axis the lens keeps the order of points, at most 6."""
    return float(_table(distortion)[0][-1])


def _bent(points: FloatArray, distortion: Distortion) -> FloatArray:
    k1, k2, p1, p2, k3, k4, k5, k6 = _padded(distortion)
    x, y = points[:, 0], points[:, 1]
    square = x * x + y * y
    gain = 1.0 + square * (k1 + square * (k2 + square * k3))
    gain = gain / (1.0 + square * (k4 + square * (k5 + square * k6)))
    cross = 2.0 * x * y
    return np.column_stack(
        [
            x * gain + p1 * cross + p2 * (square + 2.0 * x * x),
            y * gain + p1 * (square + 2.0 * y * y) + p2 * cross,
        ]
    )


@lru_cache(maxsize=64)
def _table(distortion: Distortion) -> tuple[FloatArray, FloatArray]:
    """Return straight and bent radii as far as both grow, without p1 and p2."""
    k1, k2, _, _, k3, k4, k5, k6 = _padded(distortion)
    straight = np.linspace(0.0, RADIUS_MAX, STEPS)
    square = straight * straight
    above = 1.0 + square * (k1 + square * (k2 + square * k3))
    below = 1.0 + square * (k4 + square * (k5 + square * k6))
    bent = straight * above / np.where(below > 0.01, below, np.inf)
    turns = np.flatnonzero(np.diff(bent) <= 0)
    end = int(turns[0]) + 1 if len(turns) else STEPS
    return straight[: max(end, 2)], bent[: max(end, 2)]


def _padded(distortion: Distortion) -> Distortion:
    return (*distortion, *[0.0] * (COEFFICIENTS_MAX - len(distortion)))
