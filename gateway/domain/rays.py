# SPDX-License-Identifier: Apache-2.0
"""A hand that two cameras see: it is where their lines of sight come nearest to each other.

One camera knows where a hand is across its line of sight, and hardly how far along it. The point
between two lines where they are nearest, and how sure it is, follow from both being equally sure
across (Hartley and Sturm, *Triangulation*, 1997, for the simplest case).
"""

from collections.abc import Iterable, Sequence
from math import hypot, sqrt
from typing import Final, NamedTuple

from gateway.domain.inputs import Wrist

Point = tuple[float, float, float]

ACROSS_MM: Final = 40.0
"""Standard deviation of a wrist across a line of sight."""
APART: Final = 3.0
"""Standard deviations by which two views of one hand may differ."""
TOGETHER_NS: Final = 120_000_000
"""Two cameras' frames are of one moment within this time."""
LEAST_SINE2: Final = 0.06
"""Of the angle between the lines: with less, where they cross along them is anybody's guess."""
KEPT_NS: Final = 1_000_000_000
"""Lines of sight wait this long for a camera that is late."""
RAYS_MAX: Final = 256
"""Of one person: two hands in a second of four cameras at 30 frames."""


class Ray(NamedTuple):
    """A line of sight to somebody's wrist."""

    at_ns: int
    camera: str
    eye_mm: Point
    wrist_mm: Point
    """Where the camera takes the wrist to be on it."""
    sigma_mm: float


def rays_of(wrists: Iterable[Wrist], camera: str, at_ns: int) -> list[Ray]:
    """Return the lines of sight that a camera gives with somebody's wrists."""
    return [
        Ray(at_ns, camera, wrist.ray_mm[0], wrist.mm, wrist.sigma_mm)
        for wrist in wrists
        if wrist.ray_mm is not None
    ]


def kept(rays: Sequence[Ray], at_ns: int) -> list[Ray]:
    """Return the rays that a camera which is late may still meet."""
    return [ray for ray in rays[-RAYS_MAX:] if at_ns - ray.at_ns <= KEPT_NS]


def together(rays: Iterable[Ray], camera: str, at_ns: int) -> list[Ray]:
    """Return the rays of about a moment: of each other camera, those of the frame nearest to it."""
    nearest_ns: dict[str, int] = {}
    found = [ray for ray in rays if ray.camera != camera and abs(ray.at_ns - at_ns) <= TOGETHER_NS]
    for ray in found:
        away_ns = abs(ray.at_ns - at_ns)
        nearest_ns[ray.camera] = min(away_ns, nearest_ns.get(ray.camera, away_ns))
    return [ray for ray in found if abs(ray.at_ns - at_ns) == nearest_ns[ray.camera]]


def crossed(wrist: Wrist, others: Iterable[Ray]) -> Wrist:
    """Return a wrist where another camera's line of sight puts it, if that is surer.

    Args:
        wrist: As one camera has it, with its line of sight.
        others: Other cameras' lines of sight to the same person's wrists at about that moment.
    """
    if wrist.ray_mm is None:
        return wrist
    eye_mm, best, least_mm = wrist.ray_mm[0], wrist, float("inf")
    for ray in others:
        met = nearest(eye_mm, wrist.mm, ray.eye_mm, ray.wrist_mm)
        if met is None:
            continue
        point_mm, gap_mm, sigma_mm = met
        believable = all(
            _distance(point_mm, mm) <= APART * hypot(sigma, sigma_mm)
            for mm, sigma in ((wrist.mm, wrist.sigma_mm), (ray.wrist_mm, ray.sigma_mm))
        )
        if believable and gap_mm < least_mm and sigma_mm < wrist.sigma_mm:
            least_mm = gap_mm
            best = Wrist(mm=point_mm, score=wrist.score, sigma_mm=sigma_mm, ray_mm=wrist.ray_mm)
    return best


def nearest(
    eye_mm: Point, toward_mm: Point, other_eye_mm: Point, other_mm: Point
) -> tuple[Point, float, float] | None:
    """Return the point between two lines of sight, how far apart they pass, and its deviation.

    None where they are nearly parallel, pass each other too far apart for one hand, or would meet
    behind a camera. All in mm.
    """
    one, other = _direction(eye_mm, toward_mm), _direction(other_eye_mm, other_mm)
    if one is None or other is None:
        return None
    between = _minus(eye_mm, other_eye_mm)
    cosine = _dot(one, other)
    sine2 = 1.0 - cosine * cosine
    if sine2 < LEAST_SINE2:
        return None
    along = (cosine * _dot(other, between) - _dot(one, between)) / sine2
    other_along = (_dot(other, between) - cosine * _dot(one, between)) / sine2
    if along <= 0.0 or other_along <= 0.0:
        return None
    first, second = _plus(eye_mm, one, along), _plus(other_eye_mm, other, other_along)
    gap_mm = _distance(first, second)
    if gap_mm > APART * ACROSS_MM * sqrt(2.0):
        return None
    middle = _plus(first, _minus(second, first), 0.5)
    # Information of two lines: twice across both, 1 +- cosine in their plane.
    spread = (0.5 + 1.0 / (1.0 + cosine) + 1.0 / (1.0 - cosine)) / 3.0
    return middle, gap_mm, ACROSS_MM * sqrt(spread)


def _direction(start: Point, end: Point) -> Point | None:
    far_mm = _distance(start, end)
    if far_mm < 1.0:
        return None
    x, y, z = _minus(end, start)
    return x / far_mm, y / far_mm, z / far_mm


def _minus(one: Point, other: Point) -> Point:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


def _plus(point: Point, direction: Point, far: float) -> Point:
    x, y, z = direction
    return point[0] + far * x, point[1] + far * y, point[2] + far * z


def _dot(one: Point, other: Point) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _distance(one: Point, other: Point) -> float:
    x, y, z = _minus(one, other)
    return sqrt(x * x + y * y + z * z)
