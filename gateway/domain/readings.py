# SPDX-License-Identifier: Apache-2.0
"""Readings of a change: the ways in which what plates felt may be cut into moves of goods.

A reading knows nothing of people or carts: it is made once, and weighed by every explanation.
Weighing cannot decide whether a slow hand made one act or several pieces, whether two acted at once
on the same plates, or whether nothing came of it all; a reading is one such answer, with the
logarithm of its likelihood.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, permutations
from math import hypot, lgamma, log
from typing import Final, NamedTuple

from gateway.domain.layout import ShelfPlaces
from gateway.domain.weighing import PlateChange

TOGETHER_NS: Final = 90_000_000
"""Plates under one unit cross half of their change within this time of each other."""
HAND_NS: Final = 300_000_000
"""Before and after that instant the hand is at the plate: then it is asked whose it was."""
TALK_NS: Final = 200_000_000
TALK: Final = 0.055
TALK_FAR: Final = 0.012
"""Up to these parts of a change appear at once on its neighbours, and on plates beyond them, and
belong to nobody."""
TALK_USUAL: Final = 0.018
TALK_SIGMA: Final = 0.009
"""Part of a plate's change that each neighbour usually feels, and how well that is known: where a
load stands on several plates, each adds to the total what it feels of the others."""
OWN_SIGMA: Final = 0.004
"""How well a plate weighs a change that it alone felt, as a part of it, beside its noise."""
LEAN_G: Final = 38.0
LEAN_PLATES: Final = 4
"""So many plates at once, some up and some down, or more all one way than one act leans on, and
none by more than ``LEAN_G``: somebody leant on the shelf."""
LEAN_HIDDEN_G: Final = 12.0
"""Standard deviation of what a plate feels of that, where a step of its own hides it."""
LEAN_BACK_G: Final = 3.0
"""The same where the other end of the lean tells it."""
LEAN: Final = -4.0
LEAN_PLATE: Final = -2.0
"""Logarithm of the prior of that, and for each plate that felt it."""
MOMENTS_MAX: Final = 4
"""More moments than this are cut in order only."""
MOMENTS_ALL: Final = 9
"""So many moments of one change are looked at, the largest."""
TAKES_FIRST_NS: Final = 400_000_000
READINGS_MAX: Final = 14
UNDER_MAX: Final = 5
"""One act leans on no more plates than this."""
BLOCK_MAX: Final = 5
"""Ways to read one group of moments that are kept."""
WIDTH_MM: Final = 75.0
"""How wide things are: where one stands that leans on two plates."""
ACT: Final = -4.0
TWIN: Final = 1.0
"""Logarithm of the prior of an act, and on top of it of two who take the same at one moment."""
SEVERAL: Final = -0.8
"""Of an act that came in pieces, for each further piece."""
PAUSE: Final = -0.6
"""The same, for each second from piece to piece."""
TOUCH: Final = -2.5
"""Of a hand that pressed or lifted and left everything as it was."""
HIDDEN_NS: Final = 1_500_000_000
"""Within this time the step of another may hide a part of a move."""
HIDDEN: Final = (0.08, 0.6)
"""Which part."""
HIDDEN_LEFT_G: Final = 20.0
"""What has to be left of the other."""
HIDDEN_SIGMA: Final = 0.03
"""How well the other is known then, as a part of what the first weighs."""
HIDDEN_PRIOR: Final = -2.0
"""Logarithm of its prior."""
SHIFT: Final = -1.5
"""Of plates that shifted for no reason at one instant."""
NOISE_G: Final = 3.0
NOISE_TAIL_G: Final = 12.0
"""How far a plate's weight may shift for no reason: falls off with this scale, beyond the tail less
fast."""
FREE_G: Final = 1_000.0
"""Sizes of which nothing is known are spread over this much."""


class Moment(NamedTuple):
    """What plates felt at one instant, all of it up or all of it down."""

    felt: tuple[PlateChange, ...]
    half_ns: int


class Move(NamedTuple):
    """Goods that left a shelf or came to it, at one place and by one hand."""

    plates: tuple[int, ...]
    """Indices of those under it, in order."""
    main: int
    total_g: float
    """Below 0: they left."""
    sigma_g: float
    plain_g: float
    """The part of sigma that is noise of the plates alone."""
    x_mm: float
    """Where, along the shelf's front from its start."""
    slack_mm: float
    """How far beside it they may well have stood."""
    since_ns: int
    half_ns: int
    until_ns: int
    """The hand was there from ``since_ns`` until then, for sure."""
    begun_ns: int = 0
    ended_ns: int = 0
    """The weight changed between these."""
    hole_ns: int = 0
    """For so long around ``half_ns`` samples are missing: then it may have been at any time."""
    twin: bool = False
    """One of two that only differ by who made them."""


class Reading(NamedTuple):
    """Moves in order, and the logarithm of the likelihood but for what was moved and by whom."""

    loglik: float
    moves: tuple[Move, ...]


Bound = Callable[[Move], float]
"""About the best that any explanation can say of a move, as a logarithm."""


def read(changes: Sequence[PlateChange], shelf: ShelfPlaces, bound: Bound) -> list[Reading]:
    """Return the most likely ways to read what one shelf felt, the best first.

    Args:
        changes: What its plates felt.
        shelf: Where they are.
        bound: Says what a move is worth at best, so that only few readings are looked at.
    """
    found = _Reader(_heard(changes), shelf, bound).readings()
    leaning = _leaning(changes)
    if leaning:
        rest = _heard(_without(leaning, changes))
        cost = LEAN + LEAN_PLATE * len(leaning)
        found += [
            one._replace(loglik=one.loglik + cost) for one in _Reader(rest, shelf, bound).readings()
        ]
    return plausible(found, bound)


def plausible(readings: Sequence[Reading], bound: Bound) -> list[Reading]:
    """Return the readings that are worth weighing, most likely first."""
    worth = {one: one.loglik + sum(map(bound, one.moves)) for one in readings}
    return sorted(worth, key=lambda one: -worth[one])[:READINGS_MAX]


class _Reader:
    """Reads moments: in all groups of a few, in runs of many."""

    def __init__(self, changes: Sequence[PlateChange], shelf: ShelfPlaces, bound: Bound) -> None:
        self._moments = _moments(changes)
        self._shelf = shelf
        self._bound = bound
        self._blocks: dict[tuple[int, ...], list[Reading]] = {}

    def readings(self) -> list[Reading]:
        """Return the best readings, each with its moves in order."""
        count = len(self._moments)
        found: list[Reading] = []
        if count > MOMENTS_MAX:
            best = [[Reading(0.0, ())]]
            for high in range(1, count + 1):
                runs = [
                    self._joined(best[low], self._block(tuple(range(low, high))))
                    for low in range(high)
                ]
                best.append(plausible([one for run in runs for one in run], self._bound))
            found = best[-1]
        else:
            for partition in _partitions(count):
                whole = [Reading(0.0, ())]
                for group in partition:
                    whole = self._joined(whole, self._block(group))
                found += whole
        return [one._replace(moves=_in_order(one.moves)) for one in found]

    def _joined(self, before: list[Reading], block: list[Reading]) -> list[Reading]:
        grown = [
            Reading(one.loglik + more.loglik, one.moves + more.moves)
            for one in before
            for more in block
        ]
        return plausible(grown, self._bound) if len(grown) > READINGS_MAX else grown

    def _block(self, group: tuple[int, ...]) -> list[Reading]:
        if group not in self._blocks:
            found = _block([self._moments[index] for index in group], self._shelf)
            self._blocks[group] = plausible(found, self._bound)[:BLOCK_MAX]
        return self._blocks[group]


def _in_order(moves: Sequence[Move]) -> tuple[Move, ...]:
    """Return moves by time; what is taken before what is put back at about the same time."""
    return tuple(
        sorted(moves, key=lambda move: move.half_ns + (TAKES_FIRST_NS if move.total_g > 0 else 0))
    )


def hidden(readings: Sequence[Reading], wide: Callable[[Move], list[float]]) -> list[Reading]:
    """Return readings in which a plate felt two things at once, side by side.

    Two hands at work hardly let a plate rest in between: a part of what one took is then in the
    step that the other made.

    Args:
        readings: Plain ones, most likely first.
        wide: What units at the place of a move would weigh.
    """
    found = []
    for reading in readings[:READINGS_MAX]:
        for one, other in permutations(reading.moves, 2):
            gap = max(one.plates[0] - other.plates[-1], other.plates[0] - one.plates[-1])
            apart_ns = abs(one.half_ns - other.half_ns)
            if gap != 1 or apart_ns > HIDDEN_NS or one.total_g * other.total_g < 0:
                continue
            sign = 1.0 if one.total_g > 0 else -1.0
            for unit_g in wide(one):
                part_g = unit_g - abs(one.total_g)
                least_g, most_g = (share * unit_g for share in HIDDEN)
                if not least_g < part_g < min(most_g, abs(other.total_g) - HIDDEN_LEFT_G):
                    continue
                # How much is hidden is free: the total says nothing, its parts still do.
                whole = one._replace(total_g=sign * unit_g, sigma_g=0.4 * abs(one.total_g))
                rest = other._replace(
                    total_g=other.total_g - sign * part_g,
                    sigma_g=hypot(other.sigma_g, HIDDEN_SIGMA * unit_g),
                )
                swapped = {one: whole, other: rest}
                moves = tuple(swapped.get(move, move) for move in reading.moves)
                found.append(Reading(reading.loglik + HIDDEN_PRIOR, moves))
    return found


def _heard(changes: Sequence[PlateChange]) -> list[PlateChange]:
    """Leave out what a plate only felt of its neighbours' load."""

    def talk(one: PlateChange, other: PlateChange) -> float:
        together = abs(other.half_ns - one.half_ns) <= TALK_NS and other.delta_g * one.delta_g > 0
        apart = abs(other.plate - one.plate)
        if not together or not apart:
            return 0.0
        return (TALK if apart == 1 else TALK_FAR) * abs(other.delta_g)

    return [one for one in changes if abs(one.delta_g) > max(talk(one, other) for other in changes)]


def _leaning(changes: Sequence[PlateChange]) -> list[PlateChange]:
    """Return what plates felt of somebody who leant on the whole shelf, or let it go."""
    found: list[PlateChange] = []
    small = [one for one in changes if abs(one.delta_g) <= LEAN_G]
    for one in small:
        with_it = [other for other in small if abs(other.half_ns - one.half_ns) <= TOGETHER_NS]
        plates = {other.plate for other in with_it}
        both = any(other.delta_g * one.delta_g < 0 for other in with_it)
        if len(plates) >= (LEAN_PLATES if both else UNDER_MAX + 1):
            found.append(one)
    return found


def _without(leaning: Sequence[PlateChange], changes: Sequence[PlateChange]) -> list[PlateChange]:
    """Return what else plates felt while somebody leant on the shelf.

    A plate that was on the move at that instant felt both in one step. How much of it was the lean
    is told by what the plate felt at the lean's other end, or not at all.
    """
    found = []
    for one in changes:
        if one in leaning:
            continue
        own = [other for other in leaning if other.plate == one.plate]
        hides = any(
            one.since_ns <= lean.half_ns <= one.stable_ns
            and all(abs(other.half_ns - lean.half_ns) > TOGETHER_NS for other in own)
            for lean in leaning
        )
        if hides:
            back_g = sum(other.delta_g for other in own)
            sigma_g = hypot(one.sigma_g, LEAN_BACK_G if own else LEAN_HIDDEN_G)
            found.append(one._replace(delta_g=one.delta_g + back_g, sigma_g=sigma_g))
        else:
            found.append(one)
    return found


def unread_g(changes: Sequence[PlateChange]) -> float:
    """Return the largest of what a change has too many moments for, so that no reading has it."""
    beyond = _groups(_heard(changes))[MOMENTS_ALL:]
    return max((abs(one.delta_g) for group in beyond for one in group), default=0.0)


def _moments(changes: Sequence[PlateChange]) -> list[Moment]:
    """Return the moments of a change, in order: the largest, where there are too many."""
    moments = []
    for group in _groups(changes)[:MOMENTS_ALL]:
        largest = max(group, key=lambda one: abs(one.delta_g))
        felt = tuple(sorted(group, key=lambda one: one.plate))
        moments.append(Moment(felt, largest.half_ns))
    return sorted(moments, key=lambda moment: moment.half_ns)


def _groups(changes: Sequence[PlateChange]) -> list[list[PlateChange]]:
    """Group what plates felt by the instant at which each crossed half of it, largest first."""
    groups: list[list[PlateChange]] = []
    for one in sorted(changes, key=lambda change: (change.half_ns, change.plate)):
        for group in reversed(groups):
            if (
                one.half_ns - group[0].half_ns <= TOGETHER_NS
                and one.delta_g * group[0].delta_g > 0
                and all(one.plate != other.plate for other in group)
                and min(abs(one.plate - other.plate) for other in group) <= 1
            ):
                group.append(one)
                break
        else:
            groups.append([one])
    groups.sort(key=lambda group: -max(abs(one.delta_g) for one in group))
    return groups


def _partitions(count: int) -> Iterator[list[tuple[int, ...]]]:
    """Yield all ways to group so many moments."""

    def grow(index: int, groups: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        if index == count:
            yield groups
            return
        for place, group in enumerate(groups):
            yield from grow(index + 1, [*groups[:place], (*group, index), *groups[place + 1 :]])
        yield from grow(index + 1, [*groups, (index,)])

    yield from grow(0, [])


def _block(moments: Sequence[Moment], shelf: ShelfPlaces) -> list[Reading]:
    """Return the ways to read moments that belong together."""
    felt = [one for moment in moments for one in moment.felt]
    plates = sorted({one.plate for one in felt})
    if any(after - before > 1 for before, after in pairwise(plates)):
        return []  # One hand works in one place.
    pieces = len(moments) - 1
    pause_s = (moments[-1].half_ns - moments[0].half_ns) / 1e9 if pieces else 0.0
    net: dict[int, float] = dict.fromkeys(plates, 0.0)
    for one in felt:
        net[one.plate] += one.delta_g
    # Sizes that a block leaves free: each observed number but those that its moves explain.
    free = len(felt) - len(plates)
    base = -free * log(FREE_G) + (TOUCH if free else 0.0)
    nothing = base + SHIFT * (not free) + sum(_noise(net[plate]) for plate in plates)
    found = [Reading(nothing, ())]
    if pieces and not free:
        found = []  # Far apart in time and on other plates: each for itself may be nothing.
    late = SEVERAL * pieces + PAUSE * pause_s
    # A total that came in pieces may have been cut anywhere.
    moved_g = max(sum(abs(one.delta_g) for one in felt), 20.0)
    spread = late - free * log(moved_g) + lgamma(free + 1)
    for sides in _sides(plates):
        moves, loglik = [], spread
        for side in sides:
            move, cost = _move(side, net, felt, shelf)
            moves.append(move)
            loglik += cost
        under = {plate for side in sides for plate in side}
        loglik += sum(_noise(net[plate]) for plate in plates if plate not in under)
        if all(moves):
            found.append(Reading(loglik, tuple(one for one in moves if one is not None)))
    if not pieces:
        found += [_twins(one) for one in found if len(one.moves) == 1]
    return found


def _sides(plates: list[int]) -> Iterator[list[list[int]]]:
    """Yield the plates under one move, or under each of two side by side."""
    for low in range(len(plates)):
        for high in range(low + 1, min(low + UNDER_MAX, len(plates)) + 1):
            yield [plates[low:high]]
    if len(plates) <= UNDER_MAX:
        for split in range(1, len(plates)):
            yield [plates[:split], plates[split:]]


def _twins(reading: Reading) -> Reading:
    """Read one move as two who took the same, one right after the other."""
    (move,) = reading.moves
    half_g = move.total_g / 2
    first = move._replace(total_g=half_g, since_ns=move.begun_ns, until_ns=move.half_ns, twin=True)
    second = move._replace(total_g=half_g, since_ns=move.half_ns, until_ns=move.ended_ns, twin=True)
    return Reading(reading.loglik + ACT + TWIN, (first, second))


def _move(
    side: Sequence[int], net: dict[int, float], felt: Sequence[PlateChange], shelf: ShelfPlaces
) -> tuple[Move | None, float]:
    """Read plates as one move; return it and what the reading costs."""
    total_g = sum(net[plate] for plate in side)
    under = [plate for plate in side if net[plate] * total_g > 0]
    loglik = ACT + sum(_noise(net[plate]) for plate in side if plate not in under)
    if not under or under[-1] - under[0] >= len(under):
        return None, 0.0  # What stands on two plates stands on all between them.
    main = max(under, key=lambda plate: abs(net[plate]))
    felt_g = sum(net[plate] for plate in under)
    coupled = _coupled(under, net, felt_g)
    heavy_g = felt_g / (1.0 + TALK_USUAL * coupled)
    # How a load is shared among plates is not known before.
    loglik -= (len(under) - 1) * log(max(abs(heavy_g), 20.0))
    parts = [one for one in felt if one.plate in under]
    largest = max(parts, key=lambda one: abs(one.delta_g))
    # A grip before or a shiver after says little of when the hand was there.
    telling = [one for one in parts if abs(one.delta_g) > 0.3 * abs(largest.delta_g)]
    begun_ns = min(one.since_ns for one in telling)
    ended_ns = max(one.stable_ns for one in telling)
    plain_g = sum(one.sigma_g**2 for one in parts) ** 0.5
    x_mm, slack_mm = _standing(under, net, felt_g, shelf)
    return (
        Move(
            plates=tuple(under),
            main=main,
            total_g=heavy_g,
            sigma_g=hypot(plain_g, (OWN_SIGMA + TALK_SIGMA * coupled) * heavy_g),
            plain_g=plain_g,
            x_mm=x_mm,
            slack_mm=slack_mm,
            since_ns=max(begun_ns, largest.half_ns - HAND_NS - largest.hole_ns // 2),
            half_ns=largest.half_ns,
            until_ns=min(ended_ns, largest.half_ns + HAND_NS + largest.hole_ns // 2),
            begun_ns=begun_ns,
            ended_ns=ended_ns,
            hole_ns=largest.hole_ns,
        ),
        loglik,
    )


def _coupled(under: Sequence[int], net: dict[int, float], total_g: float) -> float:
    """Return by how many neighbours a part of a load is felt again, on average of its parts."""
    return sum(
        net[plate] / total_g * sum(abs(other - plate) == 1 for other in under) for plate in under
    )


def _standing(
    under: Sequence[int], net: dict[int, float], total_g: float, shelf: ShelfPlaces
) -> tuple[float, float]:
    """Return where a load stands by how plates share it, and how far beside that it may stand."""
    places = [shelf.plates[plate] for plate in under]
    if len(places) == 1:
        (one,) = places
        width_mm = one.high_mm - one.low_mm
        return one.middle_mm, max((width_mm - WIDTH_MM) / 2, 10.0)
    if len(places) == 2:
        right = net[under[1]] / total_g
        return places[0].high_mm + (right - 0.5) * WIDTH_MM, 8.0
    middle = sum(
        one.middle_mm * net[plate] / total_g for one, plate in zip(places, under, strict=True)
    )
    return middle, 8.0


def _noise(shift_g: float) -> float:
    """Return the logarithm of the likelihood that a plate shifts by so much for no reason."""
    far_g = abs(shift_g)
    steep_g = min(far_g, NOISE_TAIL_G)
    return -steep_g / NOISE_G - (far_g - steep_g) / (1.5 * NOISE_G) - log(2.0 * NOISE_G)
