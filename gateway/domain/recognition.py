# SPDX-License-Identifier: Apache-2.0
"""Persons who turn out to be others: exchanged by a tracker, or lost and taken for somebody new."""

from collections.abc import Container, Sequence
from math import hypot
from typing import Final

import msgspec

from gateway.domain.identity import KNOWN, LOOK_NS, Scatter
from gateway.domain.persons import Here, Person, Sighting, Trail, part

BLINK_NS: Final = 350_000_000
"""A camera that shows nothing for longer may have missed anything."""
NEAR_MM: Final = 700.0
"""Two this near to each other may be exchanged by a tracker."""
LEAP_MM: Final = 220.0
"""How far a body is from where it was a frame ago, at most: a deviation."""
LEAP_MAX: Final = 4.0
LEAP_PLAIN: Final = 1.0
"""What a leap has to say of an exchange where no looks will tell."""
STAND_MAX: Final = 6.0
"""What a leap onto the other's place, and its absence, say at most of an exchange."""
VIEWS_MM: Final = 300.0
"""How far apart two cameras see one body: a deviation."""
VIEWS_NS: Final = 400_000_000
VIEWS_MAX: Final = 6.0
EXCHANGED: Final = 8.0
"""Logarithm of a likelihood ratio at which an exchange, of which few happen, is believed."""
SETTLED: Final = -6.0
"""The same at which it is ruled out once the two have parted; until then, what either looks like is
not learned, lest it be the other."""
DOUBT_NS_MAX: Final = 4_000_000_000
"""What was not settled this long after the two parted stays open."""
DOUBTS_MAX: Final = 128
EXCHANGES_MAX: Final = 64
MERGED: Final = 4.0
"""Logarithm of a likelihood ratio at which somebody new is known for somebody who was lost."""
NEWBORN_NS_MAX: Final = 12_000_000_000
"""So long after somebody new appeared it is still looked for."""


class TrackDoubt(msgspec.Struct):
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
    born: str = ""
    """Which of them is new since then: if the two are exchanged, the looks learned of this one are
    the other's, and this one's body is one that nobody knew."""


class Newborn(msgspec.Struct):
    """Somebody new who may be somebody lost: how much better that fits, as a logarithm."""

    person: str
    camera: str
    born_ns: int
    scores: dict[str, float]


class Recognition(msgspec.Struct):
    """Persons by track, and the doubts about who is who."""

    persons: dict[str, Person] = {}
    by_track: dict[str, str] = {}
    trails: dict[str, Trail] = {}
    doubts: list[TrackDoubt] = []
    newborns: list[Newborn] = []
    scatter: Scatter = msgspec.field(default_factory=Scatter)
    exchanged: list[tuple[str, str, int]] = []
    """Who turned out to be each other, and since when (ns); for whoever asks, who clears it."""
    merged: list[tuple[str, str, int]] = []
    """Who turned out to be somebody lost, who stays, and since when (ns); likewise."""

    def _know_again(self, here: Here, camera: str, at_ns: int, bound: Container[str]) -> None:
        """Let somebody new be somebody lost, where more looks tell so."""
        # Whoever scans after somebody else did is another body.
        self.doubts = [doubt for doubt in self.doubts if doubt.born not in bound]
        left = []
        for newborn in self.newborns:
            if newborn.person in bound or at_ns - newborn.born_ns > NEWBORN_NS_MAX:
                continue
            if newborn.camera == camera:
                best = self._recognised(newborn, here, at_ns)
                if best is not None:
                    self._merge(here, newborn.person, best, newborn.born_ns)
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
                newborn.scores[name] += gain * part(sighting.trail)
            match = self.scatter.match(looks, lost.looks, newborn.camera)
            score = newborn.scores[name] + (match or 0.0)
            if match is not None and score > MERGED and (best is None or score > best[0]):
                best = (score, name)
        return best[1] if best is not None else None

    def _merge(self, here: Here, name: str, kept: str, since_ns: int) -> None:
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
        self.merged = [*self.merged[1 - EXCHANGES_MAX :], (name, kept, since_ns)]

    def _open(
        self, camera: str, one: str, other: str, at_ns: int, score: float
    ) -> TrackDoubt | None:
        """Begin to watch two persons, or go on."""
        for doubt in self.doubts:
            if doubt.camera == camera and {doubt.one, doubt.other} == {one, other}:
                return doubt
        if len(self.doubts) >= DOUBTS_MAX:
            return None
        doubt = TrackDoubt(one, other, camera, near_ns=at_ns, since_ns=at_ns, score=score)
        self.doubts.append(doubt)
        return doubt

    def _watch_near(self, here: Here, camera: str, at_ns: int, *, blinked: bool) -> None:
        """Note who may be exchanged in this frame: near each other in it, or both far at once."""
        placed = [
            (name, one.trail.floor_mm, one)
            for name, one in here.items()
            if one.trail.floor_mm is not None
        ]
        far = {name for name, _, one in placed if one.trail.leapt}
        for index, (name, mine_mm, mine) in enumerate(placed):
            for other, theirs_mm, theirs in placed[:index]:
                gap_mm = hypot(mine_mm[0] - theirs_mm[0], mine_mm[1] - theirs_mm[1])
                leapt = name in far and other in far
                if gap_mm > NEAR_MM and not blinked and not leapt:
                    continue
                leap = _leap(mine.trail, theirs.trail)
                if self._has_looks(name, mine) and self._has_looks(other, theirs):
                    self._note_near(camera, other, name, at_ns, leap)
                elif leapt and leap > LEAP_PLAIN:
                    self._doubt_both(name, other)

    def _note_near(self, camera: str, one: str, other: str, at_ns: int, leap: float) -> None:
        """Go on watching two of whom looks will tell whether they were exchanged."""
        doubt = self._open(camera, one, other, at_ns, SETTLED)
        if doubt is None:
            return
        if at_ns - doubt.near_ns > LOOK_NS or doubt.since_ns == at_ns:
            self.scatter.compare(self.persons[other].looks, self.persons[one].looks, camera)
        doubt.near_ns = at_ns
        if leap > doubt.score:
            doubt.score, doubt.since_ns = leap, at_ns

    def _has_looks(self, name: str, one: Sighting) -> bool:
        """Tell whether looks say who somebody is, now or once the body is in full view again."""
        return bool(one.seen.appearance or self.persons[name].looks)

    def _doubt_both(self, one: str, other: str) -> None:
        """Remember that two may be each other."""
        self.persons[one].doubt(other)
        self.persons[other].doubt(one)

    def _weigh(self, here: Here, camera: str, at_ns: int) -> None:
        """Take in what this frame says of everybody in doubt, and exchange where it is clear."""
        open_doubts = []
        settled: list[TrackDoubt] = []
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
                    self._doubt_both(doubt.one, doubt.other)
            else:
                open_doubts.append(doubt)
        self.doubts = open_doubts
        for doubt in sorted(settled, key=lambda doubt: -doubt.score):
            self._exchange(doubt)

    def _evidence(self, doubt: TrackDoubt, here: Here, at_ns: int) -> float:
        """Return how much better a frame fits if two are exchanged, as a logarithm."""
        one, other = self.persons[doubt.one], self.persons[doubt.other]
        total = 0.0
        for mine, theirs in ((one, other), (other, one)):
            sighting = here.get(mine.id)
            if sighting is None:
                continue
            seen = sighting.seen.appearance
            straight, crossed = (self._fit(doubt, who, seen) for who in (mine, theirs))
            gain = 0.0
            if straight is not None and crossed is not None:
                gain = crossed - straight
            gain += self._other_views(doubt.camera, sighting, mine, theirs, at_ns)
            total += gain * part(sighting.trail)
        return total

    def _fit(self, doubt: TrackDoubt, person: Person, seen: Sequence[float] | None) -> float | None:
        """Return how well a look fits a body; whatever it is, it fits one that is not known."""
        fit = self.scatter.fit(person.looks, doubt.camera, seen)
        return 0.0 if person.id == doubt.born and seen else fit

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

    def _exchange(self, doubt: TrackDoubt) -> None:
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
            if doubt.score > SETTLED
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
            new = part(trail)
            if new > 0.0:
                self.scatter.learn(person.looks, camera, seen, new)


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
