# SPDX-License-Identifier: Apache-2.0
"""What a change was judged by, asked again in the very state in which it was decided."""

from collections.abc import Sequence
from math import exp, hypot
from typing import Final, NamedTuple

import msgspec
import numpy as np

from gateway.domain.changes import readings_of
from gateway.domain.choices import NOT_THERE, returned
from gateway.domain.goods import Item, misplaced_here
from gateway.domain.hands import WIDEN_NS, Place
from gateway.domain.holdings import standing
from gateway.domain.layout import ShelfPlaces
from gateway.domain.output import Step
from gateway.domain.readings import Move, Reading
from gateway.domain.state import OpenChange
from gateway.domain.watching import NEAR_LOGLIK, Watching
from gateway.why.facts import Felt, Fit, Moved, Near, Read

READINGS_SHOWN: Final = 3
FITS_SHOWN: Final = 5
NEAR_SHOWN: Final = 8
LEAST_ODDS: Final = 1e-4


class Judged(NamedTuple):
    """What a change was judged by."""

    felt: list[Felt]
    readings: list[Read]
    place: Place | None
    """Of its largest move; None: nothing moved."""
    unattended: bool


def judge(step: Step, change: OpenChange) -> Judged:
    """Ask a change's evidence again; alters nothing."""
    shelf = step.layout.shelves[change.shelf]
    watching = Watching(step, change.shelf)
    readings = readings_of(step, change, watching)
    since_ns = change.change.since_ns
    weighed = [_weighed(one, watching) for one in readings]
    best = max(weighed, default=0.0)
    shown = sorted(zip(weighed, readings, strict=True), key=lambda pair: -pair[0])
    read = [
        Read(
            odds=exp(loglik - best),
            moves=[_moved(step, change, watching, move) for move in one.moves],
        )
        for loglik, one in shown[:READINGS_SHOWN]
        if exp(loglik - best) > LEAST_ODDS
    ]
    moves = next((one.moves for _, one in shown if one.moves), ())
    first = readings[0].moves
    main = max(moves, key=lambda move: abs(move.total_g), default=None)
    return Judged(
        felt=[
            Felt(
                plate=shelf.plates[one.plate].name,
                delta_g=one.delta_g,
                sigma_g=one.sigma_g,
                began_s=(one.since_ns - since_ns) / 1e9,
                half_s=((one.half_ns or one.stable_ns) - since_ns) / 1e9,
                ended_s=(one.stable_ns - since_ns) / 1e9,
            )
            for one in sorted(change.change.plates, key=lambda one: (one.half_ns, one.plate))
        ],
        readings=read,
        place=None if main is None else watching.place_of(main),
        unattended=change.reason != "attended"
        or bool(first and not any(watching.seen(move) for move in first)),
    )


def nearest(
    sights: Sequence[tuple[int, float, float, float]], shelf: ShelfPlaces, place: Place
) -> list[tuple[int, float]]:
    """Return, for each moment, how far the nearest wrist was from where a hand works."""
    if not sights:
        return []
    far_mm = shelf.hand_mm(
        np.array([one[1:] for one in sights], dtype=np.float64), place.low_mm, place.high_mm
    )
    found: dict[int, float] = {}
    for (at_ns, *_), mm in zip(sights, far_mm, strict=True):
        found[at_ns] = min(float(mm), found.get(at_ns, 1e9))
    return sorted(found.items())


def _weighed(reading: Reading, watching: Watching) -> float:
    return reading.loglik + sum(watching.bound(move) for move in reading.moves)


def _moved(step: Step, change: OpenChange, watching: Watching, move: Move) -> Moved:
    shelf = step.layout.shelves[change.shelf]
    who = watching.who(move)
    return Moved(
        plates=[shelf.plates[plate].name for plate in move.plates],
        x_mm=move.x_mm,
        slack_mm=move.slack_mm,
        total_g=move.total_g,
        sigma_g=move.sigma_g,
        half_s=(move.half_ns - change.change.since_ns) / 1e9,
        fits=_fits(step, change.shelf, watching, move),
        near=_near(step, change.shelf, watching, move),
        nobody=exp(who[None]),
    )


def _near(step: Step, shelf: str, watching: Watching, move: Move) -> list[Near]:
    places = step.layout.shelves[shelf]
    who = watching.who(move)
    place = watching.place_of(move)
    x_mm, y_mm = places.front_point(move.x_mm)
    found = []
    for one in sorted(watching.hands(move), key=lambda one: -one.score):
        session = watching.sessions.get(one.person)
        if one.score <= NEAR_LOGLIK and session is None:
            continue
        person = watching.persons[one.person]
        low_ns, high_ns = move.since_ns - WIDEN_NS, move.until_ns + WIDEN_NS
        sights = [seen[:4] for seen in person.wrists_within(low_ns, high_ns)]
        spots = [spot[1:] for spot in person.places_within(low_ns, high_ns)]
        spots = spots or [person.floor_mm]
        found.append(
            Near(
                person=one.person,
                session=session,
                wrist_mm=min((mm for _, mm in nearest(sights, places, place)), default=None),
                floor_mm=float(np.median([hypot(x - x_mm, y - y_mm) for x, y in spots])),
                score=one.score,
                probability=exp(who.get(session, NOT_THERE)),
            )
        )
    return found[:NEAR_SHOWN]


def _fits(step: Step, shelf: str, watching: Watching, move: Move) -> list[Fit]:
    """Return what weighs and stands like a move: of the shelf, of carts, of what lies about."""
    known = step.known_weights()
    plate = step.layout.shelves[shelf].plates[move.main].name
    found: list[tuple[float, Fit]] = []
    if move.total_g < 0:
        lying = step.state.beliefs.best.lying
        options = [*watching.home(move), *misplaced_here(move, shelf, lying)]
        for one in options:
            unit_g = lying[one.lying[0]].unit_g if one.lying else known[one.gtin].unit_g
            there = None if one.lying else standing(step, one.gtin, plate)
            weight_g = one.quantity * unit_g
            fit = Fit(one.gtin, one.quantity, 0.0, weight_g, None, one.misplaced, there)
            found.append((one.loglik, fit))
    else:
        for session, items in step.state.beliefs.best.carts.items():
            found += _returned(step, watching, move, session, items)
        if not found:  # What somebody without a cart may have brought.
            for one in watching.home(move):
                weight_g = one.quantity * known[one.gtin].unit_g
                fit = Fit(one.gtin, one.quantity, 0.0, weight_g, None, one.misplaced)
                found.append((one.loglik, fit))
    found.sort(key=lambda pair: -pair[0])
    best = found[0][0] if found else 0.0
    return [
        msgspec.structs.replace(fit, odds=exp(loglik - best))
        for loglik, fit in found[:FITS_SHOWN]
        if exp(loglik - best) > LEAST_ODDS
    ]


def _returned(
    step: Step, watching: Watching, move: Move, session: str, items: tuple[Item, ...]
) -> list[tuple[float, Fit]]:
    """Return what of a cart weighs like what came back: of each product and count the likeliest."""
    found: dict[tuple[str, int], tuple[float, Fit]] = {}
    for one in returned(move, items, step.known_weights(), watching.place):
        gtin, quantity = one.units[0].gtin, len(one.units)
        weight_g = sum(item.unit_g for item in one.units)
        fit = Fit(gtin, quantity, 0.0, weight_g, session, one.misplaced)
        before = found.get((gtin, quantity))
        if before is None or before[0] < one.loglik:
            found[gtin, quantity] = (one.loglik, fit)
    return list(found.values())
