# SPDX-License-Identifier: Apache-2.0
"""The bodies of a case as pictures need them: poses at instants, with what hands hold."""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from gateway.simulator.exam.actors import STRIDE_MM, Actor, Bodies, Floats
from gateway.simulator.exam.cases import Case
from gateway.simulator.exam.stage import seconds
from gateway.simulator.shoppers import Pose

HOLD_S: Final = 2.0
"""How long one is shown to hold what was picked, or is to be put back."""


class Holding(NamedTuple):
    """Something in a hand for a while: derived from acts, since nobody noted it."""

    name: str
    side: int
    since_s: float
    until_s: float
    gtin: str


class Poses:
    """Everybody of one case.

    Args:
        case: Whose.
        times_s: ``(n,)`` when, in order.
        looks: Seeds of how bodies look; actors take turns.

    Attributes:
        actors: Everybody who comes.
        bodies: Of each, at these times.
    """

    def __init__(self, case: Case, times_s: Floats, looks: Sequence[int]) -> None:
        self._times_s = times_s
        self._looks = looks
        self.actors = case.stage.actors
        self.bodies = [actor.bodies(times_s) for actor in self.actors]
        self._strides_mm = [_stride_mm(bodies) for bodies in self.bodies]
        self._holdings = list(_holdings(case))

    def at(self, number: int) -> Iterator[Pose]:
        """Yield who is in the store at an instant, by its number."""
        now_s = float(self._times_s[number])
        for index, actor in enumerate(self.actors):
            bodies = self.bodies[index]
            if not bodies.present[number]:
                continue
            left, right = ((float(x), float(y), float(z)) for x, y, z in bodies.wrists_mm[number])
            x, y = bodies.floor_mm[number]
            yield Pose(
                shopper=actor.name,
                floor_mm=(float(x), float(y)),
                heading_rad=float(bodies.heading_rad[number]),
                height_mm=actor.height_mm,
                wrists_mm=(left, right),
                look=self._looks[index % len(self._looks)],
                held=(self._held(actor.name, 0, now_s), self._held(actor.name, 1, now_s)),
                stride_mm=float(self._strides_mm[index][number]),
            )

    def _held(self, name: str, side: int, now_s: float) -> str | None:
        for one in self._holdings:
            if (one.name, one.side) == (name, side) and one.since_s <= now_s < one.until_s:
                return one.gtin
        return None


def _stride_mm(bodies: Bodies) -> Floats:
    """Return how far the left foot is ahead: people step as they go."""
    steps = np.linalg.norm(np.diff(bodies.floor_mm, axis=0, prepend=bodies.floor_mm[:1]), axis=1)
    share = np.clip(bodies.speed_mm_s / 900.0, 0.0, 1.0)
    return np.asarray(300.0 * share * np.sin(math.pi * np.cumsum(steps) / STRIDE_MM))


def _holdings(case: Case) -> Iterator[Holding]:
    """Yield what hands hold: after a pick for a while, and before a put-back."""
    actors = {actor.name: actor for actor in case.stage.actors}
    for act in case.truth.acts:
        name = act.hand or act.shopper
        lift_s = seconds(act.start_ns if act.lift_ns is None else act.lift_ns)
        side = _side(actors[name], lift_s)
        if side is None:
            continue
        if act.direction == "pick":
            yield Holding(name, side, lift_s, seconds(act.end_ns) + HOLD_S, act.gtin)
        else:
            yield Holding(name, side, seconds(act.start_ns) - HOLD_S, lift_s, act.gtin)


def _side(actor: Actor, at_s: float) -> int | None:
    """Return which hand works in a shelf at a time."""
    for reach in actor.reaches:
        if reach.inside and reach.times_s[1] <= at_s <= reach.times_s[2]:
            return reach.side
    return None
