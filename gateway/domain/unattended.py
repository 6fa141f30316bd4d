# SPDX-License-Identifier: Apache-2.0
"""Changes that nobody can be named for: what they may have been by weight alone, never a guess."""

from collections.abc import Sequence
from functools import cache
from math import exp
from typing import Final

from gateway.domain.choices import Sketch
from gateway.domain.events import Candidate, Direction
from gateway.domain.goods import Option, at_home, same_unit, unknown
from gateway.domain.output import Step
from gateway.domain.readings import Move, read
from gateway.domain.reviews import CANDIDATES_MAX, ask, candidates_of, weights
from gateway.domain.state import OpenChange
from gateway.domain.weighing import PlateChange, net

TREMBLE_G: Final = 6.0
"""A smaller change while nobody looked is drift."""
TIDIED_PART: Final = 0.02
LEAST_UNIT_PART: Final = 0.4
"""Less than this part of the store's lightest unit is nothing that anybody moved."""


def decide_unattended(step: Step, change: OpenChange, reason: str | None = None) -> None:
    """Tell of a change that nobody is known to have made.

    Offsets drift in the time that nobody watched; added up over many plates, that would look like
    something taken: so each run of neighbours is a change of its own.
    """
    every = step.state.store.products.values()
    least_g = LEAST_UNIT_PART * min((one.unit_g for one in every), default=0.0)
    runs: list[list[PlateChange]] = []
    for one in net(change.change):
        if abs(one.delta_g) <= TREMBLE_G:
            continue
        if runs and one.plate - runs[-1][-1].plate == 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    name = change.id
    for run in runs:
        if max(abs(one.delta_g) for one in run) < least_g:
            continue
        ask(
            step,
            subject=f"shelf/{change.shelf}",
            change=name,
            reason=reason or change.reason,
            candidates=_candidates(step, change.shelf, run),
            felt=weights(step, change.shelf, run),
            times=(step.time(change.change.since_ns), step.time(change.change.stable_ns)),
            at_ns=change.change.stable_ns,
            since_ns=change.change.since_ns,
        )
        name = step.name()
        _tidied(step, change.shelf, run)


def _tidied(step: Step, shelf: str, run: Sequence[PlateChange]) -> None:
    """Forget what lay about, where just that weight has gone while nobody looked."""
    total_g = sum(one.delta_g for one in run)
    plates = {step.layout.shelves[shelf].plates[one.plate].name for one in run}
    for one in step.state.beliefs.beam:
        for item in reversed(one.lying):
            within_g = TIDIED_PART * item.unit_g + TREMBLE_G
            if item.plate in plates and abs(item.unit_g + total_g) < within_g:
                one.lying = tuple(other for other in one.lying if other is not item)
                break


def _candidates(step: Step, shelf: str, run: Sequence[PlateChange]) -> list[Candidate]:
    """Return what a run of plates may have lost or gained, by nobody in particular."""
    places = step.layout.shelves[shelf]
    known = step.known_weights()

    @cache
    def bound(move: Move) -> float:
        options = at_home(move, places.facings, known)
        return max([unknown(move), *(one.loglik for one in options)])

    readings = [one for one in read(run, places, bound) if one.moves]
    if not readings:
        return []
    options: list[tuple[float, tuple[Sketch, ...]]] = [(1.0, ())]
    for move in readings[0].moves:
        ranked = _products(step, shelf, move)
        total = sum(exp(one.loglik) for one in ranked) + exp(unknown(move))
        plate = places.plates[move.main].name
        direction: Direction = "pick" if move.total_g < 0 else "put-back"
        options = [
            (
                share * exp(one.loglik) / total,
                (*acts, Sketch(None, one.gtin, one.quantity, direction, plate, one.misplaced)),
            )
            for share, acts in options
            for one in ranked[:CANDIDATES_MAX]
        ]
        options = sorted(options, key=lambda one: -one[0])[: CANDIDATES_MAX**2]
    return candidates_of(options)


def _products(step: Step, shelf: str, move: Move) -> list[Option]:
    """Return what belongs there, and what anybody might have brought."""
    known = step.known_weights()
    found = at_home(move, step.layout.shelves[shelf].facings, known)
    if move.total_g > 0:
        home = {one.gtin for one in found}
        held = {
            (item.gtin, item.unit_g)
            for items in step.state.beliefs.best.carts.values()
            for item in items
            if item.gtin not in home and item.count > 0
        }
        found += [Option(same_unit(move, unit_g), gtin, 1, True) for gtin, unit_g in sorted(held)]
    return sorted(found, key=lambda one: -one.loglik)
