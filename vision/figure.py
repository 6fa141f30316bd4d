# SPDX-License-Identifier: Apache-2.0
"""A simple body: where its joints are for a place, a heading and two hands, and how it looks.

Units: store millimetres, z up; colours are 8-bit B, G, R.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vision.geometry import FloatArray

Colour = tuple[int, int, int]
Point3 = tuple[float, float, float]

HEAD_RADIUS_MM = 105.0


@dataclass(frozen=True, slots=True)
class Look:
    """How a body is built and dressed."""

    shirt: Colour
    trousers: Colour
    shoes: Colour
    hair: Colour
    hand: Colour
    shoulder_mm: float


@dataclass(frozen=True, slots=True)
class Body:
    """One person at one instant.

    Attributes:
        floor_mm: ``(x, y)`` between the feet.
        heading_rad: Direction faced, counted from x towards y.
        height_mm: Stature.
        wrists_mm: Centres of the left and the right hand.
        look: Seed of build and clothing.
        held: Colour of what the left and the right hand hold.
        stride_mm: How far the left foot is ahead of the right one.
    """

    floor_mm: tuple[float, float]
    heading_rad: float
    height_mm: float
    wrists_mm: tuple[Point3, Point3]
    look: int = 0
    held: tuple[Colour | None, Colour | None] = (None, None)
    stride_mm: float = 0.0


@lru_cache(maxsize=4096)
def look_of(seed: int) -> Look:
    """Return the look with this seed: anything dark or saturated but hands, which are bright."""
    rng = np.random.default_rng(seed)
    shirt = rng.integers(20, 150, 3)
    shirt[2] = min(shirt[2], 130)  # nothing warm and bright but hands
    trousers, shoes, hair = (
        rng.integers(25, 95, 3),
        rng.integers(15, 70, 3),
        rng.integers(10, 60, 3),
    )
    tone = rng.uniform(0, 1)
    hand = (int(150 + 45 * tone), int(190 + 35 * tone), int(238 + 17 * tone))
    return Look(
        shirt=_colour(shirt),
        trousers=_colour(trousers),
        shoes=_colour(shoes),
        hair=_colour(hair),
        hand=hand,
        shoulder_mm=float(rng.uniform(175, 225)),
    )


def shoulders_of(
    body_floor_mm: tuple[float, float],
    heading_rad: float,
    height_mm: float,
    shoulder_mm: float = 200.0,
) -> tuple[Point3, Point3]:
    """Return the left and right shoulder of a body that stands upright."""
    left = np.array([-np.sin(heading_rad), np.cos(heading_rad)]) * shoulder_mm
    x, y = body_floor_mm
    z = 0.82 * height_mm
    return (x + left[0], y + left[1], z), (x - left[0], y - left[1], z)


def resting_wrists(
    floor_mm: tuple[float, float], heading_rad: float, height_mm: float, swing_mm: float = 0.0
) -> tuple[Point3, Point3]:
    """Return hands beside the hips; the left one ``swing_mm`` further ahead than the body."""
    ahead = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    left = np.array([-ahead[1], ahead[0]])
    middle = np.asarray(floor_mm, dtype=np.float64)
    one = middle + 290.0 * left + (70.0 + swing_mm) * ahead
    two = middle - 290.0 * left + (70.0 - swing_mm) * ahead
    z = 0.49 * height_mm + 0.15 * abs(swing_mm)
    return (float(one[0]), float(one[1]), z), (float(two[0]), float(two[1]), z)


def skeleton_of(body: Body, look: Look) -> dict[str, FloatArray]:
    """Return named groups of ``(k, 3)`` points in the store."""
    ahead = np.array([np.cos(body.heading_rad), np.sin(body.heading_rad), 0.0])
    left = np.array([-ahead[1], ahead[0], 0.0])
    middle = np.array([*body.floor_mm, 0.0])
    up = np.array([0.0, 0.0, body.height_mm])
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    around, across = np.cos(angles)[:, None] * left, np.sin(angles)[:, None] * ahead
    points = {
        "shoulders": middle + 0.82 * up + (look.shoulder_mm + 25) * around + 125 * across,
        "hips": middle + 0.5 * up + 165 * around + 115 * across,
        "head": (middle + up - (0, 0, HEAD_RADIUS_MM) + 30 * ahead)[None],
    }
    shoulders = shoulders_of(body.floor_mm, body.heading_rad, body.height_mm, look.shoulder_mm)
    for side, sign in ((0, 1.0), (1, -1.0)):
        foot = middle + sign * (100 * left + 0.5 * body.stride_mm * ahead) + (0, 0, 20)
        points[f"leg{side}"] = np.array([middle + 0.5 * up + sign * 80 * left, foot])
        shoulder, wrist = np.array(shoulders[side]), np.array(body.wrists_mm[side])
        straight = float(np.linalg.norm(wrist - shoulder))
        bend = max(0.0, 640.0 - straight)  # an arm that is not stretched bends out and down
        elbow = (shoulder + wrist) / 2 + sign * 0.3 * bend * left - (0, 0, 0.35 * bend)
        points[f"arm{side}"] = np.array([shoulder, elbow, wrist])
    return points


def shade(colour: Colour, gain: float) -> Colour:
    """Return a darker or brighter colour."""
    return int(colour[0] * gain), int(colour[1] * gain), int(colour[2] * gain)


def _colour(values: npt.NDArray[np.int64]) -> Colour:
    return int(values[0]), int(values[1]), int(values[2])
