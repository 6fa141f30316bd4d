# SPDX-License-Identifier: Apache-2.0
"""Explanations: joint hypotheses of who did what in every change that is still open.

A beam of them is kept. Each holds what every cart and shelf would hold if it were true, so that a
later change (a put-back of something that nobody was thought to hold) weighs earlier choices anew.
What is told and billed is the best explanation's; how sure that is, is what all of them say.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from math import exp, log
from typing import Final

import msgspec

from gateway.domain.choices import Child, Choice, Scenery, Sketch, Weigher
from gateway.domain.goods import Item, Load, Lying
from gateway.domain.readings import Move, Reading

WIDTH: Final = 24
"""Explanations that are kept."""
BEHIND: Final = 10.0
"""Less likely than the best by this, as a logarithm: not kept."""
MORE: Final = 5.0
"""What carts and loads may be worth beyond the bound of a reading."""
MOVES_MAX: Final = 75
"""So many moves are weighed for one change: those of each explanation with each reading."""
CHILDREN_MAX: Final = 96
PARTIAL_MAX: Final = 8
LOADS_MAX: Final = 6
LYING_MAX: Final = 96
"""Units that lie about in the whole store: of more the oldest are forgotten."""
WAYS_MAX: Final = 4
WAY_MIN: Final = 0.01
"""So many ways to one state of carts and shelves are remembered, and none that is less likely."""


class Way(msgspec.Struct, array_like=True, frozen=True):
    """One way in which an explanation's carts and shelves may have come about."""

    share: float
    chosen: dict[str, int]
    """By open change: the place of its acts in the change's options."""


class Explanation(msgspec.Struct, array_like=True):
    """One joint hypothesis."""

    logp: float
    carts: dict[str, tuple[Item, ...]]
    """By session, one item a unit."""
    lying: tuple[Lying, ...]
    ways: list[Way]
    """The likeliest first; their shares add up to 1."""
    loads: tuple[Load, ...] = ()
    """Hands that press or lift for the time being."""
    counted: float = 0.0
    """What facings' counts have added to ``logp``."""

    @property
    def chosen(self) -> dict[str, int]:
        """Return what it says of open changes."""
        return self.ways[0].chosen


def extend(
    beam: list[Explanation],
    change: str,
    readings: Sequence[Reading],
    scenery: Scenery,
    asked: Sequence[str] = (),
) -> tuple[list[Explanation], list[tuple[Sketch, ...]], list[tuple[Move, ...]]]:
    """Explain one more change in every way that is worth it.

    Args:
        beam: What was believed before.
        change: Its name.
        readings: Ways to read it, most likely first.
        scenery: What it is weighed by.
        asked: Open changes that a person may decide: what is said of them is kept apart.

    Returns:
        The explanations, best first, their probabilities summing to 1; the change's options; and
        of each option what the plates felt of its acts, by its likeliest reading.
    """
    children = _children(beam, readings, scenery)
    children.sort(key=lambda child: -child.logp)
    options: dict[tuple[Sketch, ...], int] = {}
    felt: list[tuple[Move, ...]] = []
    found: dict[object, Explanation] = {}
    keys = _Keys(asked)
    for child in children[:CHILDREN_MAX]:
        if child.logp < children[0].logp - BEHIND:
            break
        before = beam[child.parent]
        key = keys.of(child, before.chosen)
        index = options.setdefault(child.acts, len(options))
        if index == len(felt):
            felt.append(child.moves)
        ways = [Way(way.share, {**way.chosen, change: index}) for way in before.ways]
        known = found.get(key)
        if known is None:
            found[key] = Explanation(
                child.logp, child.carts, child.lying, ways, child.loads, before.counted
            )
        else:
            _join(known, child.logp, before.counted, ways)
    return normalised(list(found.values())), list(options), felt


def _children(
    beam: Sequence[Explanation], readings: Sequence[Reading], scenery: Scenery
) -> list[Child]:
    """Return what explanations may become by one more change."""
    weigher = Weigher(scenery)
    worth = {one: one.loglik + sum(map(scenery.bound, one.moves)) for one in readings}
    # The likeliest pairs first, by a bound on what they can come to; their number bounds the work.
    pairs = [
        (one.logp + worth[reading], number, reading)
        for number, one in enumerate(beam)
        for reading in readings
    ]
    pairs.sort(key=lambda pair: -pair[0])
    children: list[Child] = []
    floor = -1e18
    moves = 0
    for bound, number, reading in pairs:
        moves += len(reading.moves)
        if bound + MORE < floor or (children and moves > MOVES_MAX):
            break
        one = beam[number]
        begun = Child(one.logp + reading.loglik, one.carts, one.lying, (), number, one.loads)
        found = _assign(begun, reading.moves, weigher, floor)
        if found:
            floor = max(floor, found[0].logp - BEHIND)
            children += found
    return children


def normalised(beam: list[Explanation]) -> list[Explanation]:
    """Return the best explanations, in order, with probabilities that sum to 1."""
    beam.sort(key=lambda one: -one.logp)
    del beam[WIDTH:]
    most = beam[0].logp
    total = most + log(sum(exp(one.logp - most) for one in beam))
    for one in beam:
        one.logp -= total
    return beam


def _join(known: Explanation, logp: float, counted: float, ways: Sequence[Way]) -> None:
    """Add other ways to what an explanation says."""
    total = _either(known.logp, logp)
    known.counted = total - _either(known.logp - known.counted, logp - counted)
    parts = [(exp(known.logp - total), known.ways), (exp(logp - total), ways)]
    known.ways = likeliest_ways(
        Way(part * way.share, way.chosen) for part, some in parts for way in some
    )
    known.logp = total


def _either(one: float, other: float) -> float:
    """Return the logarithm of the sum of two probabilities, given as logarithms."""
    high, low = max(one, other), min(one, other)
    return high + log(1.0 + exp(low - high))


def likeliest_ways(ways: Iterable[Way]) -> list[Way]:
    """Return the likeliest of some ways, equal ones as one, with shares that add up to 1."""
    found: list[Way] = []
    for way in ways:
        for place, other in enumerate(found):
            if other.chosen == way.chosen:
                found[place] = Way(other.share + way.share, way.chosen)
                break
        else:
            found.append(way)
    found.sort(key=lambda way: -way.share)
    found = [found[0], *(way for way in found[1:WAYS_MAX] if way.share > WAY_MIN)]
    total = sum(way.share for way in found)
    return [Way(way.share / total, way.chosen) for way in found]


class _Keys:
    """Tells what makes two explanations equal for all that is to come.

    What it looks at has to live as long as it does: equal objects are known by their identity.
    """

    def __init__(self, asked: Sequence[str]) -> None:
        """Begin.

        Args:
            asked: Open changes that a person may decide: what is said of them is kept apart.
        """
        self._asked = asked
        self._known: dict[int, int] = {}
        self._numbers: dict[object, int] = {}

    def of(self, one: Child | Explanation, said: Mapping[str, int]) -> object:
        """Return the key of an explanation, or of what becomes one, that says so of changes."""
        held = {(name, self._number(items)) for name, items in one.carts.items() if items}
        pressed = tuple((load.change, load.plates) for load in one.loads)
        asked = tuple(said.get(name) for name in self._asked)
        return frozenset(held), self._number(one.lying), pressed, asked

    def _number(self, things: tuple[Item, ...] | tuple[Lying, ...]) -> int:
        """Return the same number for all that come to the same; most explanations share most."""
        known = self._known.get(id(things))
        if known is None:
            parts = tuple(sorted(map(_part, things)))
            known = self._known[id(things)] = self._numbers.setdefault(parts, len(self._numbers))
        return known


def _part(one: Item | Lying) -> tuple[str, int, str]:
    """Return what counts of a unit, wherever its weight came from."""
    return (one.gtin, one.count, "") if isinstance(one, Item) else (one.gtin, 1, one.plate)


def _assign(begun: Child, moves: Sequence[Move], weigher: Weigher, floor: float) -> list[Child]:
    """Explain the moves of one reading, one after another."""
    partial = [begun]
    for move in moves:
        grown = []
        for one in partial:
            for choices in weigher.choices(move, one):
                for choice in choices:
                    logp = one.logp + choice.loglik
                    if logp <= floor:
                        break  # Those that follow are less likely.
                    grown.append((logp, one, choice))
        grown.sort(key=lambda found: -found[0])
        partial = [_apply(one, choice, move) for _, one, choice in grown[:PARTIAL_MAX]]
    twins = sum(move.twin for move in moves)
    return [one for one in partial if _apart(one, twins)] if twins else partial


def _apart(one: Child, twins: int) -> bool:
    """Tell whether each two who took the same are two: by one person it would be one act."""
    doers = [act.session for act, move in zip(one.acts, one.moves, strict=True) if move.twin]
    pairs = zip(doers[::2], doers[1::2], strict=False)
    return len(doers) == twins and all(first != second for first, second in pairs)


def _apply(one: Child, choice: Choice, move: Move) -> Child:
    carts, lying = one.carts, one.lying
    if choice.owner is not None and choice.act is not None:
        held = carts.get(choice.owner, ())
        if choice.act.direction == "pick":
            carts = {**carts, choice.owner: (*held, *choice.taken)}
        else:
            left = list(held)
            for item in choice.taken:
                left.remove(item)
            carts = {**carts, choice.owner: tuple(left)}
    if choice.lying:
        lying = tuple(item for index, item in enumerate(lying) if index not in choice.lying)
    if choice.put:
        lying = (*lying, *choice.put)[-LYING_MAX:]
    loads = one.loads
    if choice.ends is not None:
        loads = tuple(load for load in loads if load != choice.ends)
    if choice.load is not None:
        loads = (*loads, choice.load)[-LOADS_MAX:]
    acts, moves = one.acts, one.moves
    if choice.act is not None:
        acts, moves = (*acts, choice.act), (*moves, choice.whole or move)
    return Child(one.logp + choice.loglik, carts, lying, acts, one.parent, loads, moves)


def probability(one: Explanation) -> float:
    """Return how likely an explanation is among those that are kept."""
    return exp(one.logp)


def marginals(
    beam: Sequence[Explanation], change: str, options: Sequence[tuple[Sketch, ...]]
) -> list[tuple[float, tuple[Sketch, ...]]]:
    """Return each option of a change with its probability, the likeliest first."""
    sums = [0.0] * len(options)
    for one in beam:
        for way in one.ways:
            sums[way.chosen[change]] += probability(one) * way.share
    found = [(share, acts) for share, acts in zip(sums, options, strict=True) if share > 0.0]
    return sorted(found, key=lambda pair: -pair[0])


def known_now(beam: Sequence[Explanation], change: str, right: Container[int]) -> list[Explanation]:
    """Return what is left of explanations once it is known what a change was: it is open no more.

    Args:
        beam: Explanations.
        change: Its name.
        right: Which of its options say so.
    """
    kept = []
    for one in beam:
        ways = [
            Way(way.share, {name: said for name, said in way.chosen.items() if name != change})
            for way in one.ways
            if way.chosen[change] in right
        ]
        if ways:
            logp = one.logp + log(sum(way.share for way in ways))
            left = likeliest_ways(ways)
            kept.append(Explanation(logp, one.carts, one.lying, left, one.loads, one.counted))
    return kept


def merged(beam: Sequence[Explanation], asked: Sequence[str] = ()) -> list[Explanation]:
    """Return a beam in which no two explanations say the same of carts, shelves and reviews.

    Args:
        beam: Explanations.
        asked: Open changes that a person may decide: what is said of them is kept apart.
    """
    found: dict[object, Explanation] = {}
    keys = _Keys(asked)
    for one in sorted(beam, key=lambda one: -one.logp):
        known = found.setdefault(keys.of(one, one.chosen), one)
        if known is not one:
            _join(known, one.logp, one.counted, one.ways)
    return normalised(list(found.values()))


def count(items: Sequence[Item], gtin: str) -> int:
    """Return how many units of a product there are."""
    return sum(item.count for item in items if item.gtin == gtin)


def counts(items: Sequence[Item]) -> dict[str, int]:
    """Return how many units of each product there are, without those of which there are none."""
    totals: dict[str, int] = {}
    for item in items:
        totals[item.gtin] = totals.get(item.gtin, 0) + item.count
    return {gtin: total for gtin, total in totals.items() if total}


def tallies(beam: Sequence[Explanation], session: str) -> list[tuple[float, dict[str, int]]]:
    """Return each explanation's probability and the units of each product in one cart.

    Most explanations share most carts: each is counted once.
    """
    known: dict[int, dict[str, int]] = {}
    found = []
    for one in beam:
        items = one.carts.get(session, ())
        if id(items) not in known:
            known[id(items)] = counts(items)
        found.append((probability(one), known[id(items)]))
    return found


def line_probability(beam: Sequence[Explanation], session: str, gtin: str) -> float:
    """Return how likely it is that a cart holds as many of a product as the best one says."""
    held = count(beam[0].carts.get(session, ()), gtin)
    return sum(probability(one) for one in beam if count(one.carts.get(session, ()), gtin) == held)


def replace(
    one: Explanation, before: Sequence[Sketch], after: Sequence[Sketch], unit_g: Mapping[str, float]
) -> Explanation:
    """Return an explanation in which other acts were done than it said.

    Args:
        one: Not changed.
        before: Acts that are undone.
        after: Acts that are done instead.
        unit_g: What a unit of each product weighs.
    """
    carts = dict(one.carts)
    lying = list(one.lying)
    for act in before:
        _carry(carts, lying, act, unit_g, undo=True)
    for act in after:
        _carry(carts, lying, act, unit_g, undo=False)
    return Explanation(one.logp, carts, tuple(lying), one.ways, one.loads, one.counted)


def _carry(
    carts: dict[str, tuple[Item, ...]],
    lying: list[Lying],
    act: Sketch,
    unit_g: Mapping[str, float],
    *,
    undo: bool,
) -> None:
    """Do an act, or undo it: units go from a plate to a cart, or back."""
    if not act.gtin:
        return
    to_cart = (act.direction == "pick") is not undo
    weight_g = unit_g[act.gtin]
    if act.session is not None and act.session in carts:
        carts[act.session] = _moved(carts[act.session], act, weight_g, to_cart=to_cart)
    if not act.misplaced:
        return
    for _ in range(act.quantity):
        there = [item for item in lying if (item.gtin, item.plate) == (act.gtin, act.plate)]
        if to_cart and there:
            lying.remove(there[-1])
        elif not to_cart:
            lying.append(Lying(act.gtin, weight_g, act.shelf, act.plate, act.x_mm))
    del lying[:-LYING_MAX]


def _moved(
    held: tuple[Item, ...], act: Sketch, weight_g: float, *, to_cart: bool
) -> tuple[Item, ...]:
    """Return a cart after an act: the latest units that it undoes go, the rest is added."""
    wanted, left = -1 if to_cart else 1, act.quantity
    kept: list[Item] = []
    for item in reversed(held):
        if left and (item.gtin, item.count) == (act.gtin, wanted):
            left -= 1
        else:
            kept.append(item)
    return (*reversed(kept), *(Item(act.gtin, weight_g if to_cart else 0.0),) * left)
