# SPDX-License-Identifier: Apache-2.0
"""Explanations: joint hypotheses of who did what in every change that is still open.

A beam of them is kept. Each holds what every cart and shelf would hold if it were true, so that a
later change (a put-back of something that nobody was thought to hold) weighs earlier choices anew.
What is told and billed is the best explanation's; how sure that is, is what all of them say.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import exp, hypot, log
from typing import Final, NamedTuple

import msgspec

from gateway.domain.events import Direction
from gateway.domain.goods import (
    Item,
    Known,
    Load,
    Lying,
    Option,
    misplaced_here,
    released,
    same_unit,
    unknown,
    weight_loglik,
)
from gateway.domain.readings import Bound, Move, Reading

WIDTH: Final = 32
"""Explanations that are kept."""
BEHIND: Final = 10.0
"""Less likely than the best by this, as a logarithm: not kept."""
MORE: Final = 5.0
CHILDREN_MAX: Final = 160
PARTIAL_MAX: Final = 10
CHOICES_MAX: Final = 10
"""Ways to explain one move by what belongs there and by whom."""
PUT_BACK: Final = -0.7
ELSEWHERE: Final = -3.0
"""Logarithm of the prior of a put-back where the product does not belong."""
RESTOCK: Final = -1.5
"""Of goods that somebody without a cart brings to their place."""
HANDED_OVER: Final = 0.06
"""Probability that not who took it puts it back."""
TAKEN_BACK_MAX: Final = 3
"""Most units of one product that are put back at once."""
RELEASE: Final = -0.7
"""Logarithm of the probability that what a hand presses or lifts ends in a way that is seen."""
LOADS_MAX: Final = 6
LEAST_G: Final = 20.0
"""Less than this is left of nothing that anybody takes."""
DISTURBED: Final = -3.0
"""Logarithm of the probability that a unit's weight was felt wrongly when it was taken."""
AT_HOME: Final = -4.5
"""A place less likely than this is not where a product belongs."""

Who = dict[str | None, float]


class Sketch(NamedTuple):
    """An act as an explanation has it. ``gtin`` is empty where nothing known moved."""

    session: str | None
    gtin: str
    quantity: int
    direction: Direction
    plate: str
    misplaced: bool = False
    shelf: str = ""
    x_mm: float = 0.0
    """Where along the shelf, for what is misplaced there."""


class Explanation(msgspec.Struct, array_like=True):
    """One joint hypothesis."""

    logp: float
    carts: dict[str, tuple[Item, ...]]
    """By session, one item a unit."""
    lying: tuple[Lying, ...]
    chosen: dict[str, int]
    """By open change: the place of its acts in the change's options."""
    loads: tuple[Load, ...] = ()
    """Hands that press or lift for the time being."""


class Scenery(NamedTuple):
    """What a change is weighed by, the same for all explanations."""

    change: str
    shelf: str
    plate_names: Sequence[str]
    who: Callable[[Move], Who]
    home: Callable[[Move], list[Option]]
    bound: Bound
    known: Mapping[str, Known]
    """What products weigh."""
    place: Callable[[Move, str], float]
    """How well a move's place fits where a product belongs."""
    carts: bool = True
    """Whether carts count as evidence."""


class Child(NamedTuple):
    """An explanation in the making."""

    logp: float
    carts: dict[str, tuple[Item, ...]]
    lying: tuple[Lying, ...]
    acts: tuple[Sketch, ...]
    parent: int
    loads: tuple[Load, ...] = ()
    moves: tuple[Move, ...] = ()
    """What the plates felt of the acts, one an act."""


class Choice(NamedTuple):
    """One way to explain one move: what it adds, and what it makes of carts and shelves."""

    loglik: float
    act: Sketch | None
    taken: tuple[Item, ...] = ()
    """Units that join the cart, or leave it."""
    owner: str | None = None
    lying: tuple[int, ...] = ()
    put: tuple[Lying, ...] = ()
    load: Load | None = None
    """A hand that presses from now on."""
    ends: Load | None = None
    """A hand that does no more."""
    whole: Move | None = None
    """The move together with what that hand did before."""


def extend(
    beam: list[Explanation], change: str, readings: Sequence[Reading], scenery: Scenery
) -> tuple[list[Explanation], list[tuple[Sketch, ...]], list[tuple[Move, ...]]]:
    """Explain one more change in every way that is worth it.

    Returns:
        The explanations, best first, their probabilities summing to 1; the change's options; and
        of each option what the plates felt of its acts, by its likeliest reading.
    """
    weigher = _Weigher(scenery)
    worth = {one: one.loglik + sum(map(scenery.bound, one.moves)) for one in readings}
    best = max(one.logp for one in beam)
    children: list[Child] = []
    floor = -1e18
    for number, one in enumerate(beam):
        if one.logp < best - BEHIND:
            continue
        for reading in readings:
            # A bound on what this can come to; later evidence may be worth a little more.
            if one.logp + worth[reading] + MORE < floor:
                continue
            begun = Child(one.logp + reading.loglik, one.carts, one.lying, (), number, one.loads)
            found = _assign(begun, reading.moves, weigher, floor)
            if found:
                floor = max(floor, found[0].logp - BEHIND)
                children += found
    children.sort(key=lambda child: -child.logp)
    options: dict[tuple[Sketch, ...], int] = {}
    felt: list[tuple[Move, ...]] = []
    merged: dict[object, Explanation] = {}
    for child in children[:CHILDREN_MAX]:
        if child.logp < children[0].logp - BEHIND:
            break
        key = _key(child.carts, child.lying, child.loads)
        known = merged.get(key)
        if known is not None:
            known.logp = _add(known.logp, child.logp)
            continue
        index = options.setdefault(child.acts, len(options))
        if index == len(felt):
            felt.append(child.moves)
        chosen = {**beam[child.parent].chosen, change: index}
        merged[key] = Explanation(child.logp, child.carts, child.lying, chosen, child.loads)
    return normalised(list(merged.values())), list(options), felt


def normalised(beam: list[Explanation]) -> list[Explanation]:
    """Return the best explanations, in order, with probabilities that sum to 1."""
    beam.sort(key=lambda one: -one.logp)
    del beam[WIDTH:]
    most = beam[0].logp
    total = most + log(sum(exp(one.logp - most) for one in beam))
    for one in beam:
        one.logp -= total
    return beam


def _add(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high + log(1.0 + exp(low - high))


def _key(
    carts: dict[str, tuple[Item, ...]], lying: tuple[Lying, ...], loads: tuple[Load, ...]
) -> object:
    """Return what makes two explanations equal for all that is to come."""
    held = sorted(
        (session, tuple(sorted(item.gtin for item in items)))
        for session, items in carts.items()
        if items
    )
    about = tuple(sorted((one.gtin, one.plate) for one in lying))
    return tuple(held), about, tuple((one.change, one.plates) for one in loads)


def _assign(begun: Child, moves: Sequence[Move], weigher: "_Weigher", floor: float) -> list[Child]:
    """Explain the moves of one reading, one after another."""
    partial = [begun]
    for move in moves:
        grown = [
            _apply(one, choice, move)
            for one in partial
            for choice in weigher.choices(move, one)
            if one.logp + choice.loglik > floor
        ]
        grown.sort(key=lambda child: -child.logp)
        partial = grown[:PARTIAL_MAX]
    if moves and moves[0].twin:  # By one person it would be one act.
        partial = [one for one in partial if len({act.session for act in one.acts}) == 2]
    return partial


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
        lying = (*lying, *choice.put)
    loads = one.loads
    if choice.ends is not None:
        loads = tuple(load for load in loads if load is not choice.ends)
    if choice.load is not None:
        loads = (*loads, choice.load)[-LOADS_MAX:]
    acts, moves = one.acts, one.moves
    if choice.act is not None:
        acts, moves = (*acts, choice.act), (*moves, choice.whole or move)
    return Child(one.logp + choice.loglik, carts, lying, acts, one.parent, loads, moves)


class _Weigher:
    """Weighs the choices of each move, once for all explanations that see it alike."""

    def __init__(self, scenery: Scenery) -> None:
        self._scenery = scenery
        self._home: dict[Move, list[Choice]] = {}
        self._who: dict[Move, Who] = {}
        self._put: dict[tuple[Move, str, tuple[Item, ...]], list[Choice]] = {}
        self._fits: dict[tuple[Move, float], float] = {}

    def choices(self, move: Move, one: Child) -> list[Choice]:
        """Return the ways to explain a move, given what carts and shelves hold."""
        found = self._plain(move, one)
        for load in one.loads:
            if load.shelf == self._scenery.shelf and not set(load.plates).isdisjoint(move.plates):
                found = [*found, *self._resumed(move, load, one)]
        return found

    def _plain(self, move: Move, one: Child) -> list[Choice]:
        """Return the ways to explain a move by itself."""
        if move not in self._who:
            self._who[move] = self._scenery.who(move)
        if move.total_g < 0:
            taken = self._homely(move)
            if one.lying:
                taken = [*taken, *self._misplaced(move, one.lying)]
            return taken
        if not self._scenery.carts:
            return self._anybody(move, one)
        found = list(self._homely(move))
        for session, items in one.carts.items():
            if items:
                found += self._given(move, session, items)
        return found

    def _resumed(self, move: Move, load: Load, one: Child) -> list[Choice]:
        """Return how a move may end what a hand began: it lets go, or takes at last."""
        found = [Choice(RELEASE + released(move, load), None, ends=load)]
        whole = move._replace(
            total_g=move.total_g + load.total_g, sigma_g=hypot(move.sigma_g, load.sigma_g)
        )
        if abs(whole.total_g) > LEAST_G:
            found += [
                choice._replace(loglik=choice.loglik + RELEASE, ends=load, whole=whole)
                for choice in self._plain(whole, one)
                if choice.act is not None and choice.act.gtin
            ]
        return found

    def _sketch(
        self, move: Move, session: str | None, gtin: str, quantity: int, *, misplaced: bool
    ) -> Sketch:
        direction: Direction = "pick" if move.total_g < 0 else "put-back"
        plate = self._scenery.plate_names[move.main]
        if not misplaced:
            return Sketch(session, gtin, quantity, direction, plate)
        return Sketch(
            session, gtin, quantity, direction, plate, True, self._scenery.shelf, move.x_mm
        )

    def _homely(self, move: Move) -> list[Choice]:
        """Return what may have left its place and with whom, or been brought by nobody's cart."""
        known = self._home.get(move)
        if known is not None:
            return known
        who = self._who[move]
        load = Load(
            self._scenery.change, self._scenery.shelf, move.plates, move.total_g, move.sigma_g
        )
        found = [Choice(unknown(move), self._sketch(move, None, "", 0, misplaced=False), load=load)]
        for option in self._scenery.home(move)[:CHOICES_MAX]:
            unit_g = abs(move.total_g) / option.quantity
            for session, share in who.items():
                act = self._sketch(
                    move, session, option.gtin, option.quantity, misplaced=option.misplaced
                )
                if move.total_g < 0:
                    units = (Item(option.gtin, unit_g),) * option.quantity
                    found.append(Choice(option.loglik + share, act, units, session))
                elif session is None:
                    found.append(Choice(option.loglik + share + RESTOCK, act))
        found.sort(key=lambda one: -one.loglik)
        self._home[move] = found = found[: CHOICES_MAX * 2]
        return found

    def _misplaced(self, move: Move, lying: tuple[Lying, ...]) -> list[Choice]:
        found = []
        for option in misplaced_here(move, self._scenery.shelf, lying):
            unit = Item(option.gtin, abs(move.total_g))
            for session, share in self._who[move].items():
                act = self._sketch(move, session, option.gtin, 1, misplaced=True)
                found.append(
                    Choice(option.loglik + share, act, (unit,), session, lying=option.lying)
                )
        return found

    def _given(self, move: Move, session: str, items: tuple[Item, ...]) -> list[Choice]:
        """Return the units of one cart that may have come back."""
        key = (move, session, items)
        known = self._put.get(key)
        if known is None:
            known = self._put[key] = self._put_backs(move, session, items)
        return known

    def _put_backs(self, move: Move, session: str, items: tuple[Item, ...]) -> list[Choice]:
        who = self._who[move]
        share = log(exp(who.get(session, -30.0)) + HANDED_OVER)
        found = []
        for gtin in sorted({item.gtin for item in items}):
            of_it = [item for item in items if item.gtin == gtin and item.count > 0][-6:]
            for quantity in range(1, min(len(of_it), TAKEN_BACK_MAX) + 1):
                for units in sorted(set(combinations(of_it, quantity))):
                    weight_g = sum(item.unit_g for item in units)
                    fits = self._weight(move, weight_g, gtin, quantity)
                    place = self._scenery.place(move, gtin)
                    misplaced = place < max(AT_HOME, ELSEWHERE)
                    loglik = fits + PUT_BACK + max(place, ELSEWHERE) - 0.5 * (quantity - 1) + share
                    act = self._sketch(move, session, gtin, quantity, misplaced=misplaced)
                    put = self._laid(move, units) if misplaced else ()
                    found.append(Choice(loglik, act, units, session, put=put))
        found.sort(key=lambda one: -one.loglik)
        return found[:CHOICES_MAX]

    def _weight(self, move: Move, weight_g: float, gtin: str, quantity: int) -> float:
        """Return how well units weigh what came back: as when they were taken, or as they should.

        What was felt then may have been disturbed.
        """
        known = self._scenery.known.get(gtin)
        felt = same_unit(move, weight_g)
        if known is None:
            return felt
        should = weight_loglik(
            abs(move.total_g), move.sigma_g, quantity * known.unit_g, quantity * known.sigma_g
        )
        return _add(felt, should + DISTURBED)

    def _laid(self, move: Move, units: tuple[Item, ...]) -> tuple[Lying, ...]:
        plate = self._scenery.plate_names[move.main]
        return tuple(
            Lying(item.gtin, item.unit_g, self._scenery.shelf, plate, move.x_mm) for item in units
        )

    def _anybody(self, move: Move, one: Child) -> list[Choice]:
        """Return put-backs by place and hand alone, whatever anybody holds."""
        found = list(self._homely(move))
        for option in self._scenery.home(move)[:CHOICES_MAX]:
            for session, share in self._who[move].items():
                held = one.carts.get(session or "", ())
                units = tuple(item for item in held if item.gtin == option.gtin)
                act = self._sketch(
                    move, session, option.gtin, option.quantity, misplaced=option.misplaced
                )
                loglik = option.loglik + share + PUT_BACK
                found.append(Choice(loglik, act, units[: option.quantity], session))
        return found


def probability(one: Explanation) -> float:
    """Return how likely an explanation is among those that are kept."""
    return exp(one.logp)


def marginals(
    beam: Sequence[Explanation], change: str, options: Sequence[tuple[Sketch, ...]]
) -> list[tuple[float, tuple[Sketch, ...]]]:
    """Return each option of a change with its probability, the likeliest first."""
    sums = [0.0] * len(options)
    for one in beam:
        sums[one.chosen[change]] += probability(one)
    found = [(share, acts) for share, acts in zip(sums, options, strict=True) if share > 0.0]
    return sorted(found, key=lambda pair: -pair[0])


def settle(beam: list[Explanation], change: str) -> list[Explanation]:
    """Hold for true what the best explanation says of a change: it is open no more."""
    best = beam[0].chosen[change]
    kept = [one for one in beam if one.chosen[change] == best]
    for one in kept:
        del one.chosen[change]
    return merged(kept)


def merged(beam: Sequence[Explanation]) -> list[Explanation]:
    """Return a beam in which no two explanations say the same of carts and shelves."""
    found: dict[object, Explanation] = {}
    for one in sorted(beam, key=lambda one: -one.logp):
        known = found.setdefault(_key(one.carts, one.lying, one.loads), one)
        if known is not one:
            known.logp = _add(known.logp, one.logp)
    return normalised(list(found.values()))


def count(items: Sequence[Item], gtin: str) -> int:
    """Return how many units of a product there are."""
    return sum(item.count for item in items if item.gtin == gtin)


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
    return Explanation(one.logp, carts, tuple(lying), dict(one.chosen), one.loads)


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
    for _ in range(act.quantity):
        if act.session is not None:
            held = list(carts.get(act.session, ()))
            wanted = 1 if not to_cart else -1
            spare = next(
                (item for item in reversed(held) if (item.gtin, item.count) == (act.gtin, wanted)),
                None,
            )
            if spare is not None:
                held.remove(spare)
            else:
                held.append(Item(act.gtin, weight_g if to_cart else 0.0))
            carts[act.session] = tuple(held)
        if not act.misplaced:
            continue
        there = [item for item in lying if (item.gtin, item.plate) == (act.gtin, act.plate)]
        if to_cart and there:
            lying.remove(there[-1])
        elif not to_cart:
            lying.append(Lying(act.gtin, weight_g, act.shelf, act.plate, act.x_mm))
