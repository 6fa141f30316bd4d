# SPDX-License-Identifier: Apache-2.0
"""Whose hand it was: how well everybody's wrists and feet fit an act at a place and in a time.

A wrist seen at the place counts for its owner, both seen elsewhere against, hidden ones not at all.
The evidence of one act is averaged over the time that is asked about and bounded, since errors of
neighbouring frames are alike. Feet out of reach count against whoever stood there, whatever the
wrists say.
"""

from collections.abc import Iterable
from math import exp, hypot, log
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.domain.layout import ShelfPlaces
from gateway.domain.middle import median
from gateway.domain.people import Person

Floats = NDArray[np.float64]

WIDEN_NS: Final = 80_000_000
"""A hand is at the plate a little longer than the weight changes."""
FLANK_NS: Final = 700_000_000
"""A hidden hand was on its way this long before and after."""
UNSEEN_NS: Final = 1_500_000_000
"""Whoever was seen this long before may have stood there still."""
WRIST_SIGMA_MM: Final = 35.0
"""How far from its place a wrist may be, beside the camera's own error."""
FEET_REACH_MM: Final = 600.0
"""From where feet stand to what the hand reaches, on the floor plan."""
FEET_SIGMA_MM: Final = 120.0
AT_PLACE: Final = 2.0
"""Logarithm that a frame with a wrist at the place counts; elsewhere it counts as much against."""
DURING: Final = 3.0
FLANK: Final = 1.8
"""Weights of the time while the weight changes, and of the way there and back."""
NOBODY: Final = -8.0
"""Logarithm of the evidence for somebody whom no camera saw."""
DAMPING: Final = 0.85
"""Errors that last longer than an act make all evidence a little less worth."""
DOUBT: Final = 0.0015
"""Probability that hands say nothing at all of who it was."""


class Place(NamedTuple):
    """Where an act happened: a stretch of one shelf's front, in mm from its start."""

    shelf: str
    low_mm: float
    high_mm: float


class Hands(NamedTuple):
    """Evidence of one person for one act, as a logarithm against not having been there."""

    person: str
    score: float


def evidence(
    person: Person,
    shelf: ShelfPlaces,
    place: Place,
    since_ns: int,
    until_ns: int,
    *,
    wrists: bool = True,
) -> Hands | None:
    """Return how well one person fits an act; None: they were nowhere to be seen.

    Args:
        person: Who.
        shelf: Where the place is.
        place: Where the hand was.
        since_ns: The hand was there from then on
        until_ns: until then.
        wrists: Whether wrists count.
    """
    low_ns, high_ns = since_ns - FLANK_NS, until_ns + FLANK_NS
    feet = _feet(person, shelf, place, low_ns, high_ns)
    if feet is None:
        return None
    seen = np.array(person.wrists_within(low_ns, high_ns))
    if not len(seen) or not wrists:
        return Hands(person.id, feet)
    far_mm = shelf.hand_mm(seen[:, 1:4], place.low_mm, place.high_mm)
    sigma_mm = np.hypot(WRIST_SIGMA_MM, seen[:, 4])
    fits = np.clip(AT_PLACE - 0.5 * (far_mm / sigma_mm) ** 2, -AT_PLACE, AT_PLACE)
    frames, first, counts = np.unique(seen[:, 0], return_index=True, return_counts=True)
    best = np.maximum.reduceat(fits, first)
    core = (frames >= since_ns - WIDEN_NS) & (frames <= until_ns + WIDEN_NS)
    # Only where both hands are seen elsewhere is it clear that neither was there.
    says = np.where((best < 0.0) & (counts < 2), 0.0, best)
    during = float(says[core].mean()) if core.any() else 0.0
    around = float(best[~core].max()) if (~core).any() else 0.0
    score = DURING * during + FLANK * max(around, 0.0) + feet
    return Hands(person.id, score)


def _feet(
    person: Person, shelf: ShelfPlaces, place: Place, low_ns: int, high_ns: int
) -> float | None:
    """Return how well where somebody stood fits a place: 0 in reach, below it beyond."""
    feet_mm = [one[1:] for one in person.places_within(low_ns, high_ns)]
    if not feet_mm and low_ns - UNSEEN_NS <= person.seen_ns <= high_ns:
        feet_mm = [person.floor_mm]
    if not feet_mm:
        return None
    x_mm, y_mm = shelf.front_point((place.low_mm + place.high_mm) / 2)
    far_mm = float(median([hypot(x - x_mm, y - y_mm) for x, y in feet_mm]))
    beyond = max(far_mm - FEET_REACH_MM, 0.0) / FEET_SIGMA_MM
    return -min(beyond**2, 16.0)


def shares(
    scores: Iterable[tuple[str | None, float]], *, nobody: float = NOBODY, alone: bool = True
) -> dict[str | None, float]:
    """Return the logarithm of the probability of each session to have done an act.

    Args:
        scores: Session and evidence of each person; a session of several counts by its best.
        nobody: Evidence for somebody without a session whom no camera saw.
        alone: One of them did it. Otherwise two did: each by itself is as likely as it fits.
    """
    best: dict[str | None, float] = {None: nobody}
    for session, score in scores:
        best[session] = max(score, best.get(session, score))
    most = max(best.values())
    weights = {session: exp(DAMPING * (score - most)) for session, score in best.items()}
    total = sum(weights.values()) if alone else 1.0
    known = max(len(weights) - 1, 1)
    return {
        session: log((1.0 - DOUBT) * one / total + (DOUBT / known if session else 1e-9))
        for session, one in weights.items()
    }
