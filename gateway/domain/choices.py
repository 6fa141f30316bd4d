# SPDX-License-Identifier: Apache-2.0
"""The ways to explain one move: what it was, whose hand and whose cart, given what carts hold."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import nlargest
from itertools import combinations
from math import exp, hypot, log
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from gateway.domain.events import Act, Direction
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
from gateway.domain.readings import Bound, Move

CHOICES_MAX: Final = 10
"""Ways to explain one move by what belongs there and by whom."""
PUT_BACK: Final = -0.7
ELSEWHERE: Final = -2.3
"""Logarithm of the prior of a put-back where the product does not belong."""
RESTOCK: Final = -1.5
"""Of goods that somebody without a cart brings to their place."""
BROUGHT: Final = -5.0
"""Logarithm of the share of those who bring what no cart is known to hold."""
NOT_THERE: Final = -30.0
"""Logarithm of the share of a session of which nobody was near."""
HANDED_OVER: Final = 0.06
"""Probability that not who took it puts it back."""
LEFT_BEHIND: Final = 0.01
"""The same of what somebody took who has left since, if whoever puts it back has met them."""
NEVER_MET: Final = 1e-5
"""The same if they came after that."""
TAKEN_BACK_MAX: Final = 3
"""Most units of one product that are put back at once."""
RESUMED_MAX: Final = 10
"""Ways to explain what a hand took at last that are thought of."""
UNITS_MAX: Final = 6
"""So many of the latest of a product in a cart are thought of one by one."""
FAR_PART: Final = 0.25
FAR_G: Final = 15.0
"""Units that weigh differently by more are not looked at closer."""
RELEASE: Final = -0.7
"""Logarithm of the probability that what a hand presses or lifts ends in a way that is seen."""
LEFT_LEAST_G: Final = 20.0
"""What is left beside a hand's load and is less than this is nothing that anybody took."""
DISTURBED: Final = -3.0
"""Logarithm of the probability that a unit's weight was felt wrongly when it was taken."""

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


def plain(
    acts: Iterable[Sketch | Act], *, who: bool = True, where: bool = False
) -> tuple[tuple[str, ...], ...]:
    """Return what acts come to, so that they can be compared.

    Args:
        acts: In any order.
        who: Whether it matters who did them.
        where: Whether the plate does.
    """
    return tuple(
        sorted(
            (
                (act.session or "") if who else "",
                act.gtin,
                str(act.quantity),
                act.direction,
                act.plate if where else "",
            )
            for act in acts
        )
    )


def identified(acts: Iterable[Sketch]) -> list[Sketch]:
    """Return the acts of which the product is known."""
    return [act for act in acts if act.gtin]


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
    unseen: Collection[str] = ()
    """Products of which a unit was taken when nobody could be named."""
    met: Mapping[str, Collection[str]] = MappingProxyType({})
    """Sessions whose carts are closed, with those that had begun before."""
    near: Callable[[Move], Collection[str]] = lambda _: ()
    """Who may have been near a move."""
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


Choices = list[Choice]
"""The likeliest first."""


def likeliest(choices: Choices) -> Choices:
    """Return choices with the likeliest first."""
    return sorted(choices, key=lambda one: -one.loglik)


class Returned(NamedTuple):
    """Units of one product of a cart that may have come back, and how well that fits."""

    loglik: float
    units: tuple[Item, ...]
    misplaced: bool


def returned(
    move: Move,
    items: Sequence[Item],
    known: Mapping[str, Known],
    place: Callable[[Move, str], float],
) -> list[Returned]:
    """Return what of a cart may have come back by a move, whoever's hand it was.

    Args:
        move: What came.
        items: The cart.
        known: What products weigh.
        place: How well a move's place fits where a product belongs.
    """
    return [
        one
        for gtin, of_it in held_of(items).items()
        for one in returned_of(move, of_it, known.get(gtin), place(move, gtin))
    ]


def held_of(items: Sequence[Item]) -> dict[str, tuple[Item, ...]]:
    """Return the latest units of each product in a cart, by GTIN, that are thought of."""
    found: dict[str, list[Item]] = {}
    for item in items:
        if item.count > 0:
            found.setdefault(item.gtin, []).append(item)
    return {gtin: tuple(found[gtin][-UNITS_MAX:]) for gtin in sorted(found)}


def returned_of(
    move: Move, of_it: Sequence[Item], known: Known | None, fit: float
) -> list[Returned]:
    """Return what of one product's units in a cart may have come back by a move.

    Args:
        move: What came.
        of_it: The units.
        known: What it weighs.
        fit: How well the move's place fits where it belongs.
    """
    found = []
    for quantity in range(1, min(len(of_it), TAKEN_BACK_MAX) + 1):
        if not _may_weigh(move, quantity, of_it, known):
            continue
        prior = PUT_BACK + max(fit, ELSEWHERE) - 0.5 * (quantity - 1)
        for units in sorted(set(combinations(of_it, quantity))):
            weight = _weighed_again(move, units, known)
            found.append(Returned(weight + prior, units, fit < ELSEWHERE))
    return found


def _may_weigh(move: Move, quantity: int, of_it: Sequence[Item], known: Known | None) -> bool:
    """Tell whether so many units are worth a closer look: most are far from what came back."""
    total_g = abs(move.total_g)
    within_g = FAR_PART * total_g + FAR_G
    weights_g = [item.unit_g for item in of_it]
    if known is not None:
        weights_g.append(known.unit_g)
    low_g, high_g = quantity * min(weights_g), quantity * max(weights_g)
    return low_g - within_g <= total_g <= high_g + within_g


def _weighed_again(move: Move, units: Sequence[Item], known: Known | None) -> float:
    """Return how well units weigh what came back: as when they were taken, or as they should.

    What was felt then may have been disturbed.
    """
    felt = same_unit(move, sum(item.unit_g for item in units))
    if known is None:
        return felt
    count = len(units)
    should = weight_loglik(
        abs(move.total_g), move.sigma_g, count * known.unit_g, count * known.sigma_g
    )
    return float(np.logaddexp(felt, should + DISTURBED))


class Weigher:
    """Weighs the choices of each move, once for all explanations that see it alike."""

    def __init__(self, scenery: Scenery) -> None:
        self._scenery = scenery
        self._home: dict[Move, Choices] = {}
        self._who: dict[Move, Who] = {}
        self._endings: dict[tuple[Move, Load, tuple[Lying, ...]], Choices] = {}
        self._unseen_of: dict[Move, Choices] = {}
        self._taken: dict[tuple[Move, tuple[Lying, ...]], Choices] = {}
        self._back_of: dict[tuple[Move, str, tuple[Item, ...]], Choices] = {}
        self._put: dict[Move, dict[tuple[str, tuple[Item, ...]], Choices]] = {}

    def choices(self, move: Move, one: Child) -> list[Choices]:
        """Return the ways to explain a move, given what carts and shelves hold."""
        found = self._plain(move, one)
        for load in one.loads:
            if load.shelf == self._scenery.shelf and not set(load.plates).isdisjoint(move.plates):
                found.append(self._ended(move, load, one))
        return found

    def _ended(self, move: Move, load: Load, one: Child) -> Choices:
        if move.total_g + load.total_g > 0:  # What carts hold matters.
            return self._resumed(move, load, one)
        key = (move, load, one.lying)
        known = self._endings.get(key)
        if known is None:
            known = self._endings[key] = self._resumed(move, load, one)
        return known

    def _plain(self, move: Move, one: Child) -> list[Choices]:
        """Return the ways to explain a move by itself."""
        if move not in self._who:
            self._who[move] = self._scenery.who(move)
        if move.total_g > 0 and not self._scenery.carts:
            return [self._anybody(move, one)]
        found = [self._homely(move)]
        if move.total_g < 0:
            if one.lying:
                found.append(self._misplaced(move, one.lying))
            return found
        if self._scenery.unseen:
            found.append(self._returned(move, one))
        return found + self._given(move, one.carts)

    def _resumed(self, move: Move, load: Load, one: Child) -> Choices:
        """Return how a move may end what a hand began: it lets go, or takes at last."""
        found = [Choice(RELEASE + released(move, load), None, ends=load)]
        whole = move._replace(
            total_g=move.total_g + load.total_g, sigma_g=hypot(move.sigma_g, load.sigma_g)
        )
        if abs(whole.total_g) > LEFT_LEAST_G:
            plain = [
                choice
                for choices in self._plain(whole, one)
                for choice in choices
                if choice.act is not None and choice.act.gtin
            ]
            found += [
                choice._replace(loglik=choice.loglik + RELEASE, ends=load, whole=whole)
                for choice in nlargest(RESUMED_MAX, plain, key=lambda choice: choice.loglik)
            ]
        return likeliest(found)

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

    def _homely(self, move: Move) -> Choices:
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
                    brought = float(np.logaddexp(share, BROUGHT))
                    found.append(Choice(option.loglik + brought + RESTOCK, act))
        self._home[move] = found = likeliest(found)[: CHOICES_MAX * 2]
        return found

    def _returned(self, move: Move, one: Child) -> Choices:
        """Return what may have come back that was taken when nobody could be named.

        Whoever brings it holds none by what is known.
        """
        shares = [
            (exp(share), {item.gtin for item in one.carts.get(session or "", ())})
            for session, share in self._who[move].items()
        ]
        found = []
        for choice in self._unseen(move):
            assert choice.act is not None
            others = sum(share for share, held in shares if choice.act.gtin not in held)
            loglik = choice.loglik + log(1e-12 + others)
            found.append(Choice(loglik, choice.act, put=choice.put))
        return likeliest(found)

    def _unseen(self, move: Move) -> Choices:
        """Return the same before it is asked who may bring it."""
        known = self._unseen_of.get(move)
        if known is not None:
            return known
        found = [
            Choice(
                option.loglik + PUT_BACK,
                self._sketch(move, None, option.gtin, option.quantity, misplaced=False),
            )
            for option in self._scenery.home(move)[:CHOICES_MAX]
            if option.gtin in self._scenery.unseen and not option.misplaced
        ]
        for gtin in sorted(self._scenery.unseen):
            weighs = self._scenery.known.get(gtin)
            if weighs is None or self._scenery.place(move, gtin) >= ELSEWHERE:
                continue
            total_g = abs(move.total_g)
            loglik = weight_loglik(total_g, move.sigma_g, weighs.unit_g, weighs.sigma_g)
            act = self._sketch(move, None, gtin, 1, misplaced=True)
            put = self._laid(move, (Item(gtin, total_g),))
            found.append(Choice(loglik + PUT_BACK + ELSEWHERE, act, put=put))
        self._unseen_of[move] = found
        return found

    def _misplaced(self, move: Move, lying: tuple[Lying, ...]) -> Choices:
        """Return what may have left that lay where it does not belong, and with whom."""
        key = (move, lying)
        known = self._taken.get(key)
        if known is not None:
            return known
        found = []
        for option in misplaced_here(move, self._scenery.shelf, lying):
            unit = Item(option.gtin, abs(move.total_g))
            for session, share in self._who[move].items():
                act = self._sketch(move, session, option.gtin, 1, misplaced=True)
                found.append(
                    Choice(option.loglik + share, act, (unit,), session, lying=option.lying)
                )
        self._taken[key] = found = likeliest(found)
        return found

    def _given(self, move: Move, carts: Mapping[str, tuple[Item, ...]]) -> list[Choices]:
        """Return the units of each cart that may have come back; nothing of most carts may have."""
        put = self._put.setdefault(move, {})
        found = []
        for cart in carts.items():
            known = put.get(cart)
            if known is None:
                known = put[cart] = self._put_backs(move, *cart)
            if known:
                found.append(known)
        return found

    def _put_backs(self, move: Move, session: str, items: tuple[Item, ...]) -> Choices:
        found = [
            choice
            for gtin, of_it in held_of(items).items()
            for choice in self._back(move, session, gtin, of_it)
        ]
        return likeliest(found)[:CHOICES_MAX]

    def _back(self, move: Move, session: str, gtin: str, of_it: tuple[Item, ...]) -> Choices:
        """Return what of some units may have come back: a cart's others change more often."""
        key = (move, session, of_it)
        known = self._back_of.get(key)
        if known is not None:
            return known
        share = log(exp(self._who[move].get(session, NOT_THERE)) + self._handed(move, session))
        fit, weight = self._scenery.place(move, gtin), self._scenery.known.get(gtin)
        found = []
        for one in returned_of(move, of_it, weight, fit):
            act = self._sketch(move, session, gtin, len(one.units), misplaced=one.misplaced)
            put = self._laid(move, one.units) if one.misplaced else ()
            found.append(Choice(one.loglik + share, act, one.units, session, put=put))
        self._back_of[key] = found
        return found

    def _handed(self, move: Move, session: str) -> float:
        """Return the probability that somebody else puts back what a session took."""
        met = self._scenery.met.get(session)
        if met is None:
            return HANDED_OVER
        who, near = self._who[move], self._scenery.near(move)
        theirs = sum(exp(who[one]) for one in sorted(near) if one in met)
        return NEVER_MET + LEFT_BEHIND * theirs

    def _laid(self, move: Move, units: tuple[Item, ...]) -> tuple[Lying, ...]:
        plate = self._scenery.plate_names[move.main]
        return tuple(
            Lying(item.gtin, item.unit_g, self._scenery.shelf, plate, move.x_mm) for item in units
        )

    def _anybody(self, move: Move, one: Child) -> Choices:
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
        return likeliest(found)
