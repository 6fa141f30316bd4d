# SPDX-License-Identifier: Apache-2.0
"""What a good tracker would say of the shoppers: for runs without frames and a model."""

from dataclasses import dataclass

import numpy as np

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.store import Camera
from gateway.simulator.layout import Point3, view_box
from gateway.simulator.shoppers import Pose

CAMERA_HEIGHT_MM = 3_200.0


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


class Watcher:
    """One camera's tracker."""

    def __init__(self, camera: Camera, seed: int, sight: Sight | None = None) -> None:
        self.camera = camera
        self._sight = sight or Sight()
        self._rng = np.random.default_rng([seed, *camera.name.encode()])
        self._box = view_box(camera)
        x0, y0, x1, y1 = self._box
        self._place: Point3 = ((x0 + x1) / 2, (y0 + y1) / 2, CAMERA_HEIGHT_MM)
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
                    wrists=self._wrists(pose),
                )
            )
        return seen

    def _wrists(self, pose: Pose) -> list[Wrist]:
        rng, sight = self._rng, self._sight
        wrists = []
        for side, (x, y, z) in enumerate(pose.wrists_mm):
            key = (pose.shopper, side)
            if key in self._unseen:
                if rng.random() < 0.4:
                    self._unseen.discard(key)
            elif rng.random() < sight.missed_wrist:
                self._unseen.add(key)
            if key in self._unseen:
                continue
            dx, dy, dz = rng.normal(0.0, sight.wrist_noise_mm, 3)
            point = (
                round(x + float(dx), 1),
                round(y + float(dy), 1),
                round(z + float(dz), 1),
            )
            wrists.append(
                Wrist(
                    mm=point,
                    score=round(float(rng.uniform(0.6, 0.95)), 3),
                    sigma_mm=50.0,
                    ray_mm=(self._place, point),
                )
            )
        return wrists
