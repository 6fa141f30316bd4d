# SPDX-License-Identifier: Apache-2.0
"""The store changes while it is open: planogram, prices, plates, calibrations, devices."""

from collections.abc import Collection

from gateway.domain import changes, events, lessons, presence, products
from gateway.domain.drops import drop
from gateway.domain.layout import Layout, PlatePlace
from gateway.domain.output import Step
from gateway.domain.planogram import TOLD_MAX, alike
from gateway.domain.state import Holding
from gateway.domain.weighing import complete


def leave(step: Step, layout: Layout) -> set[str]:
    """Finish under the old store what belongs to it; return the shelves that stay as they are.

    What was felt on plates that change is decided by those plates, and under another planogram what
    was felt before it is decided by the old one.
    """
    before = step.layout
    kept = {
        name
        for name, old in before.shelves.items()
        if (new := layout.shelves.get(name)) is not None and new.shelf.plates == old.shelf.plates
    }
    replanned = _planogram(before) != _planogram(layout)
    done = set(before.shelves) if replanned else set(before.shelves) - kept
    for name in sorted(done & step.state.shelves.keys()):
        for change in complete(step.state.shelves[name]):
            changes.settled(step, name, change)
    changes.decide_shelves(step, done)
    changes.give_up_loads(step)  # They name plates by their place.
    changes.settle_at(step, _recounted(before, layout))
    products.refresh(step)
    _tell_unfinished(step, layout, set(before.shelves) - kept)
    return kept


def enter(step: Step, kept: Collection[str]) -> None:
    """Take up the new store: forget what is not in it, or was weighed in other grams."""
    state = step.state
    same = state.store.version == step.layout.version
    state.store = step.layout.store
    for name in list(state.shelves):
        if name not in kept:
            del state.shelves[name]
    check_holdings(step)
    lessons.check(step)
    presence.forget_removed(step)
    if not same:
        tell_alike(step)


def tell_alike(step: Step) -> None:
    """Tell which neighbours of the planogram weigh alike, if any do."""
    pairs = alike(step.layout.store)
    if pairs:
        told = pairs[:TOLD_MAX]
        more = len(pairs) - len(told)
        step.emit(events.PlanogramAmbiguous, "planogram", pairs=told, more=more)


def check_holdings(step: Step) -> None:
    """Forget what plates held that are gone, and what others weighed by another calibration."""
    holdings, plates = step.state.holdings, step.layout.plates
    anew: set[str] = set()
    for plate in list(holdings):
        holding = holdings[plate]
        if plate not in plates:
            del holdings[plate]
            step.state.trembling.pop(plate, None)
            step.state.unweighed.pop(plate, None)
            step.touch("holding", plate)
            continue
        # Where none was written down, it is of a version that forgot it with the calibration.
        known = isinstance(holding.calibration, str | None)
        weighed = known or holding.weighed_g is not None
        if weighed and _weighed_by_another(holding, plates[plate]):
            holding.weighed_g = None if known else holding.weighed_g
            holding.calibration = plates[plate].calibration
            holding.usual_g = holding.usual_saved_g = None  # Grams of another scale.
            holding.empty_g = None
            anew.add(plate)
            step.touch("holding", plate)
        if weighed and holding.scale != plates[plate].scale:
            holding.scale = plates[plate].scale
            step.touch("holding", plate)
    for plate, holding in holdings.items():
        if holding.stock is None:
            continue
        facing = step.layout.counted.get(plate)
        if facing is None or holding.stock.facing != facing or not anew.isdisjoint(facing.plates):
            holding.stock = None
            step.touch("holding", plate)
    for one in step.state.beliefs.beam:
        one.lying = tuple(item for item in one.lying if item.plate in plates)


def _recounted(before: Layout, after: Layout) -> set[str]:
    """Return the plates on which another facing is counted than before, or by another scale."""

    def counted(layout: Layout, plate: str) -> object:
        place, first = layout.plates.get(plate), layout.counted_on.get(plate, "")
        return layout.counted.get(first), place and (place.calibration, place.scale)

    plates = {*before.counted_on, *after.counted_on}
    return {plate for plate in plates if counted(before, plate) != counted(after, plate)}


def _weighed_by_another(holding: Holding, place: PlatePlace) -> bool:
    """Tell whether a plate was weighed by another calibration, or by other numbers under its id."""
    if holding.calibration != place.calibration:
        return True
    return holding.scale is not None and holding.scale != place.scale


def _planogram(layout: Layout) -> object:
    """Return all that decides what a weight may be."""
    weights = {gtin: (one.unit_g, one.tolerance_g) for gtin, one in layout.store.products.items()}
    return layout.store.facings, weights


def _tell_unfinished(step: Step, layout: Layout, shelves: Collection[str]) -> None:
    """Count plates that go, or get another calibration, while they move: nobody will know it."""
    for name in sorted(shelves):
        shelf = step.state.shelves.get(name)
        if shelf is None:
            continue
        for place in step.layout.shelves[name].plates:
            new = layout.plates.get(place.name)
            lost = new is None or (new.calibration, new.scale) != (place.calibration, place.scale)
            known = shelf.reference_g[place.index] == shelf.reference_g[place.index]
            if lost and known and shelf.moving[place.index]:
                drop(step, f"shelf/{name}", "moving-when-replaced")
