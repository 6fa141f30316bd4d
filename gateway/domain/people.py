# SPDX-License-Identifier: Apache-2.0
"""Tracks of all cameras joined into persons on the floor, with where their wrists were."""

from collections.abc import Iterable, Sequence
from math import hypot
from typing import Final

import msgspec

from gateway.domain.inputs import PersonSeen
from gateway.domain.store import Zone

MEMORY_NS: Final = 12_000_000_000
"""How far back places and wrists are kept; longer than an act may last."""
JOIN_MM: Final = 700.0
"""A new track this near to where a person is or was last seen may be that person."""
WALK_MM_PER_S: Final = 1_400.0
JOIN_NS_MAX: Final = 1_500_000_000
"""In a door's zone, where anybody may appear, a track is joined only this soon after."""
LOST_NS_MAX: Final = 20_000_000_000
"""Elsewhere, this soon."""
SAME_MM: Final = 250.0
"""Two bodies are never this close: it is one body with two tracks."""
TRACK_NS_MAX: Final = 1_000_000_000
"""A track unseen for this long no longer occupies its person."""
PERSONS_MAX: Final = 256
"""Persons that are remembered at once; more than any such store holds."""
PLACES_MAX: Final = 1_000
WRISTS_MAX: Final = 2_000
"""Sightings kept of one person, however fast cameras speak; three at 10 Hz fill less."""
TRACKS_MAX: Final = 32
MIXED_MAX: Final = 16
"""Tracks of one person, and others it may be, that are remembered: the latest."""
MERGED_NS: Final = 400_000_000
MERGED_MM: Final = 500.0
"""Whoever vanishes for longer, this near to somebody, may come out as the other."""
STRANGER_NS_MAX: Final = 20_000_000_000
"""A person without a session is forgotten after this long unseen."""


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
    saved_mm: tuple[float, float] = (0.0, 0.0)
    """Where the person was when the durable state was last written."""

    behind: str | None = None
    """Who stood where this person vanished, while this person is out of sight."""
    mixed: list[str] = []
    """Persons who may be this one: the two were one body to the camera for a while."""

    def see(self, track: str, seen: PersonSeen, at_ns: int) -> None:
        """Take in one sighting."""
        self.tracks[track] = at_ns
        self.seen_ns = max(self.seen_ns, at_ns)
        if seen.floor_mm is not None:
            self.floor_mm = seen.floor_mm
            self.places.append((at_ns, *seen.floor_mm))
        for wrist in seen.wrists:
            self.wrists.append((at_ns, *wrist.mm, wrist.sigma_mm))
        oldest_ns = min((seen[0][0] for seen in (self.places, self.wrists) if seen), default=at_ns)
        if at_ns - oldest_ns > 2 * MEMORY_NS:
            self.places = [place for place in self.places if at_ns - place[0] <= MEMORY_NS]
            self.wrists = [wrist for wrist in self.wrists if at_ns - wrist[0] <= MEMORY_NS]
        del self.places[:-PLACES_MAX], self.wrists[:-WRISTS_MAX]

    def moved(self, far_mm: float) -> bool:
        """Tell, once, whether the person walked this far since it was last told."""
        if self.distance_mm(self.saved_mm) < far_mm:
            return False
        self.saved_mm = self.floor_mm
        return True

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


class People(msgspec.Struct):
    """Everybody in the store."""

    persons: dict[str, Person] = {}
    by_track: dict[str, str] = {}
    count: int = 0
    frame_ns: dict[str, int] = {}
    """Time of the latest frame of each camera."""
    turned_away: int = 0
    """Sightings of persons beyond ``PERSONS_MAX``, since last asked."""

    def see(
        self,
        camera: str,
        boot: str,
        seen: list[PersonSeen],
        at_ns: int,
        *,
        prefix: str,
        doors: Sequence[Zone],
    ) -> list[str]:
        """Take in one frame; return the ids of the persons in it, new ones included.

        Args:
            camera: The camera; its tracks count from anew in each boot.
            boot: The tracker's boot.
            seen: What the frame shows.
            at_ns: When the frame was captured.
            prefix: What the names of new persons begin with.
            doors: Where people come in and leave.
        """
        self.frame_ns[camera] = max(at_ns, self.frame_ns.get(camera, 0))
        present: list[str] = []
        newcomers: list[tuple[str, PersonSeen]] = []
        for one in seen:
            track = f"{camera}/{boot}/{one.track}"
            person = self.persons.get(self.by_track.get(track, ""))
            if person is None or self._strayed(person, track, one, at_ns):
                newcomers.append((track, one))
            else:
                person.see(track, one, at_ns)
                present.append(person.id)
        for track, one in newcomers:
            if one.floor_mm is None:
                continue  # Nobody can be told by a track alone.
            if any(self.persons[name].distance_mm(one.floor_mm) < SAME_MM for name in present):
                continue  # One body, seen twice.
            person = self._join(one.floor_mm, at_ns, present, doors)
            if person is None:
                if len(self.persons) >= PERSONS_MAX:
                    self.turned_away += 1
                    continue
                self.count += 1
                name = f"{prefix}{self.count}"
                person = Person(id=name, floor_mm=one.floor_mm, seen_ns=at_ns)
                self.persons[name] = person
            self.by_track[track] = person.id
            person.see(track, one, at_ns)
            if len(person.tracks) > TRACKS_MAX:
                self._forget_track(person, min(person.tracks, key=person.tracks.__getitem__))
            present.append(person.id)
        self._mix(present, at_ns)
        return present

    def _mix(self, present: Sequence[str], at_ns: int) -> None:
        """Note who vanished beside whom, and doubt both once they part again."""
        here = [self.persons[name] for name in present]
        for person in self.persons.values():
            if person.id not in present and at_ns - person.seen_ns > MERGED_NS:
                beside = [one for one in here if one.distance_mm(person.floor_mm) < MERGED_MM]
                if person.behind is None and beside:
                    person.behind = beside[0].id
        for person in here:
            other = self.persons.get(person.behind or "")
            person.behind = None
            if other is not None and other.id not in person.mixed:
                person.mixed = [*person.mixed[1 - MIXED_MAX :], other.id]
                other.mixed = [*other.mixed[1 - MIXED_MAX :], person.id]

    def _strayed(self, person: Person, track: str, one: PersonSeen, at_ns: int) -> bool:
        """Tell whether a known track has jumped to another body: its person is elsewhere."""
        if one.floor_mm is None:
            return False
        others_ns = [ns for name, ns in person.tracks.items() if name != track]
        fresh = any(at_ns - ns < TRACK_NS_MAX for ns in others_ns)
        if not fresh or person.distance_mm(one.floor_mm) <= JOIN_MM:
            return False
        self._forget_track(person, track)
        return True

    def _forget_track(self, person: Person, track: str) -> None:
        person.tracks.pop(track, None)
        self.by_track.pop(track, None)

    def _join(
        self,
        floor_mm: tuple[float, float],
        at_ns: int,
        present: Sequence[str],
        doors: Sequence[Zone],
    ) -> Person | None:
        """Return the person that a new track most likely is: one who is not in this frame.

        People come in through a door; a body that appears elsewhere was there before.
        """
        here = Person(id="", floor_mm=floor_mm, seen_ns=at_ns)
        longest_ns = JOIN_NS_MAX if here.inside(doors) else LOST_NS_MAX
        best: tuple[float, Person] | None = None
        for person in self.persons.values():
            away_ns = at_ns - person.seen_ns
            if person.id in present or away_ns > longest_ns:
                continue
            reach_mm = JOIN_MM + WALK_MM_PER_S * max(away_ns, 0) / 1e9
            distance_mm = person.distance_mm(floor_mm)
            if distance_mm <= reach_mm and (best is None or distance_mm < best[0]):
                best = (distance_mm, person)
        return best[1] if best else None

    def restore(self, person: Person) -> None:
        """Put back a person that the durable state names."""
        self.persons[person.id] = person
        for track in person.tracks:
            self.by_track[track] = person.id

    def forget(self, name: str) -> None:
        """Remove a person who has left."""
        person = self.persons.pop(name, None)
        if person is not None:
            for track in person.tracks:
                self.by_track.pop(track, None)

    def forget_strangers(self, kept: set[str], now_ns: int) -> None:
        """Remove persons that belong to no session and were not seen for long."""
        gone = [
            person.id
            for person in self.persons.values()
            if person.id not in kept and now_ns - person.seen_ns > STRANGER_NS_MAX
        ]
        for name in gone:
            self.forget(name)
        for person in self.persons.values():
            old = [
                track
                for track, seen_ns in person.tracks.items()
                if now_ns - seen_ns > STRANGER_NS_MAX
            ]
            for track in old[: len(person.tracks) - 1]:
                del person.tracks[track]
                self.by_track.pop(track, None)
