# SPDX-License-Identifier: Apache-2.0
"""What each plate holds: its weight, what is misplaced there, and how many units of its facing.

Counts are of settled changes; what is open is counted by each explanation for itself. One that
takes what is not there, or leaves less on plates than what is said to stand there, becomes less
likely.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gateway.domain import products
from gateway.domain.beliefs import Attribution
from gateway.domain.choices import Sketch
from gateway.domain.events import Act
from gateway.domain.explanations import Explanation, normalised
from gateway.domain.goods import Lying
from gateway.domain.output import Step
from gateway.domain.state import Holding
from gateway.domain.stock import (
    MANY,
    Floats,
    Stock,
    at_most,
    between,
    beyond,
    changed,
    counted,
    kept,
    mixed,
    worth,
)
from gateway.domain.store import Facing

SCARCE: Final = 6
FEW: Final = 1e-3
"""Where fewer units than ``SCARCE`` are less likely than this, a count says nothing."""
WHOLE: Final = 0.3
"""A weight that is further from whole units than this part of one is none of the facing's alone."""
CREPT: Final = 0.1
"""So much of a unit may what plates carry creep before a count goes on from there."""
SURE: Final = 0.98

Taken = tuple[int, int]
"""Units taken by open changes, less those put back: by now, and at most at any moment."""


class _Few(NamedTuple):
    """A counted facing, as changes that are open find it."""

    units: int
    shares: list[float]
    plates: frozenset[str]
    carried_g: float
    """By its plates now, whatever lies there that does not belong there."""
    unit_g: float


def weighed(step: Step, plate: str, weight_g: float, *, drifted: bool = False) -> None:
    """Write down what a plate weighs now, so that a restart can compare.

    Args:
        step: The step.
        plate: Its name.
        weight_g: What it weighs.
        drifted: Nothing was moved: the plate weighs as much more when it is empty.
    """
    weight_g = round(weight_g, 2)
    holding = step.state.holdings.setdefault(plate, Holding(weighed_g=None))
    before_g, holding.weighed_g = holding.weighed_g, weight_g
    holding.calibration = step.layout.plates[plate].calibration
    holding.scale = step.layout.plates[plate].scale
    if holding.calibration is not None and holding.empty_g is None:
        holding.empty_g = 0.0
    elif drifted and holding.empty_g is not None and before_g is not None:
        holding.empty_g = round(holding.empty_g + weight_g - before_g, 2)
    step.touch("holding", plate)


def rezeroed(step: Step, plate: str) -> None:
    """Note that what a plate weighs now is nothing from here on: it carries what it carried."""
    holding = step.state.holdings.get(plate)
    if holding is None or holding.weighed_g is None:
        return
    if holding.empty_g is not None:
        holding.empty_g = round(holding.empty_g - holding.weighed_g, 2)
    holding.weighed_g = None
    step.touch("holding", plate)


def remember_misplaced(step: Step) -> None:
    """Keep count of units that lie where they do not belong."""
    found: dict[str, dict[str, int]] = {}
    for one in step.state.beliefs.best.lying:
        units = found.setdefault(one.plate, {})
        units[one.gtin] = units.get(one.gtin, 0) + 1
    holdings = step.state.holdings
    for plate in sorted({*found, *(name for name, one in holdings.items() if one.misplaced)}):
        if plate not in step.layout.plates:
            continue
        holding = holdings.setdefault(plate, Holding(weighed_g=None))
        if holding.misplaced != found.get(plate, {}):
            holding.misplaced = found.get(plate, {})
            for gtin in holding.misplaced:
                products.use(step, gtin)
            step.touch("holding", plate)


def count(step: Step, facings: Iterable[str] | None = None) -> None:
    """Count facings that have not been counted yet; take up what came or went without a change.

    Args:
        step: The step.
        facings: Which, by their first plate; None: all.
    """
    if "stock" in step.state.settings.without:
        return
    known, open_g = step.known_weights(), _open_g(step)
    for first in sorted(step.layout.counted if facings is None else facings):
        facing = step.layout.counted[first]
        carried_g = _carried_g(step, facing)
        if carried_g is None:
            continue
        carried_g -= open_g.get(first, 0.0)
        stock, unit = _stock(step, first), known[facing.gtin]
        came = 0.0 if stock is None else (carried_g - stock.carried_g) / unit.unit_g
        units = round(came)
        if stock is None or (units and not _whole(came)):
            shares = counted(carried_g, _beside_g(step, facing), unit)
        elif units or abs(came) > CREPT:
            shares = changed(stock.array(step.now_ns), units)
        else:
            continue
        _keep(step, facing, shares, carried_g)


def _whole(came: float) -> bool:
    return abs(came - round(came)) < WHOLE and abs(came) <= MANY


def save(step: Step) -> None:
    """Write down the counts that have changed since the last time; a start may lose a minute."""
    for plate in sorted(step.state.uncounted):
        step.touch("holding", plate)
    step.state.uncounted = {}


def takes(step: Step, acts: Iterable[Sketch | Act]) -> tuple[tuple[str, int], ...]:
    """Return the units that acts take from counted facings, by their first plate.

    Below 0: they are put there.
    """
    found: list[tuple[str, int]] = []
    for act in acts if step.layout.counted else ():
        first = None
        if act.gtin and not act.misplaced:
            first = step.layout.facing_of(act.gtin, act.plate)
        if first is not None:
            found.append((first, act.quantity if act.direction == "pick" else -act.quantity))
    return tuple(found)


def touched(step: Step, plates: Iterable[str], taken: Iterable[tuple[str, int]] = ()) -> set[str]:
    """Return the counted facings, by their first plate, that stand on plates or gave units."""
    found = {step.layout.counted_on.get(plate) for plate in plates} | {first for first, _ in taken}
    return {first for first in found if first in step.layout.counted}


def touched_by(step: Step, one: Attribution) -> set[str]:
    """Return the counted facings that felt a change, or that it may be about."""
    taken = [units for option in one.takes for units in option]
    return touched(step, (weight.plate for weight in one.weights), taken)


def settle(
    step: Step,
    facings: Iterable[str],
    ways: Iterable[tuple[float, Iterable[tuple[str, int]]]],
    closing: Attribution | None = None,
) -> None:
    """Take into the counts what was taken from facings, and what they carry by now.

    Where they carry clearly more than is counted then, it is wrong: it begins anew by weight.

    Args:
        step: The step; what came or went there without a change is counted already.
        facings: All that felt it.
        ways: What may have been taken, and how likely: units by facing; below 0: put there.
        closing: A change that is still among the open ones, and no more from here on.
    """
    others = [one for one in step.state.beliefs.open.values() if one is not closing]
    known, open_g, likely = step.known_weights(), _open_g(step, closing), list(ways)
    for first in sorted(facings):
        facing, stock = step.layout.counted[first], _stock(step, first)
        carried_g = _carried_g(step, facing)
        if stock is None:
            continue
        unit, gone = known[facing.gtin], _gone(likely, first)
        shares = mixed(stock.array(step.now_ns), gone)
        if carried_g is None:  # Since its zero was set anew. It carries less by what went.
            units = max(gone, key=lambda one: gone[one])
            _keep(step, facing, shares, stock.carried_g - units * unit.unit_g)
            continue
        settled_g = carried_g - open_g.get(first, 0.0)
        if not any(first in touched_by(step, other) for other in others):
            shares = shares * at_most(carried_g, unit.unit_g)
            if beyond(between(shares)[1], carried_g, unit.unit_g):
                shares = counted(carried_g, _beside_g(step, facing), unit)
            _reset_empty(step, facing, float(shares[0] / shares.sum()))
            settled_g = _carried_g(step, facing) or 0.0
        _keep(step, facing, shares, settled_g)


def _gone(ways: Iterable[tuple[float, Iterable[tuple[str, int]]]], first: str) -> dict[int, float]:
    """Return how likely so many units of one facing were taken."""
    found: dict[int, float] = {}
    for share, taken in ways:
        units = sum(number for name, number in taken if name == first)
        found[units] = found.get(units, 0.0) + share
    return found


def _open_g(step: Step, closing: Attribution | None = None) -> dict[str, float]:
    """Return by how much changes that are open changed what facings carry of what belongs there.

    By first plate, as the best explanation has it.
    """
    found: dict[str, float] = {}
    beliefs, counted_on = step.state.beliefs, step.layout.counted_on
    for name, one in beliefs.open.items() if counted_on else ():
        if one is closing:
            continue
        option = beliefs.best.chosen[name]
        felt = [(weight.plate, weight.delta_g) for weight in one.weights]
        if one.moved_g:  # Of an older version none are known.
            acts = zip(one.options[option], one.moved_g[option], strict=True)
            felt += [(act.plate, -total_g) for act, (total_g, _) in acts if act.misplaced]
        for plate, moved_g in felt:
            first = counted_on.get(plate)
            if first is not None:
                found[first] = found.get(first, 0.0) + moved_g
    return found


def weigh(step: Step) -> None:
    """Let every explanation count for what facings could give and now weigh.

    A count says nothing where clearly more is left than any explanation has it.
    """
    beliefs = step.state.beliefs
    found = _in_question(step)
    if not found and not any(one.counted for one in beliefs.beam):
        return
    beam = [(one, _taken(step, one)) for one in beliefs.beam]
    totals = [0.0] * len(beam)
    for first, few in found.items():
        lying_g: dict[int, float] = {}
        cases: list[tuple[Taken, float]] = []
        for one, taken in beam:
            place = id(one.lying)  # Most explanations share it.
            if place not in lying_g:
                lying_g[place] = sum(it.unit_g for it in one.lying if it.plate in few.plates)
            cases.append((taken.get(first, (0, 0)), few.carried_g - lying_g[place]))
        known = {case: worth(few.shares, case[1], few.unit_g, case[0]) for case in {*cases}}
        if all(_belied(few, *case) for case in known):
            continue
        for number, case in enumerate(cases):
            totals[number] += known[case]
    for (one, _), total in zip(beam, totals, strict=True):
        one.logp += total - one.counted
        one.counted = total
    beliefs.beam = normalised(beliefs.beam)


def _belied(few: _Few, taken: Taken, carried_g: float) -> bool:
    """Tell whether clearly more is left than was counted, less what was taken by now."""
    return beyond(max(few.units - taken[0], 0), carried_g, few.unit_g)


def standing(step: Step, gtin: str, plate: str) -> tuple[int, int] | None:
    """Return how many units of a product stand at a plate, from and to, by the best explanation.

    None: they are not counted there.
    """
    first = step.layout.facing_of(gtin, plate)
    stock = None if first is None else _stock(step, first)
    if first is None or stock is None:
        return None
    gone, _ = _taken(step, step.state.beliefs.best).get(first, (0, 0))
    return between(changed(stock.array(step.now_ns), -gone))


def _in_question(step: Step) -> dict[str, _Few]:
    """Return the facings that open changes may have taken from and that are known to hold few."""
    state, known, found = step.state, step.known_weights(), {}
    if not step.layout.counted:
        return {}
    touched = {
        first for one in state.beliefs.open.values() for taken in one.takes for first, _ in taken
    }
    for first in sorted(touched & step.layout.counted.keys()):
        facing, stock = step.layout.counted[first], _stock(step, first)
        if stock is None or sum(stock.shares[:SCARCE]) < FEW:
            continue
        carried_g = _carried_g(step, facing, ())
        if carried_g is not None:
            shares, unit_g = stock.array(step.now_ns), known[facing.gtin].unit_g
            low, high = between(shares)
            # By weight alone, with goods that stand across from neighbours, a count may be wrong
            # in the same way as what it would be held against.
            if low == high:
                plates = frozenset(facing.plates)
                found[first] = _Few(low, shares.tolist(), plates, carried_g, unit_g)
    return found


def _taken(step: Step, one: Explanation) -> dict[str, Taken]:
    """Return what an explanation says was taken from facings by changes that are open."""
    found: dict[str, Taken] = {}
    for name, attribution in step.state.beliefs.open.items():
        for first, units in attribution.taken(one.chosen[name]):
            now, most = found.get(first, (0, 0))
            found[first] = now + units, max(most, now + units)
    return found


def _carried_g(
    step: Step, facing: Facing, misplaced: Sequence[Lying] | None = None
) -> float | None:
    """Return what a facing's plates carry that belongs there; None: it is not known.

    Args:
        step: The step.
        facing: A counted one.
        misplaced: What does not belong where it lies; None: as the best explanation has it.
    """
    lying = step.state.beliefs.best.lying if misplaced is None else misplaced
    total_g = 0.0
    for plate in facing.plates:
        holding = step.state.holdings.get(plate)
        if holding is None or holding.weighed_g is None or holding.empty_g is None:
            return None
        total_g += holding.weighed_g - holding.empty_g
    return total_g - sum(item.unit_g for item in lying if item.plate in facing.plates)


def _beside_g(step: Step, facing: Facing) -> float:
    """Return what the plates on either side of a facing carry, as far as it is known."""
    plates = step.layout.shelves[step.layout.shelf_of[facing.plates[0]]].plates
    indices = [step.layout.plates[plate].index for plate in facing.plates]
    total_g = 0.0
    for index in (min(indices) - 1, max(indices) + 1):
        holding = step.state.holdings.get(plates[index].name) if 0 <= index < len(plates) else None
        if holding is not None and holding.weighed_g is not None and holding.empty_g is not None:
            total_g += max(holding.weighed_g - holding.empty_g, 0.0)
    return total_g


def _reset_empty(step: Step, facing: Facing, none: float) -> None:
    """Learn anew what plates weigh empty: never more than they do now, and just that if they are.

    Args:
        step: The step.
        facing: Theirs.
        none: How likely it is that nothing stands on it.
    """
    for plate in facing.plates:
        holding = step.state.holdings[plate]
        if holding.weighed_g is None or holding.empty_g is None:
            continue
        if none > SURE and len(facing.plates) == 1 and not holding.misplaced:
            holding.empty_g = holding.weighed_g
        holding.empty_g = min(holding.empty_g, holding.weighed_g)


def _stock(step: Step, first: str) -> Stock | None:
    """Return the count of a facing, if it has been counted."""
    holding = step.state.holdings.get(first)
    return None if holding is None else holding.stock


def _keep(step: Step, facing: Facing, shares: Floats, carried_g: float) -> None:
    first = facing.plates[0]
    step.state.holdings[first].stock = kept(facing, shares, carried_g, step.now_ns)
    step.state.uncounted[first] = None
