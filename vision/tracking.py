# SPDX-License-Identifier: Apache-2.0
"""Bodies followed from frame to frame on the floor, by place and by looks.

A Kalman filter for each track, whose velocity is an Ornstein-Uhlenbeck process: people keep their
way for half a second and their pace within what walking is, so that somebody out of sight is
looked for nearby and not ever farther off (Uhlenbeck and Ornstein, *On the theory of the Brownian
motion*, 1930, for the moments). Sightings go to the
tracks by the most likely assignment. As in ByteTrack (Zhang et al., 2022), a weak sighting may
continue a track but not begin one.

Looks are learned of bodies that stand alone, and judged by :class:`gateway.domain.identity.Scatter`
as the engine judges them. They tell who comes back, and whether two tracks that were near each
other went on with each other's body: those exchange their names. Pure: time comes with the
sightings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot, inf, log

import numpy as np

from gateway.domain.identity import LOOK_NS, Looks, Scatter
from vision.assignment import cheapest_pairs
from vision.geometry import FloatArray

MEMORY_S = 3.2
"""A track unseen for longer than this is over: two seconds behind a gondola, and the steps there
and back, in which too little is seen of somebody."""
CONFIRM_HITS = 2
"""Sightings before a track is told of: fewer may be noise..."""
CONFIRM_S = 0.2
"""... and so long after the first of them: noise, too, lasts for some frames of a fast camera."""
CONFIRM_GAP_S = 0.5
"""A track not yet told of is given up after this long unseen."""
TRACKS_MAX = 128
"""The rest of a frame's newcomers waits: the contract takes 64 people a message."""
GATE = 13.8
"""Chi-square with two degrees of freedom: one true match in a thousand is refused."""
SPEED_MM_S = 900.0
"""Standard deviation of velocity, each axis."""
KEEP_S = 0.5
"""How long it is kept: the time in which its correlation falls to 1/e."""
APART_MM = 400.0
"""A second body nearer than this to one that is tracked is taken for an echo of it: it begins no
track, nor is one told of that never was farther off."""
SCORE_NEW = 0.5
NEVER = 1e9
LEAP_MM = 800.0
"""Who is seen this near to where somebody was an instant ago, and is no more, is the same: a
detector finds the head first and then the feet, and the place leaps."""
NEW_COST = 40.0
"""Minus twice the log-likelihood at which somebody unseen is less likely back than gone."""
NEAR_MM = 600.0
"""Two this near are mistaken for each other and have some of each other in their pictures."""
BLINK_S = 0.35
"""Somebody unseen for longer than this, and in the frame before, may be anywhere: looks have to
agree."""
STRANGER = -6.0
"""The logarithm of a likelihood ratio at which they do not."""
LOOKS_SHARE = 0.3
"""What looks count for beside places: a picture's errors last longer than the picture."""
FIT_MAX = 8.0
"""One look says no more than this for somebody, as a logarithm."""
EXCHANGED = 40.0
"""The same at which two tracks are taken to have each other's body."""
DOUBT_S = 3.0
"""So long after two have parted it is asked."""
DOUBTS_MAX = 256
SLACK_S = 0.005
"""Cameras do not keep their rate to the millisecond."""
LOOK_S = LOOK_NS / 1e9
CAMERA = ""
"""A tracker has one; the engine keeps templates by camera."""

Look = Sequence[float] | None


@dataclass(slots=True)
class _Track:
    """One body: ``(x, y, vx, vy)`` in mm and mm/s with its covariance."""

    number: int
    name: str
    """The number, until exchanged with another track's."""
    state: FloatArray
    spread: FloatArray
    at_s: float
    seen_s: float
    born_s: float
    seen_mm: FloatArray
    """Where it was seen last, as it was told."""
    hits: int = 1
    looks: Looks = field(default_factory=dict)
    look_s: float | None = None
    """When its look was last taken in or asked about."""

    @property
    def told(self) -> bool:
        return self.hits >= CONFIRM_HITS and self.seen_s - self.born_s >= CONFIRM_S - SLACK_S

    def gap_mm(self, other: "_Track") -> float:
        return hypot(*(self.state[:2] - other.state[:2]))


@dataclass(slots=True)
class _Doubt:
    """Two tracks that were near each other: how much better they fit exchanged, as a logarithm."""

    near_s: float
    score: float = 0.0


@dataclass(slots=True)
class Tracker:
    """Gives bodies names that last while they are seen, and for three seconds more.

    Attributes:
        scatter: By how much descriptors differ; the tracker goes on learning it.
    """

    scatter: Scatter = field(default_factory=Scatter)
    _tracks: list[_Track] = field(default_factory=list)
    _doubts: dict[tuple[int, int], _Doubt] = field(default_factory=dict)
    """By both tracks' numbers."""
    _before_s: float = -inf
    """When the frame before this one was captured."""
    _count: int = 0

    def update(
        self,
        floor_mm: FloatArray,
        sigma_mm: FloatArray,
        scores: FloatArray,
        at_s: float,
        looks: FloatArray | None = None,
    ) -> list[str | None]:
        """Take in one frame and return each sighting's track, or None while it has none to tell.

        Args:
            floor_mm: ``(n, 2)`` places; NaN where unknown, which no track gets.
            sigma_mm: ``(n,)`` standard deviation of each place, each axis.
            scores: ``(n,)`` of the detections.
            at_s: When the frame was captured, monotonic seconds. A frame that is older than the
                last counts as taken at the same time.
            looks: ``(n, d)`` descriptors (:mod:`vision.appearance`); NaN rows, or None, where
                nothing is known.
        """
        assert floor_mm.shape == (len(scores), 2)
        assert sigma_mm.shape == scores.shape
        assert looks is None or len(looks) == len(scores)
        seen = [
            None if looks is None or not np.isfinite(looks[index]).all() else looks[index].tolist()
            for index in range(len(scores))
        ]
        for track in self._tracks:
            _predict(track, at_s)
        self._tracks = [track for track in self._tracks if _alive(track, at_s)]
        free = [index for index in range(len(scores)) if np.isfinite(floor_mm[index]).all()]
        owners: dict[int, _Track] = {}
        for index, track in self._matches(floor_mm, sigma_mm, seen, free):
            _correct(track, floor_mm[index], float(sigma_mm[index]))
            owners[index] = track
            free.remove(index)
        for index, track in self._leaps(floor_mm, seen, free, owners):
            _restart(track, floor_mm[index], float(sigma_mm[index]))
            owners[index] = track
            free.remove(index)
        for track in owners.values():
            track.seen_s = track.at_s
            track.hits += track.told or not self._echoes(track.state[:2], told=True)
        for index in sorted(free, key=lambda index: -scores[index]):
            place = floor_mm[index]
            clear = len(self._tracks) < TRACKS_MAX and not self._echoes(place, told=False)
            if scores[index] >= SCORE_NEW and clear:
                owners[index] = self._begin(place, float(sigma_mm[index]), at_s)
        self._consider(owners, seen, at_s)
        self._before_s = max(at_s, self._before_s)
        told = {index: track.name for index, track in owners.items() if track.told}
        return [told.get(index) for index in range(len(scores))]

    def _matches(
        self, floor_mm: FloatArray, sigma_mm: FloatArray, seen: Sequence[Look], free: list[int]
    ) -> list[tuple[int, _Track]]:
        """Return the cheapest pairs within the gate; tracks told of go before the others."""
        pairs: list[tuple[int, _Track]] = []
        for told in (True, False):
            tracks = [track for track in self._tracks if track.told == told]
            taken = {index for index, _ in pairs}
            rest = [index for index in free if index not in taken]
            if not tracks or not rest:
                continue
            costs = [
                [self._cost(track, floor_mm[i], float(sigma_mm[i]), seen[i]) for i in rest]
                for track in tracks
            ]
            pairs += [
                (rest[column], tracks[row])
                for row, column in cheapest_pairs(costs)
                if costs[row][column] < NEVER
            ]
        seen_on = [
            floor_mm[index] for index, track in pairs if track.told and not self._away(track)
        ]
        # Who was out of sight is not back in an echo of somebody who was not.
        return [
            (index, track)
            for index, track in pairs
            if not self._away(track) or _clear(floor_mm[index], seen_on)
        ]

    def _leaps(
        self,
        floor_mm: FloatArray,
        seen: Sequence[Look],
        free: list[int],
        owners: dict[int, _Track],
    ) -> list[tuple[int, _Track]]:
        """Return pairs of what is left over of sightings and of tracks seen an instant ago."""
        matched = {track.number for track in owners.values()}
        left = [
            track for track in self._tracks if track.number not in matched and not self._away(track)
        ]
        gaps = sorted(
            (float(np.hypot(*(track.seen_mm - floor_mm[index]))), track.number, index, track)
            for track in left
            for index in free
        )
        pairs: list[tuple[int, _Track]] = []
        for gap, _, index, track in gaps:
            if gap > LEAP_MM or any(index == one or track is other for one, other in pairs):
                continue
            fit = self.scatter.fit(track.looks, CAMERA, seen[index])
            if fit is None or fit >= STRANGER:
                pairs.append((index, track))
        return pairs

    def _cost(self, track: _Track, place: FloatArray, sigma: float, look: Look) -> float:
        """Return minus twice the log-likelihood, or :data:`NEVER` outside the gate."""
        # Written out for two by two: this is asked of each track with each sighting.
        x, y = (place - track.state[:2]).tolist()
        (xx, xy), (_, yy) = track.spread[:2, :2].tolist()
        xx, yy = xx + sigma**2, yy + sigma**2
        area = xx * yy - xy**2
        square = (yy * x**2 - 2 * xy * x * y + xx * y**2) / area
        if square > GATE:
            return NEVER
        fit = self.scatter.fit(track.looks, CAMERA, look)
        cost: float = square + log(area)
        if fit is not None:
            cost -= 2 * LOOKS_SHARE * min(fit, FIT_MAX)
        if self._away(track) and ((fit is not None and fit < STRANGER) or cost > NEW_COST):
            return NEVER
        return cost

    def _echoes(self, place: FloatArray, *, told: bool) -> bool:
        """Return whether a body seen in this frame is too near."""
        return any(
            (track.told or not told)
            and track.seen_s == track.at_s
            and hypot(*(track.state[:2] - place)) < APART_MM
            for track in self._tracks
        )

    def _away(self, track: _Track) -> bool:
        """Return whether a track was unseen for so long that it may be anywhere."""
        return track.at_s - track.seen_s > BLINK_S and track.seen_s < self._before_s

    def _begin(self, place: FloatArray, sigma: float, at_s: float) -> _Track:
        self._count += 1
        state = np.array([place[0], place[1], 0.0, 0.0])
        track = _Track(
            self._count, str(self._count), state, _spread(sigma), at_s, at_s, at_s, place
        )
        self._tracks.append(track)
        return track

    # Looks.

    def _consider(self, owners: dict[int, _Track], seen: Sequence[Look], at_s: float) -> None:
        """Take in looks, and let two tracks exchange their names where looks tell so."""
        shown = {track.number: seen[index] for index, track in owners.items()}
        near = self._near(shown, at_s)
        asked = {key for pair in self._doubts for key in pair}
        parts: dict[int, float] = {}
        for track in owners.values():
            key = track.number
            look = shown[key]
            if look is None or key in near:
                continue
            since_s = 0.1 if track.look_s is None else max(track.at_s - track.look_s, 0.0)
            track.look_s = track.at_s
            parts[key] = min(since_s, LOOK_S) / LOOK_S
            if parts[key] > 0.0 and key not in asked:
                self.scatter.learn(track.looks, CAMERA, look, parts[key])
        self._settle(shown, parts, at_s)

    def _near(self, shown: dict[int, Look], at_s: float) -> set[int]:
        """Note which tracks are near each other; who is seen and who is out of sight alike."""
        near: set[int] = set()
        for index, one in enumerate(self._tracks):
            for other in self._tracks[:index]:
                if one.gap_mm(other) > NEAR_MM:
                    continue
                both = one.number in shown and other.number in shown
                near |= {one.number, other.number} if both else set()
                if not (one.told and other.told and one.looks and other.looks):
                    continue
                pair = (other.number, one.number)
                if pair not in self._doubts:
                    if len(self._doubts) >= DOUBTS_MAX:
                        continue
                    self.scatter.compare(one.looks, other.looks, CAMERA)
                self._doubts.setdefault(pair, _Doubt(at_s)).near_s = at_s
        return near

    def _settle(self, shown: dict[int, Look], parts: dict[int, float], at_s: float) -> None:
        """Weigh what this frame says of tracks that were near each other."""
        tracks = {track.number: track for track in self._tracks}
        for pair, doubt in list(self._doubts.items()):
            one, other = (tracks.get(key) for key in pair)
            if one is None or other is None or at_s - doubt.near_s > DOUBT_S:
                del self._doubts[pair]
                continue
            for mine, theirs in ((one, other), (other, one)):
                part = parts.get(mine.number, 0.0)
                straight = self.scatter.fit(mine.looks, CAMERA, shown.get(mine.number))
                crossed = self.scatter.fit(theirs.looks, CAMERA, shown.get(mine.number))
                if straight is not None and crossed is not None:
                    doubt.score += (crossed - straight) * part
            if doubt.score > EXCHANGED:
                one.name, other.name = other.name, one.name
                one.looks, other.looks = other.looks, one.looks
                del self._doubts[pair]
            elif doubt.score < -EXCHANGED and at_s > doubt.near_s:
                del self._doubts[pair]


def _clear(place: FloatArray, others: Sequence[FloatArray]) -> bool:
    return all(hypot(*(place - other)) >= APART_MM for other in others)


def _alive(track: _Track, at_s: float) -> bool:
    unseen = at_s - track.seen_s
    return unseen <= (MEMORY_S if track.told else CONFIRM_GAP_S)


def _predict(track: _Track, at_s: float) -> None:
    """Move a track on; the moments of an integrated Ornstein-Uhlenbeck process are exact."""
    step = max(at_s - track.at_s, 0.0) / KEEP_S
    track.at_s = max(at_s, track.at_s)
    kept = float(np.exp(-step))
    gone = -float(np.expm1(-step))
    move = np.eye(4)
    move[0, 2] = move[1, 3] = gone * KEEP_S
    move[2, 2] = move[3, 3] = kept
    place2 = max(2 * step - 3 + 4 * kept - kept**2, 0.0) * KEEP_S**2
    both = gone**2 * KEEP_S
    pace2 = 1 - kept**2
    push = np.zeros((4, 4))
    push[0, 0] = push[1, 1] = place2
    push[0, 2] = push[1, 3] = push[2, 0] = push[3, 1] = both
    push[2, 2] = push[3, 3] = pace2
    push *= SPEED_MM_S**2
    track.state = move @ track.state
    track.spread = move @ track.spread @ move.T + push


def _restart(track: _Track, place: FloatArray, sigma: float) -> None:
    """Put a track elsewhere, with nothing known of where it goes."""
    track.state = np.array([place[0], place[1], 0.0, 0.0])
    track.spread = _spread(sigma)
    track.seen_mm = place


def _spread(sigma: float) -> FloatArray:
    return np.diag([sigma**2, sigma**2, SPEED_MM_S**2, SPEED_MM_S**2])


def _correct(track: _Track, place: FloatArray, sigma: float) -> None:
    spread = track.spread[:2, :2] + np.eye(2) * sigma**2
    gain = np.linalg.solve(spread, track.spread[:2]).T
    track.state = track.state + gain @ (place - track.state[:2])
    track.seen_mm = place
    kept = np.eye(4)
    kept[:, :2] -= gain
    # Joseph's form stays symmetric and positive.
    track.spread = kept @ track.spread @ kept.T + gain @ gain.T * sigma**2
