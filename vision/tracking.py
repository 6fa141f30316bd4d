# SPDX-License-Identifier: Apache-2.0
"""Bodies followed from frame to frame on the floor.

A Kalman filter with constant velocity and random acceleration for each track (Bar-Shalom, Li and
Kirubarajan, *Estimation with Applications to Tracking and Navigation*, 6.3.2), and the cheapest
assignment of sightings to tracks. As in ByteTrack (Zhang et al., 2022), a weak sighting may
continue a track but not begin one. Pure: time comes with the sightings.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from vision.geometry import FloatArray

MEMORY_S = 2.0
"""A track unseen for longer than this is over."""
CONFIRM_HITS = 3
"""Sightings before a track is told of: fewer may be noise."""
CONFIRM_GAP_S = 0.5
"""A track not yet told of is given up after this long unseen."""
GATE = 13.8
"""Chi-square with two degrees of freedom: one true match in a thousand is refused."""
ACCELERATION_MM_S2 = 2_000.0
SPEED_MM_S = 700.0
"""Standard deviation of a newcomer's velocity, each axis."""
APART_MM = 250.0
"""A second body nearer than this to one that is tracked is taken for an echo of it."""
SCORE_NEW = 0.5
NEVER = 1e9


@dataclass(slots=True)
class _Track:
    """One body: ``(x, y, vx, vy)`` in mm and mm/s with its covariance."""

    name: str
    state: FloatArray
    spread: FloatArray
    at_s: float
    seen_s: float
    hits: int = 1


@dataclass(slots=True)
class Tracker:
    """Gives bodies names that last while they are seen, and for two seconds more."""

    _tracks: list[_Track] = field(default_factory=list)
    _count: int = 0

    def update(
        self, floor_mm: FloatArray, sigma_mm: FloatArray, scores: FloatArray, at_s: float
    ) -> list[str | None]:
        """Take in one frame and return each sighting's track, or None while it has none to tell.

        Args:
            floor_mm: ``(n, 2)`` places; NaN where unknown, which no track gets.
            sigma_mm: ``(n,)`` standard deviation of each place, each axis.
            scores: ``(n,)`` of the detections.
            at_s: When the frame was captured, monotonic seconds. A frame that is older than the
                last counts as taken at the same time.
        """
        assert floor_mm.shape == (len(scores), 2)
        assert sigma_mm.shape == scores.shape
        for track in self._tracks:
            _predict(track, at_s)
        self._tracks = [track for track in self._tracks if _alive(track, at_s)]
        names: list[str | None] = [None] * len(scores)
        free = [index for index in range(len(scores)) if np.isfinite(floor_mm[index]).all()]
        for index, track in self._matches(floor_mm, sigma_mm, free):
            _correct(track, floor_mm[index], float(sigma_mm[index]))
            track.hits += 1
            track.seen_s = at_s
            names[index] = track.name if track.hits >= CONFIRM_HITS else None
            free.remove(index)
        for index in sorted(free, key=lambda index: -scores[index]):
            place = floor_mm[index]
            echo = any(
                track.seen_s == at_s and np.hypot(*(track.state[:2] - place)) < APART_MM
                for track in self._tracks
            )
            if scores[index] >= SCORE_NEW and not echo:
                self._begin(place, float(sigma_mm[index]), at_s)
        return names

    def _matches(
        self, floor_mm: FloatArray, sigma_mm: FloatArray, free: list[int]
    ) -> list[tuple[int, _Track]]:
        """Return the cheapest pairs within the gate; tracks told of go before the others."""
        pairs: list[tuple[int, _Track]] = []
        for told in (True, False):
            tracks = [track for track in self._tracks if (track.hits >= CONFIRM_HITS) == told]
            taken = {index for index, _ in pairs}
            rest = [index for index in free if index not in taken]
            if not tracks or not rest:
                continue
            costs = np.array(
                [[_cost(track, floor_mm[i], float(sigma_mm[i])) for i in rest] for track in tracks]
            )
            for row, column in zip(*linear_sum_assignment(costs), strict=True):
                if costs[row, column] < NEVER:
                    pairs.append((rest[column], tracks[row]))
        return pairs

    def _begin(self, place: FloatArray, sigma: float, at_s: float) -> None:
        self._count += 1
        spread = np.diag([sigma**2, sigma**2, SPEED_MM_S**2, SPEED_MM_S**2])
        state = np.array([place[0], place[1], 0.0, 0.0])
        self._tracks.append(_Track(str(self._count), state, spread, at_s, at_s))


def _alive(track: _Track, at_s: float) -> bool:
    unseen = at_s - track.seen_s
    return unseen <= (MEMORY_S if track.hits >= CONFIRM_HITS else CONFIRM_GAP_S)


def _predict(track: _Track, at_s: float) -> None:
    step = max(at_s - track.at_s, 0.0)
    track.at_s = max(at_s, track.at_s)
    move = np.eye(4)
    move[0, 2] = move[1, 3] = step
    # White acceleration held over the step.
    push = np.array([[step**2 / 2, 0], [0, step**2 / 2], [step, 0], [0, step]])
    track.state = move @ track.state
    track.spread = move @ track.spread @ move.T + push @ push.T * ACCELERATION_MM_S2**2


def _cost(track: _Track, place: FloatArray, sigma: float) -> float:
    """Return minus the log-likelihood, up to a constant, or :data:`NEVER` outside the gate."""
    innovation = place - track.state[:2]
    spread = track.spread[:2, :2] + np.eye(2) * sigma**2
    square = float(innovation @ np.linalg.solve(spread, innovation))
    return square + float(np.log(np.linalg.det(spread))) if square <= GATE else NEVER


def _correct(track: _Track, place: FloatArray, sigma: float) -> None:
    spread = track.spread[:2, :2] + np.eye(2) * sigma**2
    gain = np.linalg.solve(spread, track.spread[:2]).T
    track.state = track.state + gain @ (place - track.state[:2])
    kept = np.eye(4)
    kept[:, :2] -= gain
    # Joseph's form stays symmetric and positive.
    track.spread = kept @ track.spread @ kept.T + gain @ gain.T * sigma**2
