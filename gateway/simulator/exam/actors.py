# SPDX-License-Identifier: Apache-2.0
"""People in a case: a path on the floor and what their hands do, as functions of time.

A script moves an actor's own clock on; nothing is stepped. Afterwards a body can be asked for at
any instants at once. Millimetres and seconds.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.simulator.layout import Point2, Point3, distance_mm

Floats = npt.NDArray[np.float64]

WALK_MM_S: Final = (850.0, 1_350.0)
"""People walk no faster than people do."""
TURN_S: Final = 0.35
STRIDE_MM: Final = 680.0
LOOK: Final = 12
"""Numbers of an appearance."""
GLANCE_MM: Final = 60.0
"""A path's points nearer than this need no walk."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A hand on its way out, at work, and back.

    Attributes:
        side: 0 left, 1 right.
        times_s: Leaves the body, arrives, begins to come back, is back.
        target_mm: Where it works.
        wander_mm: How far it moves about there.
        inside: Whether it works in a shelf, where cameras see it worst.
    """

    side: int
    times_s: tuple[float, float, float, float]
    target_mm: Point3
    wander_mm: float
    inside: bool


@dataclass(frozen=True, slots=True)
class Bodies:
    """One actor at ``n`` instants.

    Attributes:
        present: ``(n,)`` whether the actor is in the store.
        floor_mm: ``(n, 2)``.
        heading_rad: ``(n,)``.
        wrists_mm: ``(n, 2, 3)`` left and right.
        inside: ``(n, 2)`` whether each hand works in a shelf.
        speed_mm_s: ``(n,)``.
    """

    present: npt.NDArray[np.bool_]
    floor_mm: Floats
    heading_rad: Floats
    wrists_mm: Floats
    inside: npt.NDArray[np.bool_]
    speed_mm_s: Floats


class Actor:
    """One body and its plan."""

    def __init__(
        self,
        name: str,
        at_mm: Point2,
        now_s: float,
        rng: np.random.Generator,
        *,
        child: bool = False,
    ) -> None:
        self.name = name
        self.now_s = now_s
        self.at_mm = at_mm
        self.height_mm = float(
            rng.uniform(1_050.0, 1_300.0) if child else rng.uniform(1_560.0, 1_900.0)
        )
        self.look = rng.dirichlet(np.full(LOOK, 0.7))
        self.speed_mm_s = float(rng.uniform(*WALK_MM_S))
        self._rng = rng
        self._path: list[tuple[float, float, float]] = [(now_s, *at_mm)]
        self._faces: list[tuple[float, float]] = [(now_s, 0.0)]
        self.reaches: list[Reach] = []
        self._wobble = rng.uniform(0.0, 2 * math.pi, 4)

    @property
    def begin_s(self) -> float:
        """When the actor comes."""
        return self._path[0][0]

    @property
    def end_s(self) -> float:
        """When the actor is gone, as far as it is planned."""
        return self._path[-1][0]

    def walk(self, to_mm: Point2, *, speed: float = 1.0) -> None:
        """Walk straight to a point, facing the way."""
        far_mm = distance_mm(self.at_mm, to_mm)
        if far_mm < GLANCE_MM:
            return
        self.face(math.atan2(to_mm[1] - self.at_mm[1], to_mm[0] - self.at_mm[0]))
        self._path.append((self.now_s, *self.at_mm))
        self.now_s += far_mm / (self.speed_mm_s * speed) + 0.15
        self._path.append((self.now_s, *to_mm))
        self.at_mm = to_mm

    def face(self, heading_rad: float) -> None:
        """Turn; takes no time of its own, people turn as they go."""
        self._faces.append((self.now_s, heading_rad))

    def wait(self, for_s: float) -> None:
        """Stay where one is."""
        self.now_s += max(for_s, 0.0)
        self._path.append((self.now_s, *self.at_mm))

    def wait_until(self, at_s: float) -> None:
        """Stay until a time, if it is still to come."""
        self.wait(at_s - self.now_s)

    def reach(self, reach: Reach) -> None:
        """Use a hand; the actor stays until it is back."""
        self.reaches.append(reach)
        self.wait_until(reach.times_s[3])

    def bodies(self, times_s: Floats) -> Bodies:
        """Return the body at instants, in order of time."""
        ts, xs, ys = np.array(sorted(self._path, key=lambda point: point[0])).T
        floor = np.column_stack((np.interp(times_s, ts, xs), np.interp(times_s, ts, ys)))
        # Nobody stands like a post.
        for axis in (0, 1):
            floor[:, axis] += 12.0 * np.sin(1.7 * times_s + self._wobble[axis])
        speed = self._speed(times_s, ts, xs, ys)
        heading = self._heading(times_s)
        wrists = self._resting(times_s, floor, heading, speed)
        inside = np.zeros((len(times_s), 2), dtype=bool)
        for reach in self.reaches:
            self._stretch(reach, times_s, wrists, inside)
        present = (times_s >= self.begin_s) & (times_s <= self.end_s)
        return Bodies(present, floor, heading, wrists, inside, speed)

    def steps_s(self) -> list[tuple[float, Point2]]:
        """Return when and where the feet strike."""
        found = []
        for (t0, x0, y0), (t1, x1, y1) in zip(self._path, self._path[1:], strict=False):
            count = int(math.hypot(x1 - x0, y1 - y0) / STRIDE_MM)
            for step in range(count):
                share = (step + 0.5) / count
                point = (x0 + share * (x1 - x0), y0 + share * (y1 - y0))
                found.append((t0 + share * (t1 - t0), point))
        return found

    def _speed(self, times_s: Floats, ts: Floats, xs: Floats, ys: Floats) -> Floats:
        before, after = times_s - 0.1, times_s + 0.1
        dx = np.interp(after, ts, xs) - np.interp(before, ts, xs)
        dy = np.interp(after, ts, ys) - np.interp(before, ts, ys)
        return np.asarray(np.hypot(dx, dy) / 0.2)

    def _heading(self, times_s: Floats) -> Floats:
        starts = np.array([at_s for at_s, _ in self._faces])
        angles = np.unwrap(np.array([angle for _, angle in self._faces]))
        index = np.clip(np.searchsorted(starts, times_s, side="right") - 1, 0, None)
        before = angles[np.maximum(index - 1, 0)]
        share = np.clip((times_s - starts[index]) / TURN_S, 0.0, 1.0)
        return np.asarray(before + (angles[index] - before) * share)

    def _resting(self, times_s: Floats, floor: Floats, heading: Floats, speed: Floats) -> Floats:
        """Return hands that hang beside the hips, or swing while walking."""
        ahead = np.column_stack((np.cos(heading), np.sin(heading)))
        aside = np.column_stack((-ahead[:, 1], ahead[:, 0]))
        swing = 140.0 * np.clip(speed / 900.0, 0.0, 1.0) * np.sin(5.6 * times_s + self._wobble[2])
        wrists = np.empty((len(times_s), 2, 3))
        for side, sign in ((0, 1.0), (1, -1.0)):
            forward = 90.0 + sign * swing
            wrists[:, side, :2] = floor + sign * 260.0 * aside + forward[:, None] * ahead
            wrists[:, side, 2] = 0.5 * self.height_mm + 0.2 * np.abs(swing)
        return wrists

    def _stretch(
        self,
        reach: Reach,
        times_s: Floats,
        wrists: Floats,
        inside: npt.NDArray[np.bool_],
    ) -> None:
        """Put a hand where a reach has it: least jerk on the way (Flash and Hogan, 1985)."""
        leaves, arrives, returns, back = reach.times_s
        low, high = np.searchsorted(times_s, (leaves, back))
        if low == high:
            return
        now = times_s[low:high]
        out = np.clip((now - leaves) / max(arrives - leaves, 1e-3), 0.0, 1.0)
        home = np.clip((back - now) / max(back - returns, 1e-3), 0.0, 1.0)
        u = np.minimum(out, home)
        share = u**3 * (10.0 - 15.0 * u + 6.0 * u * u)
        target = np.array(reach.target_mm) + reach.wander_mm * np.column_stack(
            (np.sin(2.3 * now + self._wobble[3]), np.sin(1.9 * now), 0.5 * np.sin(2.9 * now))
        )
        hand = wrists[low:high, reach.side]
        wrists[low:high, reach.side] = hand + share[:, None] * (target - hand)
        # An elbow bends upwards.
        wrists[low:high, reach.side, 2] += 70.0 * np.sin(math.pi * share)
        if reach.inside:
            inside[low:high, reach.side] |= share > 0.85
