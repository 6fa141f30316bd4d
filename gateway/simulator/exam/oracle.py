# SPDX-License-Identifier: Apache-2.0
"""Oracles: told what was taken, where and when, they only have to say by whom.

``nearest`` takes whose wrist is nearest while the weight changes, as the baseline does: what it
misses, no weighing can make good. ``attentive`` knows every body for sure, weighs all hands over
the whole act and knows what carts hold: what it misses, hardly any observer could tell.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from gateway.domain.inputs import AnyInput
from gateway.simulator.exam.answers import Answer, Billed, Claim, Decision
from gateway.simulator.exam.baseline import LOOK_NS, WRIST_ABOVE_MM, nearest_shopper
from gateway.simulator.exam.cases import Case
from gateway.simulator.exam.recording import record
from gateway.simulator.exam.stage import seconds
from gateway.simulator.layout import Point3
from gateway.simulator.stock import TrueAct

WIDEN_S: Final = 0.1
FLANK_S: Final = 0.7
"""A hidden hand was on its way so long before and after."""
FLANK_WEIGHT: Final = 0.5
DURING_WEIGHT: Final = 3.0
REACH_MM: Final = 750.0
FEET_MM: Final = 200.0
HAND_ERROR_MM: Final = 110.0
FAR_MM: Final = 999.0


def nearest(case: Case, inputs: Iterable[AnyInput]) -> Answer:
    """Return what an oracle makes of a case that takes the nearest wrist at each act."""
    recording = record(case.store, inputs)

    def who(act: TrueAct, _carts: dict[str, Counter[str]]) -> str | None:
        at_ns = ((act.lift_ns or act.start_ns) + act.end_ns) // 2
        views = recording.around(at_ns - LOOK_NS, at_ns + LOOK_NS)
        return nearest_shopper(views, at_ns, _place(case, act))

    return _answer(case, who)


def attentive(case: Case) -> Answer:
    """Return what an oracle makes of a case that weighs all hands over each whole act."""
    owners = case.stage.owners

    def who(act: TrueAct, carts: dict[str, Counter[str]]) -> str | None:
        fits = _likelihoods(case, act)
        if act.direction == "put-back":
            holders = {name for name, cart in carts.items() if cart[act.gtin] >= act.quantity}
            if len(holders) == 1:
                return holders.pop()
            fits = {name: fit for name, fit in fits.items() if owners[name] in holders} or fits
        name = max(sorted(fits), key=fits.__getitem__, default=None)
        return None if name is None else owners[name]

    return _answer(case, who)


def _answer(case: Case, who: Callable[[TrueAct, dict[str, Counter[str]]], str | None]) -> Answer:
    answer = Answer()
    carts: dict[str, Counter[str]] = {shopper: Counter() for shopper in case.truth.baskets}
    for act in sorted(case.truth.acts, key=lambda act: act.end_ns):
        shopper = who(act, carts)
        shopper = shopper if shopper in carts else None
        if shopper is not None:
            cart = carts[shopper]
            if act.direction == "pick":
                cart[act.gtin] += act.quantity
            else:
                cart[act.gtin] = max(cart[act.gtin] - act.quantity, 0)
        claims = [Claim(shopper, act.gtin, act.quantity, act.direction)]
        answer.decisions.append(
            Decision(frozenset(act.plates), act.start_ns, act.end_ns, act.end_ns, claims)
        )
    answer.receipts = {
        shopper: {gtin: Billed(count, 1.0) for gtin, count in cart.items() if count}
        for shopper, cart in carts.items()
    }
    return answer


def _place(case: Case, act: TrueAct) -> Point3:
    """Return where a hand works at the plates that an act changed."""
    places = [place for place in case.stage.room.layout.plates if place.name in act.plates]
    x, y, z = np.mean([place.middle_mm for place in places], axis=0)
    return float(x), float(y), float(z) + WRIST_ABOVE_MM


def _likelihoods(case: Case, act: TrueAct) -> dict[str, float]:
    """Return how well each body's hands and feet fit an act: logarithms, 0 says nothing.

    A hand seen at the place counts for it, one seen elsewhere against it, a hidden one not at all;
    on the way there and back a hand can only count for it.
    """
    since_s, until_s = seconds(act.lift_ns or act.start_ns), seconds(act.end_ns)
    place = np.array(_place(case, act))
    during: dict[str, list[float]] = {}
    around: dict[str, float] = {}
    feet: dict[str, list[float]] = {}
    for frame in itertools.chain(*case.frames.values()):
        if not since_s - FLANK_S <= frame.at_s <= until_s + FLANK_S:
            continue
        core = since_s - WIDEN_S <= frame.at_s <= until_s + WIDEN_S
        for name, person in zip(frame.names, frame.people, strict=True):
            if person.floor_mm is not None:
                far_mm = float(np.hypot(*(np.array(person.floor_mm) - place[:2])))
                feet.setdefault(name, []).append(_fits(max(far_mm - REACH_MM, 0.0), FEET_MM))
            hands = np.array([wrist.mm for wrist in person.wrists]).reshape(-1, 3)
            near_mm = np.linalg.norm(hands - place, axis=1).min(initial=FAR_MM)
            says = _fits(float(near_mm), HAND_ERROR_MM)
            if core:
                # Only if both hands are seen elsewhere is it clear that neither was there.
                hidden = len(hands) < 2 and says < 0.0
                during.setdefault(name, []).append(0.0 if hidden else says)
            else:
                around[name] = max(around.get(name, 0.0), says)
    return {
        name: float(np.mean(feet.get(name, [0.0])))
        + FLANK_WEIGHT * around.get(name, 0.0)
        + DURING_WEIGHT * float(np.mean(during.get(name, [0.0])))
        for name in {*feet, *during, *around}
    }


def _fits(far_mm: float, sigma_mm: float) -> float:
    """Return a bounded logarithm: above 0 for near, below for far."""
    return max(2.0 - 0.5 * (far_mm / sigma_mm) ** 2, -2.0)
