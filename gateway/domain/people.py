# SPDX-License-Identifier: Apache-2.0
"""Tracks of all cameras joined into persons on the floor, with where their wrists were.

A new track goes to who fits best by place and appearance. Whether two tracks that came near each
other go on with each other's body is watched (:class:`Doubt`) and mended once it is clear.
"""

from collections.abc import Container, Iterable, Sequence
from math import hypot
from typing import Final, NamedTuple

import msgspec

from gateway.domain.identity import (
    FIRST_NS,
    KNOWN,
    LOOK_NS,
    Looks,
    Scatter,
    assign,
    spread_density,
)
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
"""Elsewhere, or by appearance, this soon."""
JOIN_SIGMA_MM: Final = 250.0
STRAY_MM_PER_S: Final = 600.0
"""How far from where it was last seen a body is, as a deviation: at once, and by and by."""
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
NEAR_MM: Final = 700.0
"""Two this near to each other may be exchanged by a tracker."""
TRAIL_MAX: Final = 200
"""Sightings of one track that can be given to another person: the latest."""
BLINK_NS: Final = 350_000_000
"""A camera that shows nothing for longer may have missed anything."""
LEAP_MM: Final = 220.0
"""How far a body is from where it was a frame ago, at most: a deviation."""
LEAP_MAX: Final = 4.0
STAND_MAX: Final = 6.0
"""What a leap onto the other's place, and its absence, say at most of an exchange."""
VIEWS_MM: Final = 300.0
"""How far apart two cameras see one body: a deviation."""
VIEWS_NS: Final = 400_000_000
VIEWS_MAX: Final = 6.0
EXCHANGED: Final = 8.0
"""Logarithm of a likelihood ratio at which an exchange, of which few happen, is believed."""
SETTLED: Final = -6.0
"""The same at which it is ruled out once the two have parted."""
TRUSTED: Final = -3.0
"""While two are near each other, their looks are learned only below this."""
DOUBT_NS_MAX: Final = 4_000_000_000
"""What was not settled this long after the two parted stays open."""
DOUBTS_MAX: Final = 128
EXCHANGES_MAX: Final = 64
APPEAR_ENTRY: Final = -1.2
APPEAR_EXIT: Final = -5.0
APPEAR_INSIDE: Final = -7.0
"""Logarithm of the density, per square metre, of somebody new appearing."""
NEWBORN: Final = -6.0
"""Somebody lost is watched for in somebody new with no less than this to begin with."""
NEVER: Final = -1e9
APPEAR_UNKNOWN: Final = -1_000.0
"""The same where no appearance could tell: who can be joined is."""
MERGED: Final = 4.0
"""Logarithm of a likelihood ratio at which somebody new is known for somebody who was lost."""
NEWBORN_NS_MAX: Final = 12_000_000_000
"""So long after somebody new appeared it is still looked for."""
RIVAL: Final = 12.0
"""Somebody who fits a new track worse than this by a logarithm of a likelihood is not doubted."""


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

    def see(self, seen: PersonSeen, at_ns: int) -> None:
        """Take in one sighting."""
        self.before_ns, self.seen_ns = self.seen_ns, at_ns
        self.before_mm, self.floor_mm = self.floor_mm, seen.floor_mm
        if seen.floor_mm is not None:
            self.places.append((at_ns, *seen.floor_mm))
        self.wrists += [(at_ns, *wrist.mm, wrist.sigma_mm) for wrist in seen.wrists]
        del self.places[:-TRAIL_MAX], self.wrists[: -2 * TRAIL_MAX]


class Doubt(msgspec.Struct):
    """Two persons of whom one camera may have exchanged the tracks.

    The score is the logarithm of how much better the tracks fit if they did, since the instant at
    which that is likeliest: while the two are near each other, the instant may be any.
    """

    one: str
    other: str
    camera: str
    near_ns: int
    since_ns: int
    score: float


class Newborn(msgspec.Struct):
    """Somebody new who may be somebody lost: how much better that fits, as a logarithm."""

    person: str
    camera: str
    born_ns: int
    scores: dict[str, float]


class Sighting(NamedTuple):
    """A track in the frame at hand."""

    track: str
    seen: PersonSeen
    trail: Trail


Here = dict[str, Sighting]
"""Who is in the frame at hand."""


class People(msgspec.Struct):
    """Everybody in the store."""

    persons: dict[str, Person] = {}
    by_track: dict[str, str] = {}
    trails: dict[str, Trail] = {}
    count: int = 0
    frame_ns: dict[str, int] = {}
    """Time of the latest frame of each camera."""
    turned_away: int = 0
    """Sightings of persons beyond ``PERSONS_MAX``, since last asked."""
    doubts: list[Doubt] = []
    newborns: list[Newborn] = []
    scatter: Scatter = msgspec.field(default_factory=Scatter)
    exchanged: list[tuple[str, str, int]] = []
    """Who turned out to be each other, and since when (ns); for whoever asks, who clears it."""
    merged: list[tuple[str, str]] = []
    """Who turned out to be somebody lost, who stays; for whoever asks, who clears it."""

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
        here: Here = {}
        newcomers: list[tuple[str, PersonSeen]] = []
        for one in seen:
            track = f"{camera}/{boot}/{one.track}"
            person = self.persons.get(self.by_track.get(track, ""))
            if person is None or person.id in here or self._strayed(person, track, one, at_ns):
                newcomers.append((track, one))
            else:
                self._take(here, person, track, one, at_ns)
        gap_ns = at_ns - last_ns if last_ns else 0
        self._join(here, camera, newcomers, at_ns, gap_ns, prefix, doors)
        self._know_again(here, camera, at_ns, bound)
        self._watch_near(here, camera, at_ns, blinked=gap_ns > BLINK_NS)
        self._weigh(here, camera, at_ns)
        self._learn(here, camera)
        here = {self.by_track[one.track]: one for one in here.values()}
        present = list(here)
        self._mix(present, at_ns)
        return present

    def _take(self, here: Here, person: Person, track: str, one: PersonSeen, at_ns: int) -> None:
        """Give a sighting to a person."""
        self.by_track[track] = person.id
        trail = self.trails.setdefault(track, Trail(track.partition("/")[0]))
        trail.see(one, at_ns)
        person.see(track, one, at_ns)
        here[person.id] = Sighting(track, one, trail)
        if len(person.tracks) > TRACKS_MAX:
            self._forget_track(person, min(person.tracks, key=person.tracks.__getitem__))

    # New tracks.

    def _join(
        self,
        here: Here,
        camera: str,
        newcomers: Sequence[tuple[str, PersonSeen]],
        at_ns: int,
        gap_ns: int,
        prefix: str,
        doors: Sequence[Zone],
    ) -> None:
        """Give new tracks to those who most likely made them, all at once, or to new persons.

        People come in through a door; a body that appears elsewhere was there before.
        """
        told = [
            (track, one)
            for track, one in newcomers
            # Nobody can be told by a track alone; and one body may be seen twice.
            if one.floor_mm is not None and not self._double(here, camera, one)
        ]
        if not told:
            return
        absent = [person for person in self.persons.values() if person.id not in here]
        gains = [
            [self._gain(person, camera, one, at_ns, doors) for person in absent] for _, one in told
        ]
        known = {person.id: person for person in absent if person.looks}
        anew = [
            [NEVER] * number
            + [self._appears(one, doors, looks=bool(known))]
            + [NEVER] * (len(told) - number - 1)
            for number, (_, one) in enumerate(told)
        ]
        chosen = assign([mine + new for mine, new in zip(gains, anew, strict=True)])
        for number, (track, one) in enumerate(told):
            column = chosen[number]
            if column < len(absent):
                person = absent[column]
                self._take(here, person, track, one, at_ns)
                self._doubt_rivals(here, camera, absent, gains[number], column, at_ns)
                continue
            assert one.floor_mm is not None
            if any(self._same(here, name, one) for name in here):
                continue  # Two new tracks of one body.
            if len(self.persons) >= PERSONS_MAX:
                self.turned_away += 1
                continue
            self.count += 1
            person = Person(
                id=f"{prefix}{self.count}",
                floor_mm=one.floor_mm,
                seen_ns=at_ns,
                first_mm=one.floor_mm,
                roam_mm=WALK_MM_PER_S * gap_ns / 1e9 if gap_ns > BLINK_NS else 0.0,
            )
            self.persons[person.id] = person
            self._take(here, person, track, one, at_ns)
            self._bear(person, camera, absent, anew[number][number], at_ns)

    def _same(self, here: Here, name: str, one: PersonSeen) -> bool:
        """Tell whether a track is where somebody of this frame is."""
        assert one.floor_mm is not None
        return name in here and self.persons[name].distance_mm(one.floor_mm) < SAME_MM

    def _double(self, here: Here, camera: str, one: PersonSeen) -> bool:
        """Tell whether a new track is of a body that has one already."""
        for name in here:
            if self._same(here, name, one):
                fit = self.scatter.fit(self.persons[name].looks, camera, one.appearance)
                if fit is None or fit > 0.0:
                    return True
        return False

    def _gain(
        self, person: Person, camera: str, one: PersonSeen, at_ns: int, doors: Sequence[Zone]
    ) -> float:
        """Return the log-likelihood of a new track being somebody who is not in this frame."""
        assert one.floor_mm is not None
        away_ns = max(at_ns - person.seen_ns, 0)
        reach_mm = JOIN_MM + WALK_MM_PER_S * away_ns / 1e9
        if away_ns > LOST_NS_MAX or person.distance_mm(one.floor_mm) > reach_mm:
            return NEVER
        fit = self.scatter.fit(person.looks, camera, one.appearance)
        if (fit is None or fit < 0.0) and away_ns > JOIN_NS_MAX and _inside(one.floor_mm, doors):
            return NEVER
        return _nearness(person, one.floor_mm, at_ns) + (fit or 0.0)

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
        camera: str,
        absent: Sequence[Person],
        gains: Sequence[float],
        chosen: int,
        at_ns: int,
    ) -> None:
        """Watch whether a new track is rather somebody else who could have made it."""
        for number, rival in enumerate(absent):
            behind = gains[chosen] - gains[number]
            if number != chosen and abs(behind) < RIVAL and rival.looks and rival.id not in here:
                self._open(camera, absent[chosen].id, rival.id, at_ns, -max(behind, 0.0))

    def _bear(
        self, person: Person, camera: str, absent: Sequence[Person], anew: float, at_ns: int
    ) -> None:
        """Watch whether somebody new is rather somebody lost whom one look did not tell."""
        scores = {
            lost.id: max(_nearness(lost, person.floor_mm, at_ns) - anew, NEWBORN)
            for lost in absent
            if lost.looks and at_ns - lost.seen_ns < LOST_NS_MAX
        }
        if scores and len(self.newborns) < DOUBTS_MAX:
            self.newborns.append(Newborn(person.id, camera, at_ns, scores))

    def _know_again(self, here: Here, camera: str, at_ns: int, bound: Container[str]) -> None:
        """Let somebody new be somebody lost, where more looks tell so."""
        left = []
        for newborn in self.newborns:
            if newborn.person in bound or at_ns - newborn.born_ns > NEWBORN_NS_MAX:
                continue
            if newborn.camera == camera:
                best = self._recognised(newborn, here, at_ns)
                if best is not None:
                    self._merge(here, newborn.person, best)
                    continue
            if newborn.scores:
                left.append(newborn)
        self.newborns = [newborn for newborn in left if newborn.person in self.persons]

    def _recognised(self, newborn: Newborn, here: Here, at_ns: int) -> str | None:
        """Return whom somebody new turned out to be."""
        sighting = here.get(newborn.person)
        if sighting is None:
            return None
        best: tuple[float, str] | None = None
        looks = self.persons[newborn.person].looks
        for name in list(newborn.scores):
            lost = self.persons.get(name)
            if lost is None or name in here:
                del newborn.scores[name]
                continue
            beside_mm = self._seen_beside(lost, newborn.camera, sighting.trail.floor_mm, at_ns)
            if beside_mm is not None:
                gain = max(1.0 - 0.5 * (beside_mm / VIEWS_MM) ** 2, -VIEWS_MAX)
                newborn.scores[name] += gain * _part(sighting.trail)
            score = newborn.scores[name] + self.scatter.match(looks, lost.looks, newborn.camera)
            if score > MERGED and (best is None or score > best[0]):
                best = (score, name)
        return best[1] if best is not None else None

    def _merge(self, here: Here, name: str, kept: str) -> None:
        """Let somebody new be somebody else from the beginning."""
        person, lost = self.persons[name], self.persons[kept]
        for track in person.tracks:
            self.by_track[track] = kept
        lost.tracks |= person.tracks
        lost.places = sorted([*lost.places, *person.places])
        lost.wrists = sorted([*lost.wrists, *person.wrists])
        if person.seen_ns >= lost.seen_ns:
            lost.floor_mm, lost.seen_ns = person.floor_mm, person.seen_ns
        if name in here:
            here[kept] = here.pop(name)
        del self.persons[name]
        self.doubts = [doubt for doubt in self.doubts if name not in (doubt.one, doubt.other)]
        self.merged = [*self.merged[1 - EXCHANGES_MAX :], (name, kept)]

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
        self.trails.pop(track, None)

    # Exchanges.

    def _open(self, camera: str, one: str, other: str, at_ns: int, score: float) -> Doubt | None:
        """Begin to watch two persons, or go on."""
        for doubt in self.doubts:
            if doubt.camera == camera and {doubt.one, doubt.other} == {one, other}:
                return doubt
        if len(self.doubts) >= DOUBTS_MAX:
            return None
        doubt = Doubt(one, other, camera, near_ns=at_ns, since_ns=at_ns, score=score)
        self.doubts.append(doubt)
        return doubt

    def _watch_near(self, here: Here, camera: str, at_ns: int, *, blinked: bool) -> None:
        """Note who may be exchanged in this frame: who is near each other in it."""
        looking = [
            (name, one.trail.floor_mm, one)
            for name, one in here.items()
            if one.trail.floor_mm is not None and one.seen.appearance
        ]
        for index, (name, mine_mm, mine) in enumerate(looking):
            for other, theirs_mm, theirs in looking[:index]:
                gap_mm = hypot(mine_mm[0] - theirs_mm[0], mine_mm[1] - theirs_mm[1])
                if gap_mm > NEAR_MM and not blinked:
                    continue
                doubt = self._open(camera, other, name, at_ns, SETTLED)
                if doubt is None:
                    continue
                if at_ns - doubt.near_ns > LOOK_NS or doubt.since_ns == at_ns:
                    self.scatter.compare(
                        self.persons[name].looks, self.persons[other].looks, camera
                    )
                doubt.near_ns = at_ns
                leap = _leap(mine.trail, theirs.trail)
                if leap > doubt.score:
                    doubt.score, doubt.since_ns = leap, at_ns

    def _weigh(self, here: Here, camera: str, at_ns: int) -> None:
        """Take in what this frame says of everybody in doubt, and exchange where it is clear."""
        open_doubts = []
        settled: list[Doubt] = []
        for doubt in self.doubts:
            if doubt.camera == camera and (doubt.one in here or doubt.other in here):
                doubt.score += self._evidence(doubt, here, at_ns)
            parted_ns = at_ns - doubt.near_ns
            if doubt.score > EXCHANGED:
                settled.append(doubt)
            elif parted_ns > 0 and doubt.score < SETTLED:
                continue
            elif parted_ns > DOUBT_NS_MAX:
                if doubt.score > 0.0:
                    self.persons[doubt.one].doubt(doubt.other)
                    self.persons[doubt.other].doubt(doubt.one)
            else:
                open_doubts.append(doubt)
        self.doubts = open_doubts
        for doubt in sorted(settled, key=lambda doubt: -doubt.score):
            self._exchange(doubt)

    def _evidence(self, doubt: Doubt, here: Here, at_ns: int) -> float:
        """Return how much better a frame fits if two are exchanged, as a logarithm."""
        one, other = self.persons[doubt.one], self.persons[doubt.other]
        total = 0.0
        for mine, theirs in ((one, other), (other, one)):
            sighting = here.get(mine.id)
            if sighting is None:
                continue
            seen = sighting.seen.appearance
            straight = self.scatter.fit(mine.looks, doubt.camera, seen)
            crossed = self.scatter.fit(theirs.looks, doubt.camera, seen)
            gain = 0.0
            if straight is not None and crossed is not None:
                gain = crossed - straight
            gain += self._other_views(doubt.camera, sighting, mine, theirs, at_ns)
            total += gain * _part(sighting.trail)
        return total

    def _other_views(
        self, camera: str, sighting: Sighting, mine: Person, theirs: Person, at_ns: int
    ) -> float:
        """Return how much better a track's place fits what other cameras see of another body."""
        at_mm = sighting.trail.floor_mm
        straight_mm, crossed_mm = (
            self._seen_beside(person, camera, at_mm, at_ns) for person in (mine, theirs)
        )
        if straight_mm is None or crossed_mm is None:
            return 0.0
        gain = (straight_mm**2 - crossed_mm**2) / (2 * VIEWS_MM**2)
        return max(-VIEWS_MAX, min(gain, VIEWS_MAX))

    def _seen_beside(
        self, person: Person, camera: str, at_mm: tuple[float, float] | None, at_ns: int
    ) -> float | None:
        """Return how far from a place other cameras see somebody right now."""
        found = None
        for track, seen_ns in person.tracks.items():
            trail = self.trails.get(track)
            if trail is None or trail.camera == camera or at_ns - seen_ns > VIEWS_NS:
                continue
            if trail.floor_mm is not None and at_mm is not None:
                found = hypot(trail.floor_mm[0] - at_mm[0], trail.floor_mm[1] - at_mm[1])
        return found

    def _exchange(self, doubt: Doubt) -> None:
        """Give what one camera saw of two persons since an instant to each other."""
        one, other = self.persons[doubt.one], self.persons[doubt.other]
        moving = [
            [
                track
                for track in person.tracks
                if (trail := self.trails.get(track)) is not None
                and trail.camera == doubt.camera
                and trail.seen_ns >= doubt.since_ns
            ]
            for person in (one, other)
        ]
        for tracks, giver, taker in ((moving[0], one, other), (moving[1], other, one)):
            for track in tracks:
                self._give(track, giver, taker, doubt.since_ns)
        for newborn in self.newborns:
            if newborn.person in (one.id, other.id):
                # What was learned of somebody that new was learned of the other.
                self.persons[newborn.person].looks.pop(doubt.camera, None)
                newborn.scores = dict.fromkeys(newborn.scores, 0.0)
        for person in (one, other):
            person.places.sort()
            person.wrists.sort()
            if person.places:
                person.floor_mm = person.places[-1][1:]
            person.seen_ns = max(
                [*person.tracks.values(), *(place[0] for place in person.places[-1:])],
                default=person.seen_ns,
            )
        self.exchanged = [*self.exchanged[1 - EXCHANGES_MAX :], (one.id, other.id, doubt.since_ns)]

    def _give(self, track: str, giver: Person, taker: Person, since_ns: int) -> None:
        """Give a track, and what it showed since an instant, to another person."""
        trail = self.trails[track]
        places = {place for place in trail.places if place[0] >= since_ns}
        wrists = {wrist for wrist in trail.wrists if wrist[0] >= since_ns}
        taker.places += [place for place in giver.places if place in places]
        taker.wrists += [wrist for wrist in giver.wrists if wrist in wrists]
        giver.places = [place for place in giver.places if place not in places]
        giver.wrists = [wrist for wrist in giver.wrists if wrist not in wrists]
        taker.tracks[track] = giver.tracks.pop(track)
        self.by_track[track] = taker.id

    # Templates.

    def _learn(self, here: Here, camera: str) -> None:
        """Take in what those look like who are surely who they are."""
        unsure = {
            name: None
            for doubt in self.doubts
            if doubt.score > TRUSTED
            for name in (doubt.one, doubt.other)
        }
        for sighting in here.values():
            seen, trail = sighting.seen.appearance, sighting.trail
            person = self.persons[self.by_track[sighting.track]]
            if not seen:
                continue
            known = person.looks.get(camera)
            if person.id in unsure and known is not None and known.looks > KNOWN:
                continue
            part = _part(trail)
            if part > 0.0:
                self.scatter.learn(person.looks, camera, seen, part)

    def _mix(self, present: Sequence[str], at_ns: int) -> None:
        """Note who vanished beside whom, and doubt both once they part again.

        Where both have an appearance, that tells them apart instead.
        """
        here = [self.persons[name] for name in present]
        for person in self.persons.values():
            if person.id not in present and at_ns - person.seen_ns > MERGED_NS:
                beside = [one for one in here if one.distance_mm(person.floor_mm) < MERGED_MM]
                if person.behind is None and beside:
                    person.behind = beside[0].id
        for person in here:
            other = self.persons.get(person.behind or "")
            person.behind = None
            if other is not None and not (person.looks and other.looks):
                person.doubt(other.id)
                other.doubt(person.id)

    # Comings and goings.

    def unseen_ns(self, person: Person) -> int:
        """Return for how long somebody was not seen, by the camera that saw them last."""
        last = max(person.tracks, key=person.tracks.__getitem__, default="")
        return self.frame_ns.get(last.partition("/")[0], 0) - person.seen_ns

    def restore(self, person: Person) -> None:
        """Put back a person that the durable state names."""
        self.persons[person.id] = person
        for track in person.tracks:
            self.by_track[track] = person.id

    def forget(self, name: str) -> None:
        """Remove a person who has left."""
        person = self.persons.pop(name, None)
        if person is None:
            return
        for track in list(person.tracks):
            self._forget_track(person, track)
        self.doubts = [doubt for doubt in self.doubts if name not in (doubt.one, doubt.other)]
        self.newborns = [newborn for newborn in self.newborns if newborn.person != name]

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
                self._forget_track(person, track)


def _nearness(person: Person, at_mm: tuple[float, float], at_ns: int) -> float:
    """Return how likely a person was to walk to a place since last seen: log, per square metre."""
    away_s = max(at_ns - person.seen_ns, 0) / 1e9
    return spread_density(person.distance_mm(at_mm), JOIN_SIGMA_MM + STRAY_MM_PER_S * away_s)


def _part(trail: Trail) -> float:
    """Return how much of a new look the latest one of a track is."""
    new_ns = trail.seen_ns - trail.before_ns if trail.before_ns else FIRST_NS
    return max(min(new_ns, LOOK_NS), 0) / LOOK_NS


def _leap(one: Trail, other: Trail) -> float:
    """Return how much likelier it is by place that two were exchanged in this frame than not."""
    here, there, was_here, was_there = one.floor_mm, other.floor_mm, one.before_mm, other.before_mm
    if here is None or there is None or was_here is None or was_there is None:
        return 0.0
    if min(one.before_ns, other.before_ns) < max(one.seen_ns, other.seen_ns) - BLINK_NS:
        return 0.0

    def far2(a: tuple[float, float], b: tuple[float, float]) -> float:
        return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2

    straight2 = far2(here, was_here) + far2(there, was_there)
    crossed2 = far2(here, was_there) + far2(there, was_here)
    return max(-STAND_MAX, min((straight2 - crossed2) / (2 * LEAP_MM**2), LEAP_MAX))


def _inside(floor_mm: tuple[float, float], zones: Iterable[Zone]) -> bool:
    return Person(id="", floor_mm=floor_mm, seen_ns=0).inside(zones)
