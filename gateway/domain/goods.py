# SPDX-License-Identifier: Apache-2.0
"""What a move may have been: products by weight and place, units that somebody holds by theirs."""

from collections.abc import Callable, Mapping, Sequence
from math import exp, hypot, log, pi, sqrt
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.domain.layout import FacingPlace
from gateway.domain.readings import Move

GRIP_UNITS_MAX: Final = 4
"""Units of one grip that are thought of."""
FURTHER_UNIT: Final = -1.3
"""Logarithm of the prior of each further unit in one grip."""
TAIL: Final = 0.06
"""Share of units that weigh quite differently from what is known: catalogues have heavy tails."""
TAIL_WIDER: Final = 3.0
SHIFT_MM: Final = 30.0
"""Standard deviation of where goods stand beside their place."""
IN_FRONT: Final = 0.7
"""Logarithm of how much likelier that is taken which was put down last: it stands in front."""
LYING_MM: Final = 35.0
"""Standard deviation of where something misplaced is felt when it is taken, against when it was put
down."""
OUT_OF_PLACE: Final = -9.0
"""Logarithm of the likelihood that goods stand at a place where they do not belong."""
SAME_UNIT: Final = 0.018
SAME_UNIT_G: Final = 1.5
SAME_PLACE: Final = 0.004
"""Standard deviation of a unit's weight when it is put back, against when it was taken."""
SWAY: Final = 0.04
SWAY_G: Final = 2.0
"""How evenly a hand presses."""
UNKNOWN: Final = -4.0
"""Logarithm of the prior of a move of something that is not known at all."""
UNKNOWN_G: Final = 20.0
UNKNOWN_RANGE: Final = 4.0
"""Small ones are more frequent: spread evenly over the logarithm of their size."""
ROOT_2PI: Final = sqrt(2 * pi)

Far = TypeVar("Far", float, NDArray[np.float64])
Least = Callable[[Far, float], Far]


class Item(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One unit in a cart."""

    gtin: str
    unit_g: float
    """What this very unit weighed. 0: one that a person decided was put back, and nobody took."""

    @property
    def count(self) -> int:
        """Return what it adds to its line."""
        return 1 if self.unit_g > 0 else -1


class Lying(msgspec.Struct, frozen=True, array_like=True):
    """A unit that lies where it does not belong."""

    gtin: str
    unit_g: float
    shelf: str
    plate: str
    x_mm: float


class Load(msgspec.Struct, frozen=True, array_like=True):
    """What a hand, or something unknown, presses or lifts for the time being."""

    change: str
    shelf: str
    plates: tuple[int, ...]
    total_g: float
    """Below 0: it lifts."""
    sigma_g: float


class Known(NamedTuple):
    """What is known of a product's weight."""

    unit_g: float
    sigma_g: float


class Option(NamedTuple):
    """One thing that a move may have been."""

    loglik: float
    gtin: str
    quantity: int
    misplaced: bool = False
    lying: tuple[int, ...] = ()
    """Places in the list of what lies about, of those that were taken."""


def weight_loglik(total_g: float, sigma_g: float, expected_g: float, spread_g: float) -> float:
    """Return the log-likelihood of a weight: normal, with heavy tails."""
    sigma_g = hypot(sigma_g, spread_g)
    density = _heavy_tailed((total_g - expected_g) / sigma_g, exp, min)
    return log(density / (sigma_g * ROOT_2PI) + 1e-300)


def _heavy_tailed(far: Far, exponential: Callable[[Far], Far], least: Least[Far]) -> Far:
    """Return the density, times sigma and the root of 2 pi, of what lies so many sigma off.

    Args:
        far: One number, or an array of any shape; the other two work on the same.
        exponential: ``math.exp`` or ``np.exp``.
        least: ``min`` or ``np.minimum``.
    """
    near = _bell(far, exponential, least)
    wide = _bell(far / TAIL_WIDER, exponential, least) / TAIL_WIDER
    return (1.0 - TAIL) * near + TAIL * wide


def _bell(far: Far, exponential: Callable[[Far], Far], least: Least[Far]) -> Far:
    return exponential(-0.5 * least(far * far, 1_000.0))


def _normal(far_g: float, sigma_g: float) -> float:
    return _bell(far_g / sigma_g, exp, min) / (sigma_g * ROOT_2PI)


def place_loglik(move: Move, facing: FacingPlace) -> float:
    """Return how well the place of a move fits a facing: about 0 for one that stands there."""
    far_mm = max(facing.first_mm - move.x_mm, move.x_mm - facing.last_mm, 0.0)
    beyond = max(far_mm - move.slack_mm, 0.0) / SHIFT_MM
    return max(-0.5 * beyond**2, OUT_OF_PLACE)


def at_home(
    move: Move,
    facings: Sequence[FacingPlace],
    known: Mapping[str, Known],
    *,
    place: bool = True,
    most: int | None = None,
) -> list[Option]:
    """Return what a move may have been of what belongs on its shelf, most likely first.

    Args:
        move: What moved.
        facings: Of its shelf.
        known: What each product weighs.
        place: Whether the place counts.
        most: So many at most.
    """
    if not facings:
        return []
    fits = np.array([place_loglik(move, facing) if place else 0.0 for facing in facings])
    weights = np.array([known[facing.gtin] for facing in facings])
    quantity = np.arange(1, GRIP_UNITS_MAX + 1)
    expected_g, spread_g = weights[:, :1] * quantity, weights[:, 1:] * quantity
    sigma_g = np.hypot(move.sigma_g, spread_g)
    far = (abs(move.total_g) - expected_g) / sigma_g
    density = _heavy_tailed(far, np.exp, np.minimum) / (sigma_g * ROOT_2PI)
    logliks = np.log(density + 1e-300) + fits[:, None] + FURTHER_UNIT * (quantity - 1)
    best: dict[tuple[str, int], Option] = {}
    for index in np.argsort(-logliks, axis=None, kind="stable"):
        if len(best) == most:
            break
        row, column = divmod(int(index), GRIP_UNITS_MAX)
        gtin = facings[row].gtin
        misplaced = bool(fits[row] <= OUT_OF_PLACE)
        option = Option(float(logliks[row, column]), gtin, column + 1, misplaced)
        best.setdefault((gtin, column + 1), option)
    return list(best.values())


def misplaced_here(move: Move, shelf: str, lying: Sequence[Lying]) -> list[Option]:
    """Return what a move may have taken of what lies about on its shelf."""
    found = []
    for index, one in enumerate(lying):
        if one.shelf != shelf:
            continue
        beyond = max(abs(one.x_mm - move.x_mm) - move.slack_mm, 0.0) / LYING_MM
        loglik = IN_FRONT + max(-0.5 * beyond**2, OUT_OF_PLACE) + same_unit(move, one.unit_g)
        found.append(Option(loglik, one.gtin, 1, misplaced=True, lying=(index,)))
    return found


def same_unit(move: Move, weight_g: float) -> float:
    """Return the log-likelihood that very units came back, or left again."""
    total_g = abs(move.total_g)
    spread_g = hypot(SAME_UNIT * weight_g, SAME_UNIT_G)
    elsewhere = weight_loglik(total_g, move.sigma_g, weight_g, spread_g)
    # At its own place the same plates weigh it: what they add and what they miss is the same.
    sigma_g = hypot(move.plain_g, SAME_PLACE * weight_g)
    return log(0.5 * _normal(total_g - weight_g, sigma_g) + 0.5 * exp(elsewhere) + 1e-300)


def released(move: Move, load: Load) -> float:
    """Return the log-likelihood that a load goes as it came: hands do not press evenly."""
    spread_g = hypot(load.sigma_g, SWAY * load.total_g, SWAY_G)
    return weight_loglik(move.total_g, move.sigma_g, -load.total_g, spread_g)


def unknown(move: Move) -> float:
    """Return the log-likelihood of a move of something that is not known at all."""
    return UNKNOWN - log(UNKNOWN_RANGE * (abs(move.total_g) + UNKNOWN_G))
