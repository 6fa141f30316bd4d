# SPDX-License-Identifier: Apache-2.0
"""Shoppers: where they walk, where their hands are, what they take. Scripts in virtual time.

A visit is a generator that is resumed once a step. Units: mm, seconds of the world's time.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.simulator.layout import Layout, Point2, Point3, distance_mm
from gateway.simulator.stock import Stock, TrueAct, Truth, Unit

Steps = Iterator[None]
Hands = tuple[Point3, Point3]

WALK_MM_S = 1_250.0
"""Never more than 1.4 m/s, avoidance included."""
WALK_MAX_MM_S = 1_400.0
TURN_RAD_S = 6.0
PERSONAL_MM = 750.0
"""Nearer than this, walkers give way."""
BODY_MM = 260.0
"""Nobody's middle comes nearer to a gondola than this."""
TOUCH_MM = 500.0
"""Two middles never come nearer than this."""
PATIENCE_S = 9.0
"""Who waits this long for a place at a shelf goes without."""
DETOUR_MM = 700.0
"""To a plate farther than this one walks along the middle of the aisle."""
SQUEEZE_S = 3.0  # After it, who has no room to pass somebody passes near.
ASIDE_S = 1.2
"""Who waits this long for a place makes room for the others, who may wait for this one's."""
RESCAN_S = 7.0
"""A door that stays shut so long after a scan is asked again, with a new token."""


@dataclass(frozen=True, slots=True)
class Pose:
    """One body at one instant; the fields mean what they mean in ``vision.rendering.Body``."""

    shopper: str
    floor_mm: Point2
    heading_rad: float
    height_mm: float
    wrists_mm: Hands
    look: int
    held: tuple[str | None, str | None]
    """GTIN of what the left and the right hand hold."""
    stride_mm: float


@dataclass(frozen=True, slots=True)
class Errand:
    """One thing that a shopper means to do."""

    kind: Literal["pick", "put-back", "touch"]
    plate: int
    gtin: str
    quantity: int = 1


class Crowd(Protocol):
    """What a shopper knows of the store and of the others."""

    layout: Layout
    stock: Stock
    truth: Truth
    now_s: float
    dt_s: float

    def stamp_ns(self, at_s: float) -> int:
        """Return the instant on the clock of the truth."""
        ...

    def others(self, shopper: str) -> list[Point2]:
        """Return where the other bodies are."""
        ...

    def entry_is_free(self, shopper: str) -> bool:
        """Return whether nobody else is in or before the entry zone."""
        ...

    def scan(self, shopper: str) -> None:
        """Hold an entry token to the scanner."""
        ...

    def let_in(self, shopper: str) -> bool:
        """Return whether the door opened for this shopper's scan."""
        ...

    def reserve(self, shopper: str, point: Point2 | None) -> bool:
        """Claim a place to stand (None: give it up); False if someone stands too near."""
        ...

    def refuge(self, shopper: str) -> Point2 | None:
        """Return where to wait in fewer others' way; None: stay."""
        ...

    def claim_way(self, shopper: str, target: Point2, *, squeeze: bool) -> float | None:
        """Claim the way to a place; None while somebody walks there or there is no room to pass.

        Args:
            shopper: Who walks.
            target: Where to.
            squeeze: Pass near others if need be.

        Returns: how far beside the aisle's middle to walk.
        """
        ...

    def release_way(self, shopper: str) -> None:
        """Have arrived."""
        ...


class Shopper:
    """One visit of one person."""

    def __init__(self, name: str, crowd: Crowd, errands: list[Errand], rng: random.Random) -> None:
        self.name = name
        self.errands = list(errands)
        self.done = False
        self.present = False
        self.held: list[Unit] = []
        self._crowd = crowd
        self._rng = rng
        self._look = rng.randrange(2**31)
        self._height = rng.uniform(1_600.0, 1_860.0)
        self._speed = WALK_MM_S * rng.uniform(0.8, 1.05)
        self._position: Point2 = crowd.layout.way_in()
        self._heading = 0.0
        self._walked_mm = 0.0
        self._moving = False
        self._swing = 0.0
        self._lane_mm = 0.0
        self._reach: tuple[int, Point3] | None = None
        self._in_hand: list[str | None] = [None, None]
        self._visit = self._visit_steps()

    @property
    def position(self) -> Point2:
        """Between the feet."""
        return self._position

    def wanted(self) -> list[Point2]:
        """Return where this shopper would stand for what it could do next."""
        plates = self._crowd.layout.plates
        return [
            plates[errand.plate].stand_mm
            for errand in self.errands
            if errand.kind != "put-back" or self._holds(errand)
        ]

    def step(self) -> None:
        """Live through one step of the world."""
        if not self.done and next(self._visit, "over") == "over":
            self.done = True
            self.present = False
        most = 4.0 * self._crowd.dt_s
        self._swing += max(-most, min(most, float(self._moving) - self._swing))

    def pose(self) -> Pose:
        """Return the body as it is now."""
        phase = 2 * math.pi * self._walked_mm / 1_400.0
        swing = 130.0 * self._swing * math.sin(phase)
        hands = list(resting_hands(self._position, self._heading, self._height, swing))
        if self._reach is not None:
            side, point = self._reach
            hands[side] = point
        return Pose(
            shopper=self.name,
            floor_mm=self._position,
            heading_rad=self._heading,
            height_mm=self._height,
            wrists_mm=(hands[0], hands[1]),
            look=self._look,
            held=(self._in_hand[0], self._in_hand[1]),
            stride_mm=-1.8 * swing,
        )

    def _visit_steps(self) -> Steps:
        crowd = self._crowd
        while not crowd.entry_is_free(self.name):
            yield
        self.present = True
        _, _, scan_point = crowd.layout.scan_point()
        yield from self._walk(scan_point)
        yield from self._enter()
        waiting_since_s = patient_since_s = crowd.now_s
        while self.errands:
            errand = self._next_errand()
            if errand is not None:
                yield from self._errand(errand)
                waiting_since_s = patient_since_s = crowd.now_s
                continue
            if self._give_up_one(crowd.now_s - patient_since_s):
                patient_since_s = crowd.now_s
            if crowd.now_s - waiting_since_s > ASIDE_S:
                yield from self._step_aside()
            yield from self._stay(0.2)
        crowd.reserve(self.name, None)
        exit_point, beyond = crowd.layout.way_out()
        yield from self._await_way(exit_point)
        aisle_point = crowd.layout.aisle_point
        yield from self._walk(aisle_point(self._position, self._lane_mm), near_mm=200.0)
        yield from self._walk(aisle_point(exit_point, self._lane_mm), near_mm=300.0)
        crowd.release_way(self.name)
        yield from self._walk(beyond, near_mm=300.0)
        basket = crowd.truth.baskets[self.name]
        assert sum(basket.values()) == len(self.held)
        crowd.truth.left_ns[self.name] = crowd.stamp_ns(crowd.now_s)

    def _enter(self) -> Steps:
        crowd = self._crowd
        yield from self._stay(self._rng.uniform(0.4, 0.8))
        while True:
            crowd.scan(self.name)
            asked_s = crowd.now_s
            while not crowd.let_in(self.name) and crowd.now_s - asked_s < RESCAN_S:
                yield from self._stay(crowd.dt_s)
            if crowd.let_in(self.name):
                break
        crowd.truth.baskets[self.name] = {}
        crowd.truth.entered_ns[self.name] = crowd.stamp_ns(crowd.now_s)
        yield from self._stay(self._rng.uniform(0.2, 0.4))

    def _next_errand(self) -> Errand | None:
        """Return an errand whose place is free, the planned order first."""
        self.errands = [errand for errand in self.errands if self._possible(errand)]
        for number, errand in enumerate(self.errands):
            if errand.kind == "put-back" and not self._holds(errand):
                continue
            place = self._crowd.layout.plates[errand.plate]
            if self._crowd.reserve(self.name, place.stand_mm):
                return self.errands.pop(number)
        return None

    def _give_up_one(self, waited_s: float) -> bool:
        """Go without one thing, but never without putting a thing in a wrong place."""
        wrong = {errand.gtin for errand in self.errands if self._misplaces(errand)}
        for number, errand in enumerate(self.errands):
            # Longer to get rid of a thing than to get one.
            patience_s = PATIENCE_S if errand.kind != "put-back" else 2.5 * PATIENCE_S
            if errand.gtin not in wrong and waited_s > patience_s:
                del self.errands[number]
                return True
        return False

    def _misplaces(self, errand: Errand) -> bool:
        plate = self._crowd.layout.plates[errand.plate]
        return errand.kind == "put-back" and errand.gtin != plate.gtin

    def _step_aside(self) -> Steps:
        """Leave the place at the shelf to whoever waits for it."""
        crowd = self._crowd
        refuge = crowd.refuge(self.name)
        if refuge is None or not crowd.reserve(self.name, refuge):
            return
        lane_mm = crowd.claim_way(self.name, refuge, squeeze=False)
        if lane_mm is None:
            crowd.reserve(self.name, None)
            return
        self._lane_mm = lane_mm
        yield from self._walk_along(refuge)
        yield from self._walk(refuge, near_mm=100.0)
        crowd.release_way(self.name)
        crowd.reserve(self.name, None)

    def _holds(self, errand: Errand) -> bool:
        return sum(unit.gtin == errand.gtin for unit in self.held) >= errand.quantity

    def _possible(self, errand: Errand) -> bool:
        """Return whether a put-back is still to be: what was sold out cannot come back."""
        picks = (one for one in self.errands if one.kind == "pick")
        return (
            errand.kind != "put-back"
            or self._holds(errand)
            or any(one.gtin == errand.gtin for one in picks)
        )

    def _errand(self, errand: Errand) -> Steps:
        crowd, rng = self._crowd, self._rng
        place = crowd.layout.plates[errand.plate]
        aside = rng.uniform(-60.0, 60.0)
        target = (
            place.stand_mm[0] - aside * place.inward[1],
            place.stand_mm[1] + aside * place.inward[0],
        )
        yield from self._await_way(target)
        yield from self._walk_along(target)
        yield from self._walk(target)
        crowd.release_way(self.name)
        yield from self._face(math.atan2(place.inward[1], place.inward[0]))
        yield from self._stay(rng.uniform(0.25, 0.9))
        if errand.kind == "pick":
            there = crowd.stock.count(errand.plate, errand.gtin)
            if there < errand.quantity:
                return  # Sold out; a shopper goes without.
        yield from self._handle(errand)
        yield from self._stay(rng.uniform(0.4, 0.9))
        crowd.reserve(self.name, None)

    def _handle(self, errand: Errand) -> Steps:
        """Reach, take or put, and draw the hand back."""
        crowd, rng = self._crowd, self._rng
        place = crowd.layout.plates[errand.plate]
        side = rng.randrange(2)
        deep, across = rng.uniform(40.0, 110.0), rng.uniform(-40.0, 40.0)
        target = (
            place.front_mm[0] + deep * place.inward[0] - across * place.inward[1],
            place.front_mm[1] + deep * place.inward[1] + across * place.inward[0],
            place.middle_mm[2] + rng.uniform(90.0, 170.0),
        )
        rest = resting_hands(self._position, self._heading, self._height, 0.0)[side]
        if errand.kind == "put-back":
            self._in_hand[side] = errand.gtin
        yield from self._move_hand(side, rest, target, rng.uniform(0.45, 0.75))
        if errand.kind == "touch":
            yield from self._hold_hand(side, target, rng.uniform(0.2, 0.5))
        else:
            yield from self._move_units(errand, side, target)
        yield from self._move_hand(side, target, rest, rng.uniform(0.4, 0.65))
        self._in_hand[side] = None
        self._reach = None

    def _move_units(self, errand: Errand, side: int, target: Point3) -> Steps:
        crowd, rng = self._crowd, self._rng
        if errand.kind == "pick":
            units, handling = crowd.stock.take(
                errand.plate, errand.gtin, errand.quantity, crowd.now_s
            )
            self.held += units
        else:
            units = [unit for unit in self.held if unit.gtin == errand.gtin][: errand.quantity]
            for unit in units:
                self.held.remove(unit)
            handling = crowd.stock.put(errand.plate, units, crowd.now_s)
        self._note(errand, handling.start_s, handling.end_s, handling.changes_g)
        yield from self._hold_hand(side, target, handling.lift_s - crowd.now_s)
        self._in_hand[side] = errand.gtin if errand.kind == "pick" else None
        yield from self._hold_hand(
            side, target, handling.end_s - crowd.now_s + rng.uniform(0.0, 0.12)
        )

    def _note(
        self,
        errand: Errand,
        start_s: float,
        end_s: float,
        changes_g: tuple[tuple[int, float], ...],
    ) -> None:
        crowd = self._crowd
        assert errand.kind != "touch"
        plates = crowd.layout.plates
        crowd.truth.note(
            TrueAct(
                shopper=self.name,
                gtin=errand.gtin,
                quantity=errand.quantity,
                direction=errand.kind,
                plates=tuple(plates[plate].name for plate, _ in changes_g),
                start_ns=crowd.stamp_ns(start_s),
                end_ns=crowd.stamp_ns(end_s),
                misplaced=plates[errand.plate].gtin != errand.gtin,
            )
        )

    def _walk_along(self, target: Point2) -> Steps:
        """Come near a far place along the aisle, so as not to brush along shelves and people."""
        if distance_mm(self._position, target) > DETOUR_MM:
            aisle_point = self._crowd.layout.aisle_point
            yield from self._walk(aisle_point(self._position, self._lane_mm), near_mm=300.0)
            yield from self._walk(aisle_point(target, self._lane_mm), near_mm=300.0)

    def _walk(self, target: Point2, near_mm: float = 25.0) -> Steps:
        while distance_mm(self._position, target) > near_mm:
            self._step_towards(target)
            yield
        self._moving = False

    def _await_way(self, target: Point2) -> Steps:
        since_s = self._crowd.now_s
        while True:
            squeeze = self._crowd.now_s - since_s > SQUEEZE_S
            lane_mm = self._crowd.claim_way(self.name, target, squeeze=squeeze)
            if lane_mm is not None:
                self._lane_mm = lane_mm
                return
            yield from self._stay(0.1)

    def _step_towards(self, target: Point2) -> None:
        crowd = self._crowd
        far = distance_mm(self._position, target)
        pace = self._speed * min(1.0, (far + 40.0) / 300.0)
        toward = _unit(self._position, target)
        vx, vy = toward[0] * pace, toward[1] * pace
        for other in crowd.others(self.name):
            gap = distance_mm(self._position, other)
            # Who stands where one is heading has to be approached.
            if gap < PERSONAL_MM and distance_mm(other, target) > BODY_MM:
                away = _unit(other, self._position)
                ahead = -(away[0] * toward[0] + away[1] * toward[1])
                if ahead > -0.3:
                    # In proportion to the pace, so that nobody is kept from arriving.
                    push = 1.6 * pace * (PERSONAL_MM - gap) / PERSONAL_MM
                    side = self._passing_side(other, away)
                    vx += push * (0.7 * away[0] + 0.7 * side * away[1])
                    vy += push * (0.7 * away[1] - 0.7 * side * away[0])
        speed = math.hypot(vx, vy)
        if speed > WALK_MAX_MM_S:
            vx, vy = vx * WALK_MAX_MM_S / speed, vy * WALK_MAX_MM_S / speed
        step = (vx * crowd.dt_s, vy * crowd.dt_s)
        before = self._position
        moved = self._beside_others((before[0] + step[0], before[1] + step[1]))
        self._position = crowd.layout.pushed_out(moved, BODY_MM)
        self._walked_mm += distance_mm(before, self._position)
        self._moving = speed > 150.0
        if self._moving:
            self._turn(math.atan2(vy, vx))

    def _passing_side(self, other: Point2, away: Point2) -> float:
        """Return 1 to pass on the right, -1 on the left: behind whoever is at a shelf."""
        middle = self._crowd.layout.aisle_point(other)
        if distance_mm(other, middle) < 250.0:
            return 1.0  # Both do the same, so that two who meet do not dance.
        inward = _unit(other, middle)
        return 1.0 if away[1] * inward[0] - away[0] * inward[1] >= 0 else -1.0

    def _beside_others(self, point: Point2) -> Point2:
        """Slide along whoever is in the way."""
        for other in self._crowd.others(self.name):
            if distance_mm(point, other) < TOUCH_MM:
                away = _unit(other, point)
                point = (other[0] + TOUCH_MM * away[0], other[1] + TOUCH_MM * away[1])
        return point

    def _turn(self, heading: float) -> float:
        """Turn towards a heading; return the angle that is left."""
        gap = (heading - self._heading + math.pi) % (2 * math.pi) - math.pi
        most = TURN_RAD_S * self._crowd.dt_s
        self._heading += max(-most, min(most, gap))
        return abs(gap)

    def _face(self, heading: float) -> Steps:
        while self._turn(heading) > 0.03:
            yield

    def _stay(self, for_s: float) -> Steps:
        self._moving = False
        until_s = self._crowd.now_s + for_s
        while self._crowd.now_s < until_s:
            yield

    def _hold_hand(self, side: int, point: Point3, for_s: float) -> Steps:
        self._reach = (side, point)
        yield from self._stay(for_s)

    def _move_hand(self, side: int, start: Point3, end: Point3, for_s: float) -> Steps:
        """Move a hand with least jerk (Flash and Hogan, 1985), a little over the straight line."""
        began_s = self._crowd.now_s
        while (u := (self._crowd.now_s - began_s) / for_s) < 1.0:
            share = u**3 * (10.0 - 15.0 * u + 6.0 * u * u)
            x, y, z = (a + (b - a) * share for a, b in zip(start, end, strict=True))
            self._reach = (side, (x, y, z + 60.0 * math.sin(math.pi * share)))
            yield
        self._reach = (side, end)


def resting_hands(floor_mm: Point2, heading_rad: float, height_mm: float, swing_mm: float) -> Hands:
    """Return hands beside the hips; the left one ``swing_mm`` further ahead."""
    ahead = (math.cos(heading_rad), math.sin(heading_rad))
    z = 0.49 * height_mm + 0.15 * abs(swing_mm)
    left, right = (
        (
            floor_mm[0] + forward * ahead[0] - aside * ahead[1],
            floor_mm[1] + forward * ahead[1] + aside * ahead[0],
            z,
        )
        for aside, forward in ((290.0, 70.0 + swing_mm), (-290.0, 70.0 - swing_mm))
    )
    return left, right


def _unit(start: Point2, end: Point2) -> Point2:
    length = distance_mm(start, end)
    if length < 1e-6:
        return 1.0, 0.0
    return (end[0] - start[0]) / length, (end[1] - start[1]) / length
