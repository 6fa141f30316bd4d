# SPDX-License-Identifier: Apache-2.0
"""Who took what: explanations of a change by product, count and session, with probabilities.

A change is cut into stretches of plates that one act each explains best by weight; for each
stretch, sessions are weighed by where their wrists and feet were while the plates moved.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from math import exp, log, pi
from typing import Final, Literal, NamedTuple

import numpy as np

from gateway.domain.layout import PlatePlace
from gateway.domain.people import Person
from gateway.domain.store import Product
from gateway.domain.weighing import PlateChange

QUANTITY_MAX: Final = 6
QUANTITY_PRIOR: Final = 0.6
"""Each further unit in one act is this much less likely."""
MISPLACED_PRIOR: Final = 0.15
"""A put-back where the product does not belong, against one where it does."""
PLATES_MAX: Final = 6
"""A change over more plates than this is no single act of shopping."""
ACT_COST: Final = 3.0
"""Log-likelihood that each further act in one change costs."""
UNEXPLAINED: Final = -14.0
"""Log-likelihood of a stretch of plates that no product explains."""
CROSS_TALK: Final = 0.08
"""Up to this part of the largest change may appear on a neighbour."""
TREMBLE_G: Final = 6.0
WRIST_SIGMA_MM: Final = 180.0
BEFORE_NS: Final = 800_000_000
AFTER_NS: Final = 600_000_000
FLOOR_REACH_MM: Final = 500.0
FLOOR_SIGMA_MM: Final = 400.0
NOBODY: Final = 0.003
"""Likelihood of the evidence of persons if none of those seen did it."""
CANDIDATES_MAX: Final = 5


class Guess(NamedTuple):
    """One product and count that a stretch of plates may have lost or gained."""

    gtin: str
    quantity: int
    misplaced: bool
    likelihood: float


class Stretch(NamedTuple):
    """Neighbouring plates whose changes one act explains."""

    plates: list[PlateChange]
    total_g: float
    sigma_g: float

    @property
    def main(self) -> PlateChange:
        """Return the plate that changed most."""
        return max(self.plates, key=lambda plate: abs(plate.delta_g))


class Shelved(NamedTuple):
    """What may lie on a plate."""

    product: Product
    count_max: int
    misplaced: bool


class Explanation(NamedTuple):
    """One joint hypothesis about a stretch: who, what, how many."""

    session: str | None
    guess: Guess
    direction: Literal["pick", "put-back"]
    probability: float


def whole(plates: Sequence[PlateChange]) -> Stretch:
    """Return plates taken together."""
    return Stretch(
        plates=list(plates),
        total_g=sum(plate.delta_g for plate in plates),
        sigma_g=sum(plate.sigma_g**2 for plate in plates) ** 0.5,
    )


def may_hold(stretch: Stretch, shelved: Mapping[int, Sequence[Shelved]]) -> list[Shelved]:
    """Return what may have been taken from a stretch: each product once, however many plates."""
    unique = {
        (one.product.gtin, one.misplaced): one
        for plate in stretch.plates
        for one in shelved[plate.plate]
    }
    return list(unique.values())


def guesses(stretch: Stretch, shelved: Iterable[Shelved]) -> list[Guess]:
    """Return what may explain a stretch's weight, each with its likelihood density.

    The weight of ``q`` units is normal around ``q * unit_g``; the catalogue's error is common to
    all units of a product, so its deviation grows with ``q``.
    """
    found: list[Guess] = []
    for product, count_max, misplaced in shelved:
        for quantity in range(1, min(count_max, QUANTITY_MAX) + 1):
            sigma_g = (stretch.sigma_g**2 + (quantity * product.tolerance_g) ** 2) ** 0.5
            z = (abs(stretch.total_g) - quantity * product.unit_g) / sigma_g
            density = exp(-0.5 * min(z * z, 200.0)) / (sigma_g * (2 * pi) ** 0.5)
            prior = QUANTITY_PRIOR ** (quantity - 1)
            found.append(Guess(product.gtin, quantity, misplaced, prior * density))
    return found


def divide(
    changes: Sequence[PlateChange], shelved: Mapping[int, Sequence[Shelved]], held: list[Shelved]
) -> list[Stretch]:
    """Cut a change over neighbouring plates into the stretches that explain it best.

    Args:
        changes: Neighbouring plates in order.
        shelved: What may lie on each plate, by index.
        held: What all carts hold: it may have been put back anywhere.
    """
    largest_g = max(abs(change.delta_g) for change in changes)
    tremble_g = max(TREMBLE_G, CROSS_TALK * largest_g)
    if len(changes) == 1 or len(changes) > PLATES_MAX:
        return [whole(changes)]

    def score(stretch: Stretch) -> float:
        if len(stretch.plates) == 1 and abs(stretch.total_g) <= tremble_g < largest_g:
            return -1.0
        if stretch.total_g < 0:
            options = may_hold(stretch, shelved)
        else:
            options = held
        best = max((guess.likelihood for guess in guesses(stretch, options)), default=0.0)
        # How the weight is shared among plates is not known: uniform.
        shares = (len(stretch.plates) - 1) * log(max(abs(stretch.total_g), 1.0))
        explained = log(best) if best > 0.0 else -1e9
        return max(explained, UNEXPLAINED) - shares - ACT_COST

    best_cut: tuple[float, list[Stretch]] | None = None
    for count in range(len(changes)):
        for cuts in combinations(range(1, len(changes)), count):
            bounds = [0, *cuts, len(changes)]
            stretches = [whole(changes[low:high]) for low, high in pairwise(bounds)]
            total = sum(score(stretch) for stretch in stretches)
            if best_cut is None or total > best_cut[0]:
                best_cut = (total, stretches)
    assert best_cut is not None
    return [
        stretch
        for stretch in best_cut[1]
        if len(stretch.plates) > 1 or not abs(stretch.total_g) <= tremble_g < largest_g
    ]


def presence(person: Person, place: PlatePlace, since_ns: int, stable_ns: int) -> float:
    """Return the likelihood of where a person's wrists and feet were, had they done it."""
    low_ns, high_ns = since_ns - BEFORE_NS, stable_ns + AFTER_NS
    feet = [(x, y) for ns, x, y in person.places if low_ns <= ns <= high_ns]
    if not feet and low_ns <= person.seen_ns + 1_500_000_000 and person.seen_ns <= high_ns:
        feet = [person.floor_mm]
    if not feet:
        return 0.0
    near_mm = float(np.min(np.hypot(*(np.array(feet) - np.array(place.front_mm)).T)))
    floor = exp(-0.5 * (max(near_mm - FLOOR_REACH_MM, 0.0) / FLOOR_SIGMA_MM) ** 2)
    wrists = np.array([w[1:] for w in person.wrists if low_ns <= w[0] <= high_ns])
    if len(wrists) < 2:
        return 0.1 * floor
    distances_mm = place.distances_mm(wrists[:, :3])
    nearest = np.argsort(distances_mm)[:3]
    distance_mm = float(distances_mm[nearest].mean())
    sigma_mm = (WRIST_SIGMA_MM**2 + float(wrists[nearest, 3].mean()) ** 2) ** 0.5
    return 0.9 * exp(-0.5 * (distance_mm / sigma_mm) ** 2) + 0.02 * floor


def explain(
    stretch: Stretch,
    near: Mapping[str | None, float],
    shelved: Sequence[Shelved],
    held: Mapping[str, Sequence[Shelved]],
) -> list[Explanation]:
    """Return the explanations of a stretch, most probable first; probabilities sum to at most 1.

    What is missing to 1 is the probability that nobody seen or no known product explains it.

    Args:
        stretch: What the plates felt.
        near: Likelihood of each session having been at the plate; None is somebody without one.
        shelved: What may be taken from the plates.
        held: What each session's cart may put back here.
    """
    floor = exp(UNEXPLAINED)
    weighted: list[tuple[float, str | None, Guess]] = []
    if stretch.total_g < 0:
        options = guesses(stretch, shelved)
        weighted = [
            (likelihood * guess.likelihood, session, guess)
            for session, likelihood in near.items()
            for guess in options
        ]
    else:
        for session, likelihood in near.items():
            for guess in guesses(stretch, held.get(session, ()) if session else ()):
                prior = MISPLACED_PRIOR if guess.misplaced else 1.0
                weighted.append((likelihood * prior * guess.likelihood, session, guess))
    nobody = NOBODY * max((one[2].likelihood for one in weighted), default=0.0)
    total = sum(one[0] for one in weighted) + nobody + floor
    ranked = sorted(weighted, key=lambda one: -one[0])[:CANDIDATES_MAX]
    direction: Literal["pick", "put-back"] = "pick" if stretch.total_g < 0 else "put-back"
    return [
        Explanation(session, guess, direction, weight / total) for weight, session, guess in ranked
    ]
