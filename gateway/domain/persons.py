# SPDX-License-Identifier: Apache-2.0
"""One body on the floor: where it was, where its wrists were, and what it looks like."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from math import hypot
from typing import Final, NamedTuple

import msgspec

from gateway.domain.identity import FIRST_NS, LOOK_NS, Looks
from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.rays import Ray, crossed, kept, rays_of, together
from gateway.domain.store import Zone

MEMORY_NS: Final = 12_000_000_000
"""How far back places and wrists are kept; longer than an act may last."""
PLACES_MAX: Final = 1_000
WRISTS_MAX: Final = 2_000
"""Sightings kept of one person, however fast cameras speak; three at 10 Hz fill less."""
SAME_FRAME_NS: Final = 10_000_000
MIXED_MAX: Final = 16
"""Others that one person may be, that are remembered: the latest."""
WALK_MM_PER_S: Final = 1_400.0
ERROR_MM: Final = 150.0
"""Nobody is seen farther than this beyond what they walked since the frame before."""
TRAIL_MAX: Final = 200
"""Sightings of one track that can be given to another person: the latest."""


class Person(msgspec.Struct):
    """One body, across tracks and cameras."""

    id: str
    floor_mm: tuple[float, float]
    seen_ns: int
    tracks: dict[str, int] = {}
    """When each track was seen last."""
    places: list[tuple[int, float, float]] = []
    """``(ns, x_mm, y_mm)``, oldest first."""
    wrists: list[tuple[int, float, float, float, float]] = []
    """``(ns, x_mm, y_mm, z_mm, sigma_mm)``, oldest first."""
    rays: list[Ray] = []
    """Lines of sight to wrists, of the latest frames."""
    saved_mm: tuple[float, float] = (0.0, 0.0)
    """Where the person was when the durable state was last written."""
    looks: Looks = {}
    """What the person looks like to each camera; not in the durable state, learned anew."""
    first_mm: tuple[float, float] | None = None
    """Where the person appeared; None once it is known whether through a door."""
    roam_mm: float = 0.0
    """How far the person may have walked before that, while the camera showed nothing."""
    entering: bool = False
    """Came in through a door, and has not left its zone for the store yet."""
    party: str | None = None
    """Whose session the person may share: who scanned nearest, by time and place."""
    party_cost: float = 0.0

    behind: str | None = None
    """Who stood where this person vanished, while this person is out of sight."""
    mixed: list[str] = []
    """Persons who may be this one: the two were one body to the camera for a while."""

    def crossed(self, camera: str, seen: PersonSeen, at_ns: int) -> PersonSeen:
        """Return a sighting with its wrists where another camera's lines of sight put them."""
        others = together(self.rays, camera, at_ns)
        self.rays = [*kept(self.rays, self.seen_ns), *rays_of(seen.wrists, camera, at_ns)]
        if not others:
            return seen
        wrists = [crossed(wrist, others) for wrist in seen.wrists]
        return msgspec.structs.replace(seen, wrists=wrists)

    def see(self, track: str, seen: PersonSeen, at_ns: int) -> None:
        """Take in one sighting."""
        self.tracks[track] = at_ns
        self.seen_ns = max(self.seen_ns, at_ns)
        if seen.floor_mm is not None:
            # Cameras are late by different times: what is seen later may be told earlier.
            insort(self.places, (at_ns, *seen.floor_mm))
            self.floor_mm = self.places[-1][1:]
        for wrist in seen.wrists:
            insort(self.wrists, (at_ns, *wrist.mm, wrist.sigma_mm))
        oldest_ns = min((seen[0][0] for seen in (self.places, self.wrists) if seen), default=at_ns)
        if at_ns - oldest_ns > 2 * MEMORY_NS:
            self.places = [place for place in self.places if at_ns - place[0] <= MEMORY_NS]
            self.wrists = [wrist for wrist in self.wrists if at_ns - wrist[0] <= MEMORY_NS]
        del self.places[:-PLACES_MAX], self.wrists[:-WRISTS_MAX]

    def places_within(self, low_ns: int, high_ns: int) -> list[tuple[int, float, float]]:
        """Return the sightings of the body from one instant to another, both included."""
        places = self.places
        return places[bisect_left(places, (low_ns,)) : bisect_left(places, (high_ns + 1,))]

    def wrists_within(
        self, low_ns: int, high_ns: int
    ) -> list[tuple[int, float, float, float, float]]:
        """Return the same of its wrists."""
        wrists = self.wrists
        return wrists[bisect_left(wrists, (low_ns,)) : bisect_left(wrists, (high_ns + 1,))]

    def look_again(self, trail: "Trail", wrists: Iterable[Wrist], at_ns: int) -> None:
        """Take in what a closer look found of a track, in place of what it showed at that moment.

        What other cameras saw at about the same moment stays.
        """
        found = [(at_ns, *wrist.mm, wrist.sigma_mm) for wrist in wrists]
        stale = {seen for seen in trail.wrists if abs(seen[0] - at_ns) <= SAME_FRAME_NS}
        fresh = [seen for seen in self.wrists if seen not in stale]
        self.wrists = sorted([*fresh, *found])[-WRISTS_MAX:]
        trail.wrists = [*(seen for seen in trail.wrists if seen not in stale), *found]

    def moved(self, far_mm: float) -> bool:
        """Tell, once, whether the person walked this far since it was last told."""
        if self.distance_mm(self.saved_mm) < far_mm:
            return False
        self.saved_mm = self.floor_mm
        return True

    def far_mm(self, point_mm: tuple[float, float], at_ns: int) -> float:
        """Return the distance on the floor from where the person was at an instant.

        That is the sighting nearest in time: a camera that is late shows where somebody was who
        walks on meanwhile.
        """
        after = bisect_left(self.places, (at_ns,))
        near = self.places[max(after - 1, 0) : after + 1]
        if not near:
            return self.distance_mm(point_mm)
        _, x_mm, y_mm = min(near, key=lambda place: abs(place[0] - at_ns))
        return hypot(x_mm - point_mm[0], y_mm - point_mm[1])

    def distance_mm(self, point_mm: tuple[float, float]) -> float:
        """Return the distance on the floor from where the person was last seen."""
        return hypot(self.floor_mm[0] - point_mm[0], self.floor_mm[1] - point_mm[1])

    def inside(self, zones: Iterable[Zone]) -> bool:
        """Tell whether the person was last seen in one of the zones."""
        x_mm, y_mm = self.floor_mm
        return any(
            zone.x_mm[0] <= x_mm <= zone.x_mm[1] and zone.y_mm[0] <= y_mm <= zone.y_mm[1]
            for zone in zones
        )

    def doubt(self, other: str) -> None:
        """Remember somebody who may be this person."""
        if other not in self.mixed:
            self.mixed = [*self.mixed[1 - MIXED_MAX :], other]


class Trail(msgspec.Struct):
    """What one track showed lately: it may turn out to have been of another person."""

    camera: str
    seen_ns: int = 0
    before_ns: int = 0
    """When it was seen before the latest frame; 0: never."""
    floor_mm: tuple[float, float] | None = None
    before_mm: tuple[float, float] | None = None
    """Where it is, and where it was before the latest frame."""
    places: list[tuple[int, float, float]] = []
    wrists: list[tuple[int, float, float, float, float]] = []

    @property
    def leapt(self) -> bool:
        """Whether it is farther from where it was than anybody walks meanwhile."""
        if self.floor_mm is None or self.before_mm is None:
            return False
        (x_mm, y_mm), (before_x_mm, before_y_mm) = self.floor_mm, self.before_mm
        most_mm = WALK_MM_PER_S * abs(self.seen_ns - self.before_ns) / 1e9 + ERROR_MM
        return hypot(x_mm - before_x_mm, y_mm - before_y_mm) > most_mm

    def see(self, seen: PersonSeen, at_ns: int) -> None:
        """Take in one sighting."""
        self.before_ns, self.seen_ns = self.seen_ns, at_ns
        self.before_mm, self.floor_mm = self.floor_mm, seen.floor_mm
        if seen.floor_mm is not None:
            self.places.append((at_ns, *seen.floor_mm))
        self.wrists += [(at_ns, *wrist.mm, wrist.sigma_mm) for wrist in seen.wrists]
        del self.places[:-TRAIL_MAX], self.wrists[: -2 * TRAIL_MAX]


class Sighting(NamedTuple):
    """A track in the frame at hand."""

    track: str
    seen: PersonSeen
    trail: Trail


Here = dict[str, Sighting]
"""Who is in the frame at hand."""


def part(trail: Trail) -> float:
    """Return how much of a new look the latest one of a track is."""
    new_ns = trail.seen_ns - trail.before_ns if trail.before_ns else FIRST_NS
    return max(min(new_ns, LOOK_NS), 0) / LOOK_NS
