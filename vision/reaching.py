# SPDX-License-Identifier: Apache-2.0
"""Where along its line of sight a wrist is: what shelves and the body allow, weighed. Pure.

A camera sees a direction. A wrist is at a shelf, hangs beside the body, or is before it within an
arm's reach; how likely each place on the line is follows from these three, and the mean and the
deviation of that are what is told. Shares of stature are those of R. Drillis and R. Contini, *Body
Segment Parameters* (1966): shoulders at 0.818 of it, an arm of 0.332 to the wrist; spreads allow
for clothes, postures and for hands rather than wrists being what models find.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.geometry import FloatArray, ShelfFront, View

STATURE_MM = 1_700.0
STATURE_SIGMA_MM = 100.0
HEAD_BELOW_MM = 105.0
"""From the top of the head to its middle."""
SHOULDER_SHARE = 0.818
SHOULDER_HALF_MM = 200.0
REACH_SHARE = 0.332
HAND_MM = 90.0
"""From the wrist to the middle of the hand, which a model may call the wrist."""
LEAN_MM = 150.0
"""How softly reach ends: people lean and bend."""
BEND_MM = 500.0
"""How far shoulders come down to a low shelf."""
REST_SHARE = 0.50
REST_SIGMA_MM = 60.0
REST_OUT_MM = 310.0
REST_OUT_SIGMA_MM = 70.0
"""Hanging hands are on a ring of this radius around the body's middle."""
DEEP_MM = 70.0
DEEP_SIGMA_MM = 45.0
"""How far behind a front a hand at work is."""
ABOVE_MM = 130.0
ABOVE_SIGMA_MM = 60.0
"""How far above its shelf."""
BEHIND_MM = 600.0
"""How deep a gondola is taken to be."""
INSIDE_MM = (100.0, 50.0)
"""Nobody stands behind a front: from so far behind it, where feet are found askew, until so far
behind the goods."""
BESIDE_MM = 40.0
SHELF, REST, FREE = 0.60, 0.36, 0.04
"""How often a wrist whose line of sight allows all three is at a shelf, hangs, or is elsewhere."""
UNKNOWN_HEIGHT_MM = 1_100.0
UNKNOWN_SIGMA_MM = 250.0
"""Of a wrist of which nobody's body is known."""
LOW_MM, HIGH_MM = 150.0, 2_200.0
STEPS = 160
NEAR_MM, FAR_MM = 200.0, 20_000.0
AROUND_MM = 1_500.0
"""No wrist is further from its own feet, on the floor plan."""


@dataclass(frozen=True, slots=True)
class Stance:
    """A body as far as it is known.

    Attributes:
        floor_mm: ``(2,)`` between its feet.
        floor_sigma_mm: Standard deviation of that, each axis.
        stature_mm: How tall it is.
        stature_sigma_mm: Standard deviation of that.
    """

    floor_mm: FloatArray
    floor_sigma_mm: float
    stature_mm: float = STATURE_MM
    stature_sigma_mm: float = STATURE_SIGMA_MM


def stature(
    view: View, head_px: FloatArray, floor_mm: FloatArray, floor_sigma_mm: float
) -> tuple[float, float]:
    """Return stature and its deviation from where a head is seen above a place on the floor.

    The line of sight to the head passes the upright above the feet at the head's height; how well
    that is told depends on how steeply the camera looks. What people measure is weighed in.
    """
    [ray] = view.rays(head_px)
    across = float(np.hypot(ray[0], ray[1]))
    if not np.isfinite(across) or across < 1e-3:
        return STATURE_MM, STATURE_SIGMA_MM
    share = float(ray[:2] @ (floor_mm - view.position_mm[:2])) / across**2
    seen = float(view.position_mm[2]) + share * float(ray[2]) + HEAD_BELOW_MM
    sigma = float(np.hypot(floor_sigma_mm, 60.0)) * abs(float(ray[2])) / across
    weight = STATURE_SIGMA_MM**2 / (STATURE_SIGMA_MM**2 + max(sigma, 1.0) ** 2)
    told = STATURE_MM + weight * (seen - STATURE_MM)
    spread = STATURE_SIGMA_MM * np.sqrt(1.0 - weight)
    return float(np.clip(told, 1_200.0, 2_100.0)), float(max(spread, 25.0))


def wrist_along(
    view: View, pixel: FloatArray, fronts: Sequence[ShelfFront], stance: Stance | None
) -> tuple[FloatArray, float] | None:
    """Return where on its line of sight a wrist is, and how surely.

    Args:
        view: The camera.
        pixel: ``(2,)`` where the wrist is seen.
        fronts: Where hands reach in.
        stance: Its owner's body; None if unknown.

    Returns:
        ``(3,)`` the place, and the standard deviation along the line, mm; None where the line
        passes no place where a wrist could be.
    """
    [ray] = view.rays(pixel)
    span = _span(view, ray, stance)
    if span is None and stance is not None:
        stance = None  # These feet are another body's.
        span = _span(view, ray, None)
    if span is None:
        return None
    far = np.linspace(*span, STEPS)
    points = view.position_mm + far[:, None] * ray
    weights = _likely(points, fronts, stance)
    if stance is not None and weights.sum() < 1e-15:
        return wrist_along(view, pixel, fronts, None)
    # A pixel sees more of the store the further away it looks.
    weights = weights * far**2
    total = float(weights.sum())
    if not total > 0.0:
        return None
    # The median: a mean would lie between a shelf and the aisle, where no wrist is.
    middle = float(np.interp(0.5 * total, np.cumsum(weights) - 0.5 * weights, far))
    spread = float(np.sqrt(weights @ (far - middle) ** 2 / total))
    return view.position_mm + middle * ray, max(spread, float(far[1] - far[0]) / 2)


def _span(view: View, ray: FloatArray, stance: Stance | None) -> tuple[float, float] | None:
    """Return from where to where on the line of sight a wrist may be."""
    if not np.isfinite(ray).all():
        return None
    low, high = NEAR_MM, FAR_MM
    if abs(ray[2]) > 1e-6:
        ends = sorted((level - float(view.position_mm[2])) / float(ray[2]) for level in _LEVELS)
        low, high = max(low, ends[0]), min(high, ends[1])
    elif not LOW_MM <= view.position_mm[2] <= HIGH_MM:
        return None
    across = float(ray[0] ** 2 + ray[1] ** 2)
    if stance is not None and across > 1e-9:
        away = stance.floor_mm - view.position_mm[:2]
        nearest = float(ray[:2] @ away) / across
        aside = float(away @ away) - across * nearest**2
        if aside >= AROUND_MM**2:
            return None
        half = float(np.sqrt((AROUND_MM**2 - aside) / across))
        low, high = max(low, nearest - half), min(high, nearest + half)
    return (low, high) if high - low > 1.0 else None


_LEVELS = (LOW_MM, HIGH_MM)


def _likely(points: FloatArray, fronts: Sequence[ShelfFront], stance: Stance | None) -> FloatArray:
    """Return ``(n,)`` how likely a wrist is at ``(n, 3)`` points, a cubic mm each."""
    shelf, open_air = np.zeros(len(points)), np.ones(len(points))
    for front in fronts:
        at, behind = _at_shelf(points, front)
        shelf, open_air = np.maximum(shelf, at), open_air * ~behind
    if stance is None:
        height = _normal(points[:, 2], UNKNOWN_HEIGHT_MM, UNKNOWN_SIGMA_MM)
        return np.asarray(SHELF * shelf + (1.0 - SHELF) * open_air * height * 1e-7)
    middle = SHOULDER_SHARE * stance.stature_mm
    reach = REACH_SHARE * stance.stature_mm + HAND_MM + SHOULDER_HALF_MM
    out = np.hypot(*(points[:, :2] - stance.floor_mm).T)
    soft = float(np.hypot(LEAN_MM / 2, stance.floor_sigma_mm))
    below = np.maximum(middle - points[:, 2], 0.0)
    above = np.maximum(points[:, 2] - middle, 0.0)
    within = _within(np.hypot(out, above + below) - reach, soft)
    # For a low shelf people bend or crouch.
    bent = _within(np.hypot(out, above + np.maximum(below - BEND_MM, 0.0)) - reach, soft)
    volume = 4.0 / 3.0 * np.pi * reach**3
    ring = float(np.hypot(REST_OUT_SIGMA_MM, stance.floor_sigma_mm))
    level = float(np.hypot(REST_SIGMA_MM, REST_SHARE * stance.stature_sigma_mm))
    rest = _normal(points[:, 2], REST_SHARE * stance.stature_mm, level)
    rest = rest * _normal(out, REST_OUT_MM, ring) / (2.0 * np.pi * np.maximum(out, 150.0))
    # A shelf in reach is where hands go: its share is spread over its front in reach.
    return np.asarray(SHELF * shelf * bent + open_air * (REST * rest + FREE * within / volume))


def _at_shelf(points: FloatArray, front: ShelfFront) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return what a front says of ``(n, 3)`` points.

    Returns:
        ``(n,)`` how likely a hand at work there is at the point, a cubic mm each; and ``(n,)``
        whether the point is behind the front, where goods are and no other hand can be.
    """
    length = _length(front)
    if length < 1.0:
        return np.zeros(len(points)), np.zeros(len(points), dtype=np.bool_)
    deep, beyond = _behind(points[:, :2], front)
    levels = front.levels_mm or (front.z_min_mm, front.z_max_mm)
    above = points[:, 2:] - np.asarray(levels)
    high = _normal(above, ABOVE_MM, ABOVE_SIGMA_MM).mean(axis=1)
    # In reach is about a metre of any front.
    wide = np.exp(-0.5 * (beyond / BESIDE_MM) ** 2) / min(length, 1_000.0)
    behind = (deep > 0) & (deep < BEHIND_MM) & (beyond == 0)
    behind &= points[:, 2] < front.z_max_mm + ABOVE_MM
    return np.asarray(high * _normal(deep, DEEP_MM, DEEP_SIGMA_MM) * wide), behind


def within_shelves(floor_mm: FloatArray, fronts: Iterable[ShelfFront]) -> npt.NDArray[np.bool_]:
    """Return ``(n,)`` which of ``(n, 2)`` places on the floor are where goods are, not people."""
    inside = np.zeros(len(floor_mm), dtype=np.bool_)
    least, beyond_mm = INSIDE_MM
    for front in fronts:
        if _length(front) >= 1.0:
            deep, beyond = _behind(floor_mm, front)
            most = front.depth_mm + beyond_mm
            inside |= (deep > least) & (deep < most) & (beyond == 0)
    return inside


def _length(front: ShelfFront) -> float:
    return float(np.hypot(*np.subtract(front.end_mm, front.start_mm)))


def _behind(places_mm: FloatArray, front: ShelfFront) -> tuple[FloatArray, FloatArray]:
    """Return ``(n,)`` how far ``(n, 2)`` places are behind a front, and how far beyond its ends."""
    length = _length(front)
    along = np.subtract(front.end_mm, front.start_mm) / length
    inward = np.array([-along[1], along[0]])
    from_start = places_mm - np.asarray(front.start_mm)
    offset = from_start @ along
    return from_start @ inward, np.maximum(np.maximum(-offset, offset - length), 0.0)


def _within(beyond_mm: FloatArray, soft_mm: float) -> FloatArray:
    """Return ``(n,)`` how likely reach goes that far beyond where it ends, softly."""
    # A logistic curve that is nearly the normal one of this deviation.
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(beyond_mm / (0.55 * soft_mm), -50, 50))))


def _normal(values: FloatArray, mean: float, sigma: float) -> FloatArray:
    return np.asarray(
        np.exp(-0.5 * ((values - mean) / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))
    )
