# SPDX-License-Identifier: Apache-2.0
"""The published way, to be measured against: each change decided by itself, at once, for good.

A step is where the moving variance of a shelf's weight exceeds a threshold. Its size is the
difference of the means at its two ends; the product is the one whose share of the changed plates
and whose weight fit best; the shopper is whose wrist is nearest when the variance peaks. Systems of
this kind were entered in the AutoCheckout competition of CPS-IoT Week 2020. This is an independent
sketch of that way of deciding. It is part of the simulator and never of the engine.
"""

from collections.abc import Iterable
from math import exp
from typing import Final, NamedTuple

import numpy as np

from gateway.domain.inputs import AnyInput
from gateway.domain.store import Store
from gateway.simulator.exam.answers import Answer, Billed, Claim, Decision
from gateway.simulator.exam.recording import Floats, Recording, View, Weights, record
from gateway.simulator.layout import Point3

WINDOW: Final = 22
"""Samples of the moving mean and variance: 0.37 s."""
VARIANCE_G2: Final = 300.0
"""A shelf whose total weight varies more than this has an event."""
LEAST_CHANGE_G: Final = 25.0
"""A smaller difference is nothing."""
WEIGHT_SIGMA: Final = 0.15
"""Standard deviation of a product's weight, as a part of it; ``SIGMA_G`` is added."""
SIGMA_G: Final = 8.0
BASELINE_UNITS_MAX: Final = 5
JOIN_SAMPLES: Final = 12
"""Two stretches of high variance nearer than this are one event."""
AT_PLATE_MM: Final = 250.0
"""A wrist further away than this is nobody's who is at the plate."""
WRIST_ABOVE_MM: Final = 100.0
"""How high above a plate a wrist works."""
LOOK_NS: Final = 350_000_000
"""How far from the peak a frame still counts."""


class _Step(NamedTuple):
    first: int
    last: int
    peak: int


def decide(store: Store, inputs: Iterable[AnyInput]) -> Answer:
    """Return what the published way makes of a case."""
    recording = record(store, inputs)
    answer = Answer()
    carts: dict[str, dict[str, Billed]] = {}
    steps = [
        (weights.times_ns[step.last], number, step)
        for number, shelf in enumerate(store.shelves)
        for weights in [recording.weights[shelf.name]]
        for step in _steps(weights)
    ]
    for _, number, step in sorted(steps):
        _decide(recording, number, step, answer, carts)
    answer.receipts = {
        shopper: {gtin: line for gtin, line in cart.items() if line.quantity}
        for shopper, cart in carts.items()
    }
    return answer


def _steps(weights: Weights) -> list[_Step]:
    """Return where a shelf's moving variance is above the threshold."""
    total = weights.grams.sum(axis=1)
    if len(total) < 3 * WINDOW:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(total, WINDOW)
    variance = windows.var(axis=1)
    high = variance > VARIANCE_G2
    steps: list[_Step] = []
    begin: int | None = None
    quiet = 0
    for index, is_high in enumerate(high):
        if is_high:
            begin = index if begin is None else begin
            quiet = 0
        elif begin is not None:
            quiet += 1
            if quiet >= JOIN_SAMPLES:
                last = index - quiet
                peak = begin + int(np.argmax(variance[begin : last + 1]))
                steps.append(_Step(begin, last + WINDOW, peak + WINDOW // 2))
                begin = None
    return steps


def _decide(
    recording: Recording,
    number: int,
    step: _Step,
    answer: Answer,
    carts: dict[str, dict[str, Billed]],
) -> None:
    shelf = recording.store.shelves[number]
    weights = recording.weights[shelf.name]
    before = weights.grams[max(step.first - WINDOW, 0) : max(step.first, 1)].mean(axis=0)
    after = weights.grams[step.last : step.last + WINDOW].mean(axis=0)
    delta = after - before
    total = float(delta.sum())
    if abs(total) < LEAST_CHANGE_G:
        return
    main = int(np.argmax(np.abs(delta)))
    plates = recording.layout.shelf_plates[number]
    place_mm = place_of(recording, plates[main])
    peak_ns = int(weights.times_ns[step.peak])
    shopper = nearest_shopper(
        recording.around(peak_ns - LOOK_NS, peak_ns + LOOK_NS), peak_ns, place_mm
    )
    if total < 0:
        options = _shares(recording, number, delta)
    else:
        held = carts.get(shopper or "", {})
        options = {gtin: 1.0 for gtin, line in held.items() if line.quantity > 0}
    found = _product(recording.store, options, abs(total))
    claims: list[Claim] = []
    if found is not None and shopper is not None:
        gtin, quantity, probability = found
        cart = carts.setdefault(shopper, {})
        line = cart.get(gtin, Billed(0, 1.0))
        if total > 0:
            quantity = min(quantity, line.quantity)
        sign = 1 if total < 0 else -1
        cart[gtin] = Billed(line.quantity + sign * quantity, min(line.probability, probability))
        if quantity:
            claims = [Claim(shopper, gtin, quantity, "pick" if total < 0 else "put-back")]
    end_ns = int(weights.times_ns[min(step.last + WINDOW, len(weights.times_ns) - 1)])
    felt = np.flatnonzero(np.abs(delta) > 0.15 * np.abs(delta).max())
    answer.decisions.append(
        Decision(
            plates=frozenset(shelf.plates[index].name for index in felt),
            since_ns=int(weights.times_ns[step.first]),
            until_ns=int(weights.times_ns[step.last]),
            told_ns=end_ns,
            claims=claims,
        )
    )


def _shares(recording: Recording, number: int, delta: Floats) -> dict[str, float]:
    """Return, by product of the shelf, its facing's share of what left the plates."""
    lost = np.maximum(-delta, 0.0)
    total = float(lost.sum()) or 1.0
    plates = recording.layout.shelf_plates[number]
    shares: dict[str, float] = {}
    for index, plate in enumerate(plates):
        gtin = recording.layout.plates[plate].gtin
        if gtin is not None:
            shares[gtin] = shares.get(gtin, 0.0) + float(lost[index]) / total
    return shares


def _product(
    store: Store, options: dict[str, float], weight_g: float
) -> tuple[str, int, float] | None:
    """Return the product and count that fit best, and their part of all that fits."""
    scores: dict[tuple[str, int], float] = {}
    for gtin, share in options.items():
        unit_g = store.products[gtin].unit_g
        for quantity in range(1, BASELINE_UNITS_MAX + 1):
            sigma_g = SIGMA_G + WEIGHT_SIGMA * unit_g
            z = (weight_g - quantity * unit_g) / sigma_g
            scores[gtin, quantity] = share * exp(-0.5 * min(z * z, 80.0)) / sigma_g
    total = sum(scores.values())
    if total <= 0.0:
        return None
    (gtin, quantity), best = max(scores.items(), key=lambda one: one[1])
    return gtin, quantity, best / total


def nearest_shopper(views: list[View], peak_ns: int, place_mm: Point3) -> str | None:
    """Return whose wrist is nearest to a place, in the frame nearest to the peak with one near."""
    best: tuple[float, str | None] | None = None
    for view in sorted(views, key=lambda view: abs(view.at_ns - peak_ns)):
        for body in view.bodies:
            if len(body.wrists_mm):
                far_mm = float(np.linalg.norm(body.wrists_mm - np.array(place_mm), axis=1).min())
                if best is None or far_mm < best[0]:
                    best = (far_mm, body.shopper)
        if best is not None and best[0] < AT_PLATE_MM:
            break
    return best[1] if best is not None else None


def place_of(recording: Recording, plate: int) -> Point3:
    """Return where a hand works that takes something from a plate."""
    x, y, z = recording.layout.plates[plate].middle_mm
    return x, y, z + WRIST_ABOVE_MM
