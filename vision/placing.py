# SPDX-License-Identifier: Apache-2.0
"""Detections in pixels become floor places and wrists in store millimetres. Pure.

One camera sees directions, not depths. A person's depth follows from standing on the floor; a
wrist's from the shelves and from its owner's body (:mod:`vision.reaching`). The uncertainty given
with each says how much that is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vision.detectors import POINT_SCORE_MIN, Detections
from vision.geometry import FloatArray, ShelfFront, View
from vision.reaching import Stance, stature, within_shelves, wrist_along

FEET_SHARE = 0.010
"""Standard deviation of a feet keypoint, as a share of the frame's width."""
HEAD_SHARE = 0.008
WRIST_SHARE = 0.004
HEAD_HEIGHT_MM = 1_600.0
HEAD_HEIGHT_SIGMA_MM = 100.0
FLOOR_SIGMA_MIN_MM = 40.0
SIGMA_MAX_MM = 5_000.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where ``n`` persons stand.

    Attributes:
        floor_mm: ``(n, 2)``; NaN where neither feet nor head are seen, or nobody can stand.
        sigma_mm: ``(n,)`` standard deviation, each axis.
    """

    floor_mm: FloatArray
    sigma_mm: FloatArray


@dataclass(frozen=True, slots=True)
class Placer:
    """Turns one camera's pixels into the store's millimetres.

    Attributes:
        view: The camera's calibration.
        size_wh: Size of the image that it was made in; other frames are scaled to it.
        fronts: Shelf fronts that hands reach through.
    """

    view: View
    size_wh: tuple[int, int]
    fronts: tuple[ShelfFront, ...] = ()

    def scaled(self, found: Detections, frame_wh: tuple[int, int]) -> Detections:
        """Return detections of a frame of another size in the calibration's pixels."""
        if frame_wh == self.size_wh:
            return found
        scale = np.array([self.size_wh[0] / frame_wh[0], self.size_wh[1] / frame_wh[1]])
        return Detections(
            boxes_xyxy=found.boxes_xyxy * np.tile(scale, 2),
            scores=found.scores,
            head_px=found.head_px * scale,
            head_scores=found.head_scores,
            feet_px=found.feet_px * scale,
            feet_scores=found.feet_scores,
            wrists_px=found.wrists_px * scale,
            wrist_scores=found.wrist_scores,
        )

    def places(self, found: Detections) -> Places:
        """Return where the persons stand: by their feet, and where these are hidden by the head."""
        count = len(found)
        floor_mm, sigma_mm = np.full((count, 2), np.nan), np.full(count, SIGMA_MAX_MM)
        by_feet = found.feet_scores >= POINT_SCORE_MIN
        # A camera below head height says nothing through heads.
        high = float(self.view.position_mm[2]) > HEAD_HEIGHT_MM
        by_head = ~by_feet & (found.head_scores >= POINT_SCORE_MIN) & high
        for seen, pixels, height_mm, unsure_mm, share in (
            (by_feet, found.feet_px, 0.0, 0.0, FEET_SHARE),
            (by_head, found.head_px, HEAD_HEIGHT_MM, HEAD_HEIGHT_SIGMA_MM, HEAD_SHARE),
        ):
            if not seen.any():
                continue
            points, mm_per_px = self.view.scale_at_height(pixels[seen], height_mm)
            there = np.isfinite(points).all(axis=1) & (np.abs(points[:, :2]).max(axis=1) < 1e6)
            sigma = self._sigma(points[there], mm_per_px[there], share, unsure_mm)
            chosen = np.flatnonzero(seen)[there]
            floor_mm[chosen] = points[there, :2]
            sigma_mm[chosen] = np.maximum(sigma, FLOOR_SIGMA_MIN_MM)
        # An arm in a shelf is easily taken for somebody whose head the picture cuts off.
        headless = found.head_scores < POINT_SCORE_MIN
        floor_mm[headless & within_shelves(floor_mm, self.fronts)] = np.nan
        return Places(floor_mm, sigma_mm)

    def stance(self, found: Detections, index: int, places: Places) -> Stance | None:
        """Return what is known of one person's body; None without a place on the floor."""
        floor, sigma = places.floor_mm[index], float(places.sigma_mm[index])
        if not np.isfinite(floor).all():
            return None
        # A place that follows from the head says nothing more of how high the head is.
        seen = (found.feet_scores[index], found.head_scores[index])
        if min(seen) < POINT_SCORE_MIN:
            return Stance(floor, sigma)
        return Stance(floor, sigma, *stature(self.view, found.head_px[index], floor, sigma))

    def wrists(
        self, found: Detections, index: int, places: Places | None = None
    ) -> list[dict[str, Any]]:
        """Return one person's wrists as the in-store contract has them.

        Args:
            found: All persons of the frame.
            index: Which one.
            places: Where they stand, if that is known already.
        """
        told = found.wrists(index)
        if not told:
            return []
        stance = self.stance(found, index, self.places(found) if places is None else places)
        wrists = []
        for pixel, score in told:
            seen = self.wrist(pixel, stance)
            if seen is None:
                continue
            point, sigma = seen
            if not np.isfinite(point).all() or abs(point).max() > 1e6:
                continue
            place = [round(float(value)) for value in point]
            camera = [round(float(value)) for value in self.view.position_mm]
            wrists.append(
                {
                    "mm": place,
                    "score": round(min(score, 1.0), 3),
                    "sigma_mm": round(sigma),
                    "ray_mm": [camera, place],
                }
            )
        return wrists

    def wrist(self, pixel: FloatArray, stance: Stance | None) -> tuple[FloatArray, float] | None:
        """Return the ``(3,)`` place of a wrist and its standard deviation along each axis, mm."""
        found = wrist_along(self.view, pixel, self.fronts, stance)
        if found is None:
            return None
        point, along = found
        aside = WRIST_SHARE * self.size_wh[0] * self._mm_per_px(pixel, point)
        # Of three axes one is along the line of sight, which a keypoint says nothing about.
        return point, min(float(np.sqrt((along**2 + 2.0 * aside**2) / 3.0)), SIGMA_MAX_MM)

    def _mm_per_px(self, pixel: FloatArray, point: FloatArray) -> float:
        """Return how many mm across the line of sight one pixel is at a point on it."""
        x, y = pixel
        one, other = self.view.rays([[x - 0.5, y], [x + 0.5, y]])
        return float(np.linalg.norm(one - other) * np.linalg.norm(point - self.view.position_mm))

    def _sigma(
        self, points: FloatArray, mm_per_px: FloatArray, share: float, unsure_mm: float
    ) -> FloatArray:
        """Return ``(n,)`` what pixels and an unsure height make uncertain across the floor, mm."""
        across = share * self.size_wh[0] * mm_per_px
        away = points - self.view.position_mm
        slope = np.hypot(away[:, 0], away[:, 1]) / np.maximum(np.abs(away[:, 2]), 1.0)
        return np.minimum(np.hypot(across, unsure_mm * slope), SIGMA_MAX_MM)


def people_payload(
    found: Detections, places: Places, names: Sequence[str | None], placer: Placer
) -> list[dict[str, Any]]:
    """Return the contract's ``people`` of one frame: those who have a track."""
    people = []
    for index, name in enumerate(names):
        if name is None:
            continue
        person: dict[str, Any] = {
            "track": name,
            "score": round(float(min(found.scores[index], 1.0)), 3),
        }
        if np.isfinite(places.floor_mm[index]).all():
            person["floor_mm"] = [round(float(value)) for value in places.floor_mm[index]]
            person["floor_sigma_mm"] = round(float(places.sigma_mm[index]))
        person["wrists"] = placer.wrists(found, index, places)
        people.append(person)
    return people
