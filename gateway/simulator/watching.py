# SPDX-License-Identifier: Apache-2.0
"""What a tracker would say of the shoppers: for runs without frames and a model.

By default wrists are seen with noise in three dimensions, as several cameras would see them.
``OVERHEAD`` has the errors of one camera under the ceiling instead: a hand's height is guessed
unless its line of sight meets a shelf's front, and bodies and shelves hide hands.
"""

from dataclasses import dataclass

import numpy as np

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.store import Camera, Shelf, Store
from gateway.simulator.layout import Point2, Point3, view_box
from gateway.simulator.shoppers import Pose

CAMERA_HEIGHT_MM = 3_200.0
HAND_HEIGHT_MM = 1_100.0
"""What one camera takes for the height of a hand that is not at a shelf."""
BELOW_MM, ABOVE_MM, BESIDE_MM = 150.0, 450.0, 100.0
"""How far around a shelf's front a line of sight still counts as reaching in."""
TRUNK_MM = 190.0
"""Radius of the upright cylinder that hides what is behind a body."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How well a camera sees.

    Attributes:
        floor_noise_mm: Standard deviation of floor places, each axis.
        wrist_noise_mm: Of wrists, each axis.
        missed_person: Probability that a frame lacks somebody.
        missed_wrist: Probability that a wrist becomes unseen; it comes back after some frames.
    """

    floor_noise_mm: float = 40.0
    wrist_noise_mm: float = 40.0
    missed_person: float = 0.01
    missed_wrist: float = 0.04
    overhead: bool = False
    """Only lines of sight are known, and what is in the way hides."""


OVERHEAD = Sight(floor_noise_mm=30.0, wrist_noise_mm=15.0, missed_wrist=0.02, overhead=True)
"""About what the demo's camera and models were measured to give."""


class Watcher:
    """One camera's tracker."""

    def __init__(
        self, camera: Camera, seed: int, sight: Sight | None = None, store: Store | None = None
    ) -> None:
        """Hang it up.

        Args:
            camera: Its place, if it has one, and its floor points, which bound its view.
            seed: Of its noise.
            sight: How well it sees.
            store: Its shelves; needed by a camera that is ``overhead``.
        """
        self.camera = camera
        self._shelves = store.shelves if store is not None else ()
        self._sight = sight or Sight()
        self._rng = np.random.default_rng([seed, *camera.name.encode()])
        self._box = view_box(camera)
        x0, y0, x1, y1 = self._box
        self._place: Point3 = camera.position_mm or (
            (x0 + x1) / 2,
            (y0 + y1) / 2,
            CAMERA_HEIGHT_MM,
        )
        self._tracks: dict[str, str] = {}
        self._unseen: set[tuple[str, int]] = set()

    def see(self, poses: list[Pose]) -> list[PersonSeen]:
        """Return everybody in view in one frame."""
        rng, sight = self._rng, self._sight
        seen = []
        for pose in poses:
            x, y = pose.floor_mm
            if not (self._box[0] <= x <= self._box[2] and self._box[1] <= y <= self._box[3]):
                self._tracks.pop(pose.shopper, None)
                continue
            if rng.random() < sight.missed_person:
                continue
            track = self._tracks.setdefault(pose.shopper, f"{int(rng.integers(2**32)):08x}")
            noise = rng.normal(0.0, sight.floor_noise_mm, 2)
            seen.append(
                PersonSeen(
                    track=track,
                    score=round(float(rng.uniform(0.8, 0.97)), 3),
                    floor_mm=(round(x + float(noise[0]), 1), round(y + float(noise[1]), 1)),
                    floor_sigma_mm=60.0,
                    wrists=self._wrists(pose, poses),
                )
            )
        return seen

    def _wrists(self, pose: Pose, poses: list[Pose]) -> list[Wrist]:
        rng, sight = self._rng, self._sight
        wrists = []
        for side, wrist in enumerate(pose.wrists_mm):
            key = (pose.shopper, side)
            if key in self._unseen:
                if rng.random() < 0.4:
                    self._unseen.discard(key)
            elif rng.random() < sight.missed_wrist:
                self._unseen.add(key)
            if key in self._unseen or (sight.overhead and self._hidden(wrist, poses)):
                continue
            dx, dy, dz = rng.normal(0.0, sight.wrist_noise_mm, 3)
            noisy = (wrist[0] + float(dx), wrist[1] + float(dy), wrist[2] + float(dz))
            found, sigma = self._placed(noisy) if sight.overhead else (noisy, 50.0)
            point = (round(found[0], 1), round(found[1], 1), round(found[2], 1))
            wrists.append(
                Wrist(
                    mm=point,
                    score=round(float(rng.uniform(0.6, 0.95)), 3),
                    sigma_mm=round(sigma),
                    ray_mm=(self._place, point),
                )
            )
        return wrists

    def _placed(self, wrist: Point3) -> tuple[Point3, float]:
        """Return where one camera puts a wrist, from its line of sight alone, and how surely."""
        nearest: Point3 | None = None
        least = np.inf
        for shelf in self._shelves:
            met = self._meets(wrist, shelf)
            if met is not None and met[0] < least:
                least, nearest = met
        if nearest is not None:
            return nearest, 80.0
        guess = self._at_height(wrist, HAND_HEIGHT_MM)
        aside = np.hypot(guess[0] - self._place[0], guess[1] - self._place[1])
        return guess, 45.0 + 0.09 * float(aside)

    def _meets(self, wrist: Point3, shelf: Shelf) -> tuple[float, Point3] | None:
        """Return where the line of sight meets a gondola's front, with its share of the way."""
        x0, y0, x1, y1 = shelf.front_mm
        length = float(np.hypot(x1 - x0, y1 - y0))
        along = ((x1 - x0) / length, (y1 - y0) / length)
        cx, cy, cz = self._place
        way = (wrist[0] - cx, wrist[1] - cy, wrist[2] - cz)
        closing = -along[1] * way[0] + along[0] * way[1]
        if closing <= 1e-9:
            return None
        share = (-along[1] * (x0 - cx) + along[0] * (y0 - cy)) / closing
        point = (cx + share * way[0], cy + share * way[1], cz + share * way[2])
        offset = (point[0] - x0) * along[0] + (point[1] - y0) * along[1]
        high = max(one.z_mm for one in self._shelves if one.gondola == shelf.gondola)
        low = min(one.z_mm for one in self._shelves if one.gondola == shelf.gondola)
        level = low - BELOW_MM <= point[2] <= high + ABOVE_MM
        if share > 0 and level and -BESIDE_MM <= offset <= length + BESIDE_MM:
            return share, point
        return None

    def _hidden(self, wrist: Point3, poses: list[Pose]) -> bool:
        """Return whether a body or a higher shelf is in the line of sight."""
        for pose in poses:
            for height in np.arange(wrist[2] + 100.0, 0.85 * pose.height_mm, 100.0):
                x, y, _ = self._at_height(wrist, float(height))
                if np.hypot(x - pose.floor_mm[0], y - pose.floor_mm[1]) < TRUNK_MM:
                    return True
        for shelf in self._shelves:
            if shelf.z_mm > wrist[2]:
                x, y, _ = self._at_height(wrist, shelf.z_mm)
                if over(shelf, (x, y)):
                    return True
        return False

    def _at_height(self, wrist: Point3, height: float) -> Point3:
        """Return the point of the line of sight at a height."""
        cx, cy, cz = self._place
        share = (cz - height) / (cz - wrist[2])
        return cx + share * (wrist[0] - cx), cy + share * (wrist[1] - cy), height


def over(shelf: Shelf, point: Point2) -> bool:
    """Return whether a floor point lies under a shelf's deck."""
    x0, y0, x1, y1 = shelf.front_mm
    length = float(np.hypot(x1 - x0, y1 - y0))
    along = ((x1 - x0) / length, (y1 - y0) / length)
    offset = (point[0] - x0) * along[0] + (point[1] - y0) * along[1]
    depth = -along[1] * (point[0] - x0) + along[0] * (point[1] - y0)
    return 0 <= offset <= length and 0 <= depth <= shelf.depth_mm
