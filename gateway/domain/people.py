# SPDX-License-Identifier: Apache-2.0
"""Tracks of all cameras joined into persons on the floor, with where their wrists were.

A new track goes to who fits best by place and appearance. Whether two tracks that came near each
other go on with each other's body is watched (:class:`TrackDoubt`) and mended once it is clear.
"""

from collections.abc import Container, Iterable, Sequence
from math import hypot
from typing import Final, NamedTuple

import msgspec

from gateway.domain.identity import assign, spread_density, usable
from gateway.domain.inputs import PersonSeen
from gateway.domain.persons import WALK_MM_PER_S, Here, Person, Sighting, Trail
from gateway.domain.recognition import BLINK_NS, DOUBTS_MAX, SETTLED, Newborn, Recognition
from gateway.domain.store import Zone

__all__ = ["People", "Person"]

JOIN_MM: Final = 700.0
"""A new track this near to where a person is or was last seen may be that person."""
JOIN_NS_MAX: Final = 1_500_000_000
"""In a door's zone, where anybody may appear, a track is joined only this soon after."""
LOST_NS_MAX: Final = 20_000_000_000
"""Elsewhere, or by appearance, this soon."""
JOIN_SIGMA_MM: Final = 250.0
STRAY_MM_PER_S: Final = 600.0
"""How far from where it was last seen a body is, as a deviation: at once, and by and by."""
SAME_MM: Final = 250.0
"""Two bodies are never this close: it is one body with two tracks."""
TRACK_NS_MAX: Final = 1_000_000_000
"""A track unseen for this long no longer occupies its person."""
DEPARTED_NS: Final = 30_000_000_000
"""Whose cart is closed may have done what plates tell this much later: somebody's hand keeps them
from resting, or the network keeps their samples."""
DEPARTED_MAX: Final = 64
PERSONS_MAX: Final = 256
"""Persons that are remembered at once; more than any such store holds."""
TRACKS_MAX: Final = 32
MERGED_NS: Final = 400_000_000
MERGED_MM: Final = 500.0
"""Whoever vanishes for longer, this near to somebody, may come out as the other."""
STRANGER_NS_MAX: Final = 20_000_000_000
"""A person without a session is forgotten after this long unseen."""
APPEAR_ENTRY: Final = -1.2
APPEAR_EXIT: Final = -5.0
APPEAR_INSIDE: Final = -7.0
"""Logarithm of the density, per square metre, of somebody new appearing."""
NEWBORN: Final = -6.0
"""Somebody lost is watched for in somebody new with no less than this to begin with."""
NEVER: Final = -1e9
APPEAR_UNKNOWN: Final = -1_000.0
"""The same where no appearance could tell: who can be joined is."""
UNTOLD: Final = 0.05
"""Places that speak less than this for one of two, as a logarithm, tell nothing."""
AWAY_NS: Final = 700_000_000
"""Who was out of sight for longer may come back under another's track."""
ASTRAY: Final = -8.0
ASTRAY_MAX: Final = -2.0
"""Logarithm of how often a track leaves its body for another, which then looks like somebody new,
and what place and time say of it at most."""
ASTRAY_NS_MAX: Final = 3_000_000_000
"""It did so no longer than this before that body has a track again."""
RIVAL: Final = 12.0
"""Somebody who fits a new track worse than this by a logarithm of a likelihood is not doubted."""


class Frame(NamedTuple):
    """What is known of a frame beside what it shows: see :meth:`People.see`."""

    camera: str
    at_ns: int
    gap_ns: int
    """Since the camera's frame before it; 0: there was none."""
    prefix: str
    doors: Sequence[Zone]

    @property
    def blinked(self) -> bool:
        """Whether the camera may have missed anything before it."""
        return self.gap_ns > BLINK_NS


class Departed(msgspec.Struct, frozen=True):
    """Somebody whose cart is closed: no track is theirs any more, but what they did was."""

    person: Person
    session: str


class People(Recognition, kw_only=True):
    """Everybody in the store."""

    count: int = 0
    departed: dict[str, Departed] = msgspec.field(default_factory=dict)
    """Who has left lately, oldest first."""
    frame_ns: dict[str, int] = msgspec.field(default_factory=dict)
    """Time of the latest frame of each camera."""
    steady_ns: dict[str, int] = msgspec.field(default_factory=dict)
    """Since when each camera has shown frames without a gap."""
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
        bound: Container[str] = (),
    ) -> list[str]:
        """Take in one frame; return the ids of the persons in it, new ones included.

        Args:
            camera: The camera; its tracks count from anew in each boot.
            boot: The tracker's boot.
            seen: What the frame shows.
            at_ns: When the frame was captured.
            prefix: What the names of new persons begin with.
            doors: Where people come in and leave.
            bound: Who has scanned: nobody else.
        """
        last_ns = self.frame_ns.get(camera, 0)
        self.frame_ns[camera] = max(at_ns, last_ns)
        frame = Frame(camera, at_ns, at_ns - last_ns if last_ns else 0, prefix, doors)
        here: Here = {}
        newcomers: list[tuple[str, PersonSeen]] = []
        for shown in seen:
            one = shown if usable(shown.appearance) else _faceless(shown)
            track = f"{camera}/{boot}/{one.track}"
            person = self.persons.get(self.by_track.get(track, ""))
            if person is None or person.id in here or self._strayed(person, track, one, at_ns):
                newcomers.append((track, one))
            else:
                self._doubt_return(here, person, one, frame)
                self._take(here, person, track, one, at_ns)
        if frame.blinked or camera not in self.steady_ns:
            self.steady_ns[camera] = at_ns
        self._join(here, newcomers, frame)
        self._know_again(here, camera, at_ns, bound)
        self._watch_near(here, camera, at_ns, blinked=frame.blinked)
        self._weigh(here, camera, at_ns)
        self._learn(here, camera)
        here = {self.by_track[one.track]: one for one in here.values()}
        present = list(here)
        self._mix(present, at_ns)
        return present

    def look_again(self, camera: str, boot: str, seen: Iterable[PersonSeen], at_ns: int) -> None:
        """Take in what a camera found of its tracks by looking again at an earlier frame."""
        for one in seen:
            track = f"{camera}/{boot}/{one.track}"
            person = self.persons.get(self.by_track.get(track, ""))
            if person is not None:
                trail = self.trails.setdefault(track, Trail(camera))
                person.look_again(trail, one.wrists, at_ns)

    def _take(self, here: Here, person: Person, track: str, one: PersonSeen, at_ns: int) -> None:
        """Give a sighting to a person."""
        before = self.persons.get(self.by_track.get(track, ""))
        if before is not None and before is not person:
            before.tracks.pop(track, None)
        self.by_track[track] = person.id
        trail = self.trails.setdefault(track, Trail(track.partition("/")[0]))
        one = person.crossed(trail.camera, one, at_ns)
        trail.see(one, at_ns)
        person.see(track, one, at_ns)
        here[person.id] = Sighting(track, one, trail)
        if len(person.tracks) > TRACKS_MAX:
            others = [name for name in person.tracks if name != track]
            self._forget_track(person, min(others, key=person.tracks.__getitem__))

    # New tracks.

    def _join(self, here: Here, newcomers: Sequence[tuple[str, PersonSeen]], frame: Frame) -> None:
        """Give new tracks to those who most likely made them, all at once, or to new persons.

        People come in through a door; a body that appears elsewhere was there before.
        """
        told = [
            (track, one)
            for track, one in newcomers
            # Nobody can be told by a track alone; and one body may be seen twice.
            if one.floor_mm is not None and not self._double(here, frame, one)
        ]
        if not told:
            return
        absent = [person for person in self.persons.values() if person.id not in here]
        fits = [self._fits(one, absent, frame) for _, one in told]
        gains, anew = [fit[0] for fit in fits], [fit[1] for fit in fits]
        new = [
            [gain if column == row else NEVER for column in range(len(told))]
            for row, gain in enumerate(anew)
        ]
        chosen = assign([row + more for row, more in zip(gains, new, strict=True)])
        for number, (track, one) in enumerate(told):
            column = chosen[number]
            if column < len(absent):
                person = absent[column]
                self._take(here, person, track, one, frame.at_ns)
                rivals = zip(absent, gains[number], strict=True)
                self._doubt_rivals(here, person, gains[number][column], list(rivals), frame)
            # No body has two tracks.
            elif not any(self._same(here, name, one, frame.at_ns) for name in here):
                new_one = self._add(one, frame)
                if new_one is not None:
                    self._take(here, new_one, track, one, frame.at_ns)
                    self._bear(new_one, absent, anew[number], frame)
                    self._doubt_present(here, new_one, one, frame)

    def _add(self, one: PersonSeen, frame: Frame) -> Person | None:
        """Return somebody new; None if there are too many."""
        assert one.floor_mm is not None
        if len(self.persons) >= PERSONS_MAX:
            self.turned_away += 1
            return None
        self.count += 1
        person = Person(
            id=f"{frame.prefix}{self.count}",
            floor_mm=one.floor_mm,
            seen_ns=frame.at_ns,
            first_mm=one.floor_mm,
            roam_mm=WALK_MM_PER_S * frame.gap_ns / 1e9 if frame.blinked else 0.0,
        )
        self.persons[person.id] = person
        return person

    def _same(self, here: Here, name: str, one: PersonSeen, at_ns: int) -> bool:
        """Tell whether a track is where somebody of this frame is."""
        assert one.floor_mm is not None
        return name in here and self.persons[name].far_mm(one.floor_mm, at_ns) < SAME_MM

    def _double(self, here: Here, frame: Frame, one: PersonSeen) -> bool:
        """Tell whether a new track is of a body that has one already."""
        for name in here:
            if self._same(here, name, one, frame.at_ns):
                fit = self.scatter.fit(self.persons[name].looks, frame.camera, one.appearance)
                if fit is None or fit > 0.0:
                    return True
        return False

    def _fits(
        self, one: PersonSeen, absent: Sequence[Person], frame: Frame
    ) -> tuple[list[float], float]:
        """Return the log-likelihoods of a new track being each of the absent, or somebody new."""
        gains = [self._gain(person, one, frame) for person in absent]
        gaps_mm = [
            self._seen_beside(person, frame.camera, one.floor_mm, frame.at_ns) for person in absent
        ]
        there = [gap_mm is not None and gap_mm < SAME_MM for gap_mm in gaps_mm]
        if any(there):  # Where another camera sees somebody right now, nobody else can be.
            fitting = zip(gains, there, strict=True)
            return [gain if seen else NEVER for gain, seen in fitting], APPEAR_UNKNOWN
        looks = any(person.looks for person in absent)
        return gains, self._appears(one, frame.doors, looks=looks)

    def _gain(self, person: Person, one: PersonSeen, frame: Frame) -> float:
        """Return the log-likelihood of a new track being somebody who is not in this frame."""
        assert one.floor_mm is not None
        away_ns = max(frame.at_ns - person.seen_ns, 0)
        reach_mm = JOIN_MM + WALK_MM_PER_S * away_ns / 1e9
        if away_ns > LOST_NS_MAX or person.far_mm(one.floor_mm, frame.at_ns) > reach_mm:
            return NEVER
        fit = self.scatter.fit(person.looks, frame.camera, one.appearance)
        if (
            (fit is None or fit < 0.0)
            and away_ns > JOIN_NS_MAX
            and _inside(one.floor_mm, frame.doors)
        ):
            return NEVER
        return _nearness(person, one.floor_mm, frame.at_ns) + (fit or 0.0)

    def _appears(self, one: PersonSeen, doors: Sequence[Zone], *, looks: bool) -> float:
        """Return the log-likelihood of a new track being of somebody new."""
        assert one.floor_mm is not None
        if not one.appearance or not looks:
            return APPEAR_UNKNOWN
        kinds = [zone.kind for zone in doors if _inside(one.floor_mm, [zone])]
        if "entry" in kinds:
            return APPEAR_ENTRY
        return APPEAR_EXIT if kinds else APPEAR_INSIDE

    def _doubt_rivals(
        self,
        here: Here,
        chosen: Person,
        gain: float,
        rivals: Sequence[tuple[Person, float]],
        frame: Frame,
    ) -> None:
        """Watch whether a track is rather somebody else who could have made it.

        Where no looks will tell, both stay in doubt if place says next to nothing.
        """
        for rival, other in rivals:
            lead = gain - other
            if rival is chosen or rival.id in here:
                continue
            if rival.looks and lead < RIVAL:
                self._open(frame.camera, chosen.id, rival.id, frame.at_ns, -max(lead, 0.0))
            elif not (rival.looks and chosen.looks) and abs(lead) < UNTOLD:
                self._doubt_both(chosen.id, rival.id)

    def _doubt_return(self, here: Here, person: Person, one: PersonSeen, frame: Frame) -> None:
        """Watch whether a track that was away came back with the body of another who was away.

        A tracker tells them by place, and two who were hidden may have changed theirs.
        """
        gone_ns = frame.at_ns - AWAY_NS
        if one.floor_mm is None or person.seen_ns > gone_ns:
            return
        away = [other for other in self.persons.values() if other.seen_ns <= gone_ns]
        rivals = [(other, self._gain(other, one, frame)) for other in away if other is not person]
        if rivals:
            self._doubt_rivals(here, person, self._gain(person, one, frame), rivals, frame)

    def _bear(self, person: Person, absent: Sequence[Person], anew: float, frame: Frame) -> None:
        """Watch whether somebody new is rather somebody lost whom one look did not tell."""
        scores = {
            lost.id: max(_nearness(lost, person.floor_mm, frame.at_ns) - anew, NEWBORN)
            for lost in absent
            if lost.looks and frame.at_ns - lost.seen_ns < LOST_NS_MAX
        }
        if scores and len(self.newborns) < DOUBTS_MAX:
            self.newborns.append(Newborn(person.id, frame.camera, frame.at_ns, scores))

    def _doubt_present(self, here: Here, person: Person, one: PersonSeen, frame: Frame) -> None:
        """Watch whether somebody new is rather somebody in view, whose track left that body."""
        anew = self._appears(one, frame.doors, looks=True)
        for name in here:
            other = self.persons[name]
            if other is person or not other.looks:
                continue
            left = _left_here(other, person.floor_mm, frame.at_ns) - anew
            score = min(left + ASTRAY, ASTRAY_MAX)
            if score > SETTLED:
                doubt = self._open(frame.camera, name, person.id, frame.at_ns, score)
                if doubt is not None:
                    doubt.born = person.id

    def _strayed(self, person: Person, track: str, one: PersonSeen, at_ns: int) -> bool:
        """Tell whether a known track has jumped to another body: its person is elsewhere."""
        if one.floor_mm is None:
            return False
        others_ns = [ns for name, ns in person.tracks.items() if name != track]
        fresh = any(at_ns - ns < TRACK_NS_MAX for ns in others_ns)
        if not fresh or person.far_mm(one.floor_mm, at_ns) <= JOIN_MM:
            return False
        self._forget_track(person, track)
        return True

    def _forget_track(self, person: Person, track: str) -> None:
        person.tracks.pop(track, None)
        self.by_track.pop(track, None)
        self.trails.pop(track, None)

    def _mix(self, present: Sequence[str], at_ns: int) -> None:
        """Note who vanished beside whom, and doubt both once they part again.

        Where both have an appearance, that tells them apart instead.
        """
        here = [self.persons[name] for name in present]
        for person in self.persons.values():
            if person.id not in present and at_ns - person.seen_ns > MERGED_NS:
                beside = [one for one in here if one.far_mm(person.floor_mm, at_ns) < MERGED_MM]
                if person.behind is None and beside:
                    person.behind = beside[0].id
        for person in here:
            other = self.persons.get(person.behind or "")
            person.behind = None
            if other is not None and not (person.looks and other.looks):
                self._doubt_both(person.id, other.id)

    # Comings and goings.

    def unseen_ns(self, person: Person) -> int:
        """Return for how long the camera that saw somebody last has looked and not seen them."""
        camera = max(person.tracks, key=person.tracks.__getitem__, default="").partition("/")[0]
        since_ns = max(person.seen_ns, self.steady_ns.get(camera, 0))
        return self.frame_ns.get(camera, 0) - since_ns

    def restore(self, person: Person) -> None:
        """Put back a person that the durable state names."""
        self.persons[person.id] = person
        for track in person.tracks:
            self.by_track[track] = person.id

    def depart(self, name: str, session: str) -> None:
        """Remove a person who has left with what a session's cart holds; keep where they were."""
        person = self.persons.get(name)
        self.forget(name)
        if person is not None:
            self.departed[name] = Departed(person, session)
            if len(self.departed) > DEPARTED_MAX:
                del self.departed[next(iter(self.departed))]

    def forget(self, name: str) -> None:
        """Remove a person."""
        person = self.persons.pop(name, None)
        if person is None:
            return
        for track in list(person.tracks):
            self._forget_track(person, track)
        self.doubts = [doubt for doubt in self.doubts if name not in (doubt.one, doubt.other)]
        self.newborns = [newborn for newborn in self.newborns if newborn.person != name]

    def forget_strangers(self, kept: set[str], now_ns: int) -> None:
        """Remove persons that belong to no session, or have left, and were not seen for long."""
        for name, one in list(self.departed.items()):
            if now_ns - one.person.seen_ns > DEPARTED_NS:
                del self.departed[name]
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
                self._forget_track(person, track)


def _nearness(person: Person, at_mm: tuple[float, float], at_ns: int) -> float:
    """Return how likely a person was to walk to a place since last seen: log, per square metre."""
    away_s = max(at_ns - person.seen_ns, 0) / 1e9
    return spread_density(person.far_mm(at_mm, at_ns), JOIN_SIGMA_MM + STRAY_MM_PER_S * away_s)


def _left_here(person: Person, at_mm: tuple[float, float], at_ns: int) -> float:
    """Return the same where a person's track may have left the body on the way, long before."""
    best = NEVER
    for seen_ns, x_mm, y_mm in reversed(person.places):
        if at_ns - seen_ns > ASTRAY_NS_MAX:
            break
        sigma_mm = JOIN_SIGMA_MM + STRAY_MM_PER_S * max(at_ns - seen_ns, 0) / 1e9
        gap_mm = hypot(x_mm - at_mm[0], y_mm - at_mm[1])
        best = max(best, spread_density(gap_mm, sigma_mm))
    return best


def _faceless(seen: PersonSeen) -> PersonSeen:
    return msgspec.structs.replace(seen, appearance=None)


def _inside(floor_mm: tuple[float, float], zones: Iterable[Zone]) -> bool:
    return Person(id="", floor_mm=floor_mm, seen_ns=0).inside(zones)
