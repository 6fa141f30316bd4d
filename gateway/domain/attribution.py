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
from numpy.typing import NDArray

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
HAND_SIGMA_MM: Final = 90.0
"""How far from the plate's box a hand at work may be seen, beside the wrist's own error."""
PASSING_SIGMA_MM: Final = 150.0
"""The same shortly before and after."""
EDGE_NS: Final = 150_000_000
UNSEEN_NS: Final = 1_500_000_000
BEFORE_NS: Final = 800_000_000
AFTER_NS: Final = 600_000_000
FLOOR_REACH_MM: Final = 550.0
FLOOR_SIGMA_MM: Final = 200.0
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
        options = may_hold(stretch, shelved) if stretch.total_g < 0 else held
        best = max((guess.likelihood for guess in guesses(stretch, options)), default=0.0)
        # How the weight is shared among plates is not known: uniform.
        shares = (len(stretch.plates) - 1) * log(max(abs(stretch.total_g), 1.0))
        explained = log(best) if best > 0.0 else -1e9
        # What shifts within a stretch leaves its total; otherwise opposite changes are two riddles.
        deltas = [plate.delta_g for plate in stretch.plates]
        shifted = min(deltas) >= 0 or max(deltas) <= 0 or abs(stretch.total_g) <= tremble_g
        riddle = UNEXPLAINED if shifted else 2 * UNEXPLAINED
        return max(explained, riddle) - shares - ACT_COST

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


def presence(person: Person, places: Sequence[PlatePlace], since_ns: int, stable_ns: int) -> float:
    """Return the likelihood of where a person's wrists and feet were, had they done it.

    The hand that did it was at the plate while the weight changed. Where a wrist was hidden then,
    inside the shelf for example, it was near the plate shortly before or after.
    """
    floor = _standing(person, places, since_ns, stable_ns)
    if floor is None:
        return 0.0
    low_ns, high_ns = since_ns - BEFORE_NS, stable_ns + AFTER_NS
    wrists = np.array([wrist for wrist in person.wrists if low_ns <= wrist[0] <= high_ns])
    if len(wrists) < 2:
        return 0.1 * floor
    distances_mm = np.min([place.distances_mm(wrists[:, 1:4]) for place in places], axis=0)
    low_ns, high_ns = since_ns - EDGE_NS, stable_ns + EDGE_NS
    during = (wrists[:, 0] >= low_ns) & (wrists[:, 0] <= high_ns)
    frames = sum(low_ns <= place[0] <= high_ns for place in person.places)
    at_plate, visible = 0.0, 0.0
    if frames >= 2 and during.sum() >= 2:
        visible = min(float(during.sum()) / (2 * frames), 1.0)
        at_plate = _nearness(distances_mm[during], wrists[during, 4], frames // 2, HAND_SIGMA_MM)
    around = _nearness(distances_mm, wrists[:, 4], 3, PASSING_SIGMA_MM)
    # A hidden hand reaches only as far as its owner stands near.
    hidden = 0.7 * (1.0 - visible) * around * floor
    return 0.9 * max(at_plate, hidden) + 0.02 * floor


def _standing(
    person: Person, places: Sequence[PlatePlace], since_ns: int, stable_ns: int
) -> float | None:
    """Return the likelihood of where a person stood during an act; None: nobody saw them then."""
    low_ns, high_ns = since_ns - BEFORE_NS, stable_ns + AFTER_NS
    around = [place for place in person.places if low_ns <= place[0] <= high_ns]
    low_ns, high_ns = since_ns - EDGE_NS, stable_ns + EDGE_NS
    feet_mm = [place[1:] for place in around if low_ns <= place[0] <= high_ns]
    feet_mm = feet_mm or [place[1:] for place in around]
    if not feet_mm and since_ns - BEFORE_NS - UNSEEN_NS <= person.seen_ns <= high_ns:
        feet_mm = [person.floor_mm]
    if not feet_mm:
        return None
    away_mm = [
        float(np.median(np.hypot(*(np.array(feet_mm) - np.array(place.front_mm)).T)))
        for place in places
    ]
    return exp(-0.5 * (max(min(away_mm) - FLOOR_REACH_MM, 0.0) / FLOOR_SIGMA_MM) ** 2)


def _nearness(
    distances_mm: NDArray[np.float64], sigmas_mm: NDArray[np.float64], count: int, own_mm: float
) -> float:
    """Return the likelihood of the nearest ``count`` sightings of a wrist."""
    nearest = np.argsort(distances_mm)[: max(count, 1)]
    distance_mm = float(distances_mm[nearest].mean())
    sigma_mm = (own_mm**2 + float(sigmas_mm[nearest].mean()) ** 2) ** 0.5
    return exp(-0.5 * (distance_mm / sigma_mm) ** 2)


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
    taken = guesses(stretch, shelved) if stretch.total_g < 0 else []
    weights: dict[tuple[str | None, str, int], tuple[float, Guess]] = {}
    for session, likelihood in near.items():
        options = taken
        if stretch.total_g > 0:
            options = guesses(stretch, held.get(session, ()) if session else ())
        for guess in options:
            prior = MISPLACED_PRIOR if guess.misplaced and stretch.total_g > 0 else 1.0
            weight = likelihood * prior * guess.likelihood
            # The same act by units of two origins is one explanation: the likelier origin counts.
            key = (session, guess.gtin, guess.quantity)
            if key not in weights or weight > weights[key][0]:
                weights[key] = (weight, guess)
    nobody = NOBODY * max((guess.likelihood for _, guess in weights.values()), default=0.0)
    total = sum(weight for weight, _ in weights.values()) + nobody + floor
    ranked = sorted(weights.items(), key=lambda one: -one[1][0])[:CANDIDATES_MAX]
    direction: Literal["pick", "put-back"] = "pick" if stretch.total_g < 0 else "put-back"
    return [
        Explanation(session, guess, direction, weight / total)
        for (session, _, _), (weight, guess) in ranked
    ]
