# SPDX-License-Identifier: Apache-2.0
"""Where people stand before shelves: not in one another, and out of the way when idle."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from gateway.simulator.exam.actors import Actor
from gateway.simulator.exam.conditions import Span
from gateway.simulator.exam.room import Room, Spot
from gateway.simulator.layout import Point2, distance_mm

STAND_MM: Final = 370.0
ROOM_MM: Final = 500.0
"""Two who stand come no nearer than this, if there is any other place."""
STEPS_MM: Final = (0.0, -125.0, 125.0, -250.0, 250.0)
"""How far aside of where one would stand there may be room."""
WAITS_S: Final = (0.0, 2.0, 4.0, 6.0, 9.0, 12.0)
"""How long one waits for room."""
STEP_COST: Final = 0.1
WAIT_COST: Final = 20.0
"""What a millimetre aside and a second of waiting are worth, in millimetres of room."""
NOTICE_S: Final = 1.2
"""How long before somebody arrives one makes room."""
STAY_S: Final = 7.0
"""How long one means to stand before a shelf."""
STEP_MM: Final = 150.0
"""A place nearer than this is where one stands already."""
DETOUR_MM: Final = 400.0
"""To a place farther than this one walks along the aisle."""
PASS_MM: Final = (420.0, 600.0)
"""How far from those who stand at a shelf."""
STEP_ASIDE_MM: Final = (550.0, 750.0)
"""How far aside one steps to make room."""


class Stand(NamedTuple):
    """Somebody's place before a shelf, from when to when."""

    name: str
    since_s: float
    until_s: float
    at_mm: Point2


class Floor:
    """The floor of one stage.

    Args:
        room: The store.
        rng: Decides what is not decided.
        actors: Everybody, as they come.
    """

    def __init__(self, room: Room, rng: np.random.Generator, actors: list[Actor]) -> None:
        self._room = room
        self._rng = rng
        self._actors = actors
        self._stands: list[Stand] = []
        self._hidden: list[Span] = []

    def approach(
        self, actor: Actor, spot: Spot, aside_mm: float = 0.0, beside: Sequence[Actor] = ()
    ) -> None:
        """Walk to where one reaches a spot from, along the aisle if it is far.

        Whoever stands there with nothing to do makes room; for others one waits a little.

        Args:
            actor: Who.
            spot: Before what.
            aside_mm: How far beside it.
            beside: Who stays where they are.
        """
        target, wait_s = self._stand(actor, spot, aside_mm)
        actor.wait(wait_s)
        self._leave_stand(actor)
        self._make_room(actor, target, beside)
        if distance_mm(actor.at_mm, target) > STEP_MM:
            if distance_mm(actor.at_mm, target) > DETOUR_MM:
                # Behind whoever stands at this shelf.
                behind_mm = target[1] - math.copysign(self._span(PASS_MM), target[1])
                actor.walk((actor.at_mm[0] * 0.8 + target[0] * 0.2, behind_mm))
                actor.walk((target[0], behind_mm))
            actor.walk(target)
        x, y = self._room.layout.plates[self._room.plate_of(spot)].inward
        actor.face(math.atan2(y, x))
        self._stands.append(Stand(actor.name, actor.now_s, math.inf, actor.at_mm))
        actor.wait(self._span((0.15, 0.6)))

    def leave(self, actor: Actor, to_mm: Point2) -> None:
        """Walk away from where one stands."""
        self._leave_stand(actor)
        actor.walk(to_mm)

    def along_mm(self, actor: Actor, shelf: int) -> float:
        """Return where somebody stands along a shelf's front."""
        x0, y0, _ = self._room.point(Spot(shelf, 0.0), inward_mm=0.0, above_mm=0.0)
        x1, y1, _ = self._room.point(Spot(shelf, 1.0), inward_mm=0.0, above_mm=0.0)
        return (actor.at_mm[0] - x0) * (x1 - x0) + (actor.at_mm[1] - y0) * (y1 - y0)

    def _idles(self, name: str, at_s: float) -> Actor | None:
        """Return who stands somewhere with nothing planned at a time."""
        for actor in self._actors:
            if actor.name == name and actor.now_s <= at_s:
                return actor
        return None

    def _make_room(self, actor: Actor, target: Point2, beside: Sequence[Actor]) -> None:
        """Let those step aside who only stand about where somebody wants to stand."""
        arrives_s = actor.now_s + distance_mm(actor.at_mm, target) / actor.speed_mm_s
        for one in list(self._stands):
            other = self._idles(one.name, arrives_s)
            if (
                other is None
                or other is actor
                or other in beside
                or one.until_s < math.inf
                or distance_mm(one.at_mm, target) >= ROOM_MM
            ):
                continue
            other.wait_until(arrives_s - NOTICE_S)
            x, y = other.at_mm
            side = math.copysign(self._span(STEP_ASIDE_MM), x - target[0])
            self._leave_stand(other)
            refuge = (x + side, y - math.copysign(self._span(PASS_MM), y))
            other.walk(refuge)
            self._stands.append(Stand(other.name, other.now_s, math.inf, refuge))

    def _leave_stand(self, actor: Actor) -> None:
        for number in range(len(self._stands) - 1, -1, -1):
            one = self._stands[number]
            if one.name == actor.name and one.until_s == math.inf:
                self._stands[number] = one._replace(until_s=actor.now_s)

    def _stand(self, actor: Actor, spot: Spot, aside_mm: float) -> tuple[Point2, float]:
        """Return a place before a spot where there is room, and how long to wait for it."""

        def place(aside: float) -> Point2:
            moved = Spot(spot.shelf, spot.at_mm + aside)
            x, y, _ = self._room.point(moved, inward_mm=-STAND_MM, above_mm=0.0)
            return x, y

        walk_s = distance_mm(actor.at_mm, place(aside_mm)) / actor.speed_mm_s
        best: tuple[float, Point2, float] | None = None
        for wait_s in WAITS_S:
            since_s = actor.now_s + wait_s + walk_s
            others = [
                one.at_mm
                for one in self._stands
                if one.name != actor.name
                and one.since_s < since_s + STAY_S
                and since_s < one.until_s
                and not (one.until_s == math.inf and self._idles(one.name, since_s))
            ]
            for step_mm in STEPS_MM:
                point = place(aside_mm + step_mm)
                gap_mm = min((distance_mm(point, other) for other in others), default=ROOM_MM)
                burden = max(ROOM_MM - gap_mm, 0.0) + STEP_COST * abs(step_mm) + WAIT_COST * wait_s
                if best is None or burden < best[0]:
                    best = (burden, point, wait_s)
        assert best is not None, "there are places to choose from"
        return best[1], best[2]

    def hide(self, since_s: float, until_s: float) -> bool:
        """Claim the place out of sight for a while; False if somebody is there: it is small."""
        if any(since_s < until and since < until_s for since, until in self._hidden):
            return False
        self._hidden.append((since_s, until_s))
        return True

    def _span(self, limits: Span) -> float:
        return float(self._rng.uniform(*limits))
