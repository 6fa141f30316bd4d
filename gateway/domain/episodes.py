# SPDX-License-Identifier: Apache-2.0
"""Changes of weight, and which of them belong together.

An episode is what changed on neighbouring plates in movements that overlap or follow closely.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.domain.segments import STEP_LEAST_G

NEAR_PLATES: Final = 2
"""Plates so many places apart belong to one episode: a unit may lean on three."""
NEAR_NS: Final = 400_000_000
"""Movements that follow each other within this belong to one episode."""
TRIFLE_G: Final = 35.0
"""An episode of less is no unit by itself; it waits for what becomes of it."""
TRIFLE_WAIT_NS: Final = 5_000_000_000
"""How long: nobody leans for much longer."""
FAINT_G: Final = 25.0
"""What is off its reference by less is no hand that works."""


class PlateChange(NamedTuple):
    """One plate went from one stable weight to another."""

    plate: int
    """Index in the shelf's plate order."""
    delta_g: float
    sigma_g: float
    """Standard deviation of ``delta_g`` from the noise of both stretches."""
    since_ns: int
    """Start of the transition: the end of the stable stretch before it."""
    stable_ns: int
    """Its end: the start of the stable stretch behind it."""
    after_g: float
    """The weight of the stretch behind it."""
    unwatched: bool
    """The plate was not weighed throughout: a gap or a lost device lies in between."""
    half_ns: int = 0
    """When it had crossed half of the change: the same instant on all plates under one unit."""
    hole_ns: int = 0
    """For so long around that instant samples are missing, and it may have been at any time."""


class ShelfChange(NamedTuple):
    """An episode: what changed on neighbouring plates in movements that overlap or follow closely.

    A plate that changed in steps is in it several times, in order of time.
    """

    plates: list[PlateChange]
    since_ns: int
    stable_ns: int
    unwatched: bool


def net(change: ShelfChange) -> list[PlateChange]:
    """Return what each plate changed in all: one change a plate, in their order."""
    steps: dict[int, list[PlateChange]] = {}
    for one in change.plates:
        steps.setdefault(one.plate, []).append(one)
    return [_summed(steps[plate]) for plate in sorted(steps)]


def _summed(steps: list[PlateChange]) -> PlateChange:
    """Return the steps of one plate as one."""
    first, last = steps[0], steps[-1]
    if first is last:
        return first
    largest = max(steps, key=lambda one: abs(one.delta_g))
    return last._replace(
        delta_g=sum(one.delta_g for one in steps),
        sigma_g=((first.sigma_g**2 + last.sigma_g**2) / 2.0) ** 0.5,
        since_ns=first.since_ns,
        half_ns=largest.half_ns,
        unwatched=any(one.unwatched for one in steps),
    )


def is_trifle(changes: Sequence[PlateChange]) -> bool:
    """Tell whether an episode is less than any unit weighs: a hand that leans, or a drift."""
    if any(change.unwatched for change in changes):
        return False
    first = min(change.plate for change in changes)
    up_g = [0.0] * (max(change.plate for change in changes) - first + 1 + NEAR_PLATES)
    down_g = up_g.copy()
    for change in changes:
        side_g = up_g if change.delta_g > 0 else down_g
        side_g[change.plate - first] += abs(change.delta_g)
    # A unit leans on three plates at most, and on all of them the same way.
    return all(
        sum(side_g[at : at + NEAR_PLATES + 1]) < TRIFLE_G
        for side_g in (up_g, down_g)
        for at in range(len(side_g) - NEAR_PLATES)
    )


def comes_to_nothing(changes: list[PlateChange]) -> bool:
    """Tell whether all plates weigh again what they did before an episode."""
    return all(
        abs(one.delta_g) < STEP_LEAST_G + 3.0 * one.sigma_g
        for one in net(ShelfChange(changes, 0, 0, unwatched=False))
    )


def episodes(changes: Sequence[PlateChange]) -> list[list[PlateChange]]:
    """Return changes that are near each other in place and time together, ordered by both."""
    found: list[list[PlateChange]] = []
    for change in changes:
        touched = [one for one in found if any(_near(change, other) for other in one)]
        found = [one for one in found if one not in touched]
        found.append([change, *(other for one in touched for other in one)])
    for episode in found:
        episode.sort(key=lambda change: (change.plate, change.since_ns))
    return sorted(found, key=lambda episode: (episode[0].since_ns, episode[0].plate))


def _near(one: PlateChange, other: PlateChange) -> bool:
    between_ns = max(one.since_ns, other.since_ns) - min(one.stable_ns, other.stable_ns)
    earlier = one if one.since_ns < other.since_ns else other
    if one.plate == other.plate and abs(earlier.delta_g) < TRIFLE_G:
        return between_ns <= TRIFLE_WAIT_NS
    return abs(one.plate - other.plate) <= NEAR_PLATES and between_ns <= NEAR_NS
