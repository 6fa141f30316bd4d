# SPDX-License-Identifier: Apache-2.0
"""What a product's units weigh: the catalogue's word, and what picks that are certain have shown.

The catalogue is the prior, its tolerance one standard deviation of the true mean and a unit's own
spread together. Each certain pick is an observation of the mean. The picks alone are kept; they
meet the prior where a weight is asked for, so that another tolerance needs no new beginning.
"""

from collections.abc import Iterator, Mapping
from math import copysign, hypot, inf, isfinite, sqrt
from typing import Annotated, Final, Self

import msgspec

from gateway.domain.goods import Known
from gateway.domain.store import Product

COUNT_MAX: Final = 40
"""All picks together count like so many at most: another package is followed."""
UNIT_PART: Final = 0.4
"""Share of a tolerance that is spread from unit to unit; the rest is the catalogue's error."""
SPREAD_COUNT: Final = 6
"""Picks that the spread expected from the tolerance counts for."""
SPREAD_PART_MAX: Final = 0.1
SPREAD_MIN_G: Final = 0.1
TOLERANCE_MIN_G: Final = 0.7
PLATE_PART: Final = 0.003
"""What plates may get wrong of a weight, the same at each pick: more picks make it no smaller."""
SIGMA_PART_MIN: Final = 0.015
SIGMA_MIN_G: Final = 0.7
"""No weight is known better than this, unless the catalogue says so: what plates feel of a pick has
heavier tails than what is learned of a mean."""
TAIL: Final = 4.0
"""Degrees of freedom: the further a pick is from what is expected, the less it counts."""
ASTRAY: Final = 4.0
"""Standard deviations beyond which a pick is set aside."""
ASTRAY_MAX: Final = 3
"""So many of them in a row, all heavier or all lighter, are another package."""
OFF_PART_MAX: Final = 0.15
"""What differs more from the catalogue is another product: its weight is not used."""
TOLD_PICKS: Final = 8
TOLD_ERRORS: Final = 3.0
TOLD_PART: Final = 0.02
TOLD_G: Final = 3.0
BACK: Final = 0.5
"""Part of the least difference that is told, below which a product weighs again what it should."""

TRUST: Final = 0.85
TRUST_COUNT: Final = 6.0
"""How far products weigh from the catalogue, as a part of their tolerances, before any was picked;
it counts like so many products."""
TRUST_RANGE: Final = (0.4, 1.25)
FAR: Final = 3.0
"""Tolerances beyond which a product says no more of the others."""

PRECISION_MIN: Final = 1e-9
"""Below it nothing is known of a mean, whatever a row says."""

Positive = Annotated[float, msgspec.Meta(gt=0.0, lt=1e6)]


class Learned(msgspec.Struct, frozen=True):
    """What picks have shown of a product's weight; a row of kind ``learned``."""

    catalogue_g: Positive
    """The unit weight that it was learned under."""
    mean_g: Positive
    spread_g: Positive
    """Standard deviation from unit to unit."""
    precision: Annotated[float, msgspec.Meta(ge=0.0, lt=1e9)] = 0.0
    """Of the mean: one over its standard error squared."""
    picks: Annotated[int, msgspec.Meta(ge=0)] = 0
    astray: Annotated[int, msgspec.Meta(ge=-ASTRAY_MAX, le=ASTRAY_MAX)] = 0
    """How many of the latest picks were set aside; below 0 where they were too light."""
    told_g: float | None = None
    """The mean that was last told to differ; None: the catalogue holds, as far as was told."""

    @property
    def error_g(self) -> float:
        """Return the standard error of the mean; none before the first pick: infinite."""
        if self.precision < PRECISION_MIN:
            return inf
        return hypot(self.precision**-0.5, PLATE_PART * self.mean_g)


def begin(product: Product) -> Learned:
    """Return what is learned of a product before the first pick."""
    return Learned(product.unit_g, product.unit_g, _bounded_g(_unit_part_g(product), product))


def observe(
    known: Learned, product: Product, unit_g: float, sigma_g: float, quantity: int
) -> Learned:
    """Take in one certain pick.

    Args:
        known: What was learned before.
        product: Its product.
        unit_g: What one unit weighed, on average of the pick.
        sigma_g: How far the plates may be off in that.
        quantity: Units in the pick.
    """
    mean_g, error_g = _expected(product, known)
    variance_g2 = known.spread_g**2 / quantity + sigma_g**2
    away_g = unit_g - mean_g
    z = abs(away_g) / hypot(error_g, variance_g2**0.5)
    if z > ASTRAY:
        side = int(copysign(1, away_g))
        astray = known.astray + side if known.astray * side > 0 else side
        if abs(astray) < ASTRAY_MAX:
            return msgspec.structs.replace(known, astray=astray)
        known, z = msgspec.structs.replace(begin(product), told_g=known.told_g), 0.0
        variance_g2 = known.spread_g**2 / quantity + sigma_g**2
    most = (COUNT_MAX - 1) / variance_g2
    variance_g2 *= max((TAIL + z**2) / (TAIL + 1.0), 1.0)
    before = min(known.precision, most)
    precision = before + 1.0 / variance_g2
    spread_g = known.spread_g
    if before > 0.0:
        seen_g2 = quantity * ((unit_g - known.mean_g) ** 2 - sigma_g**2 - 1.0 / before)
        seen_g2 = min(max(seen_g2, 0.0), ASTRAY**2 * spread_g**2)
        share = 1.0 / (SPREAD_COUNT + min(known.picks, COUNT_MAX))
        spread_g = (spread_g**2 + share * (seen_g2 - spread_g**2)) ** 0.5
    return msgspec.structs.replace(
        known,
        mean_g=known.mean_g + (unit_g - known.mean_g) / (variance_g2 * precision),
        precision=precision,
        spread_g=_bounded_g(spread_g, product),
        picks=known.picks + 1,
        astray=0,
    )


class Trust(msgspec.Struct):
    """How far a store's products weigh from its catalogue, as a part of their tolerances.

    What was picked tells of the products that were not: tolerances are often round figures. It is
    the root of the mean square, less what the error of each mean adds; a sum, so that one pick is
    as much work in a large store as in a small one.
    """

    total: float = TRUST_COUNT * TRUST**2
    count: float = TRUST_COUNT

    @classmethod
    def of(cls, products: Mapping[str, Product], learned: Mapping[str, Learned]) -> Self:
        """Return what everything tells that was learned."""
        found = cls()
        for gtin, one in learned.items():
            if gtin in products:
                found.add(products[gtin], one)
        return found

    def add(self, product: Product, one: Learned, times: int = 1) -> None:
        """Count in what was learned of a product, or out again, with -1."""
        if not usable(product, one):
            return
        tolerance_g2 = (1.0 - UNIT_PART**2) * _tolerance_g(product) ** 2
        off_g2 = min((one.mean_g - product.unit_g) ** 2, FAR**2 * tolerance_g2)
        share = times * (tolerance_g2 / (tolerance_g2 + one.error_g**2)) ** 2
        self.total += share * (off_g2 - one.error_g**2) / tolerance_g2
        self.count += share

    @property
    def part(self) -> float:
        """Return the part of a tolerance that a product is thought to be off."""
        least, most = TRUST_RANGE
        return sqrt(min(max(self.total / self.count, least**2), most**2))


def weight(product: Product, learned: Learned | None, *, trusted: float) -> Known:
    """Return what a product weighs, as far as it is known.

    Args:
        product: The product.
        learned: What its picks have shown.
        trusted: How far the store's products weigh from the catalogue: :attr:`Trust.part`.
    """
    least_g = min(max(SIGMA_PART_MIN * product.unit_g, SIGMA_MIN_G), product.tolerance_g)
    if learned is None or not usable(product, learned):
        return Known(product.unit_g, max(trusted * product.tolerance_g, least_g))
    mean_g, error_g = _expected(product, learned, trusted)
    return Known(mean_g, max(hypot(error_g, learned.spread_g), least_g))


def usable(product: Product, learned: Learned) -> bool:
    """Return whether what was learned may stand for what the catalogue says."""
    if not isfinite(learned.error_g) or learned.catalogue_g != product.unit_g:
        return False
    off_g = _expected(product, learned)[0] - product.unit_g
    return abs(off_g) <= OFF_PART_MAX * product.unit_g


def drifted(learned: Learned) -> bool | None:
    """Return whether a product is to be told as off its catalogue, or as back; None: neither."""
    if learned.picks < TOLD_PICKS:
        return None
    off_g, told_g = learned.mean_g - learned.catalogue_g, learned.told_g
    least_g = max(TOLD_PART * learned.catalogue_g, TOLD_G)
    if told_g is not None and abs(off_g) < BACK * least_g:
        return False
    clear = abs(off_g) > max(least_g, TOLD_ERRORS * learned.error_g)
    news = told_g is None or abs(learned.mean_g - told_g) > least_g
    return True if clear and news else None


class Weights(Mapping[str, Known]):
    """What each product of a store weighs, worked out where it is asked for."""

    def __init__(
        self, products: Mapping[str, Product], learned: Mapping[str, Learned], trusted: float
    ) -> None:
        self._products = products
        self._learned = learned
        self._trusted = trusted
        self._found: dict[str, Known] = {}

    def __getitem__(self, gtin: str) -> Known:
        known = self._found.get(gtin)
        if known is None:
            product, learned = self._products[gtin], self._learned.get(gtin)
            known = self._found[gtin] = weight(product, learned, trusted=self._trusted)
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)


def _expected(product: Product, known: Learned, trusted: float = 1.0) -> tuple[float, float]:
    """Return the mean by the catalogue and the picks together, and its standard error."""
    tolerance_g = trusted * _tolerance_g(product)
    prior = 1.0 / ((1.0 - UNIT_PART**2) * tolerance_g**2)
    precision = prior + known.precision
    # Written as a step from the catalogue, so that no rounding leaves what both say.
    mean_g = product.unit_g + (known.mean_g - product.unit_g) * known.precision / precision
    return mean_g, hypot(precision**-0.5, PLATE_PART * product.unit_g)


def _tolerance_g(product: Product) -> float:
    return max(product.tolerance_g, TOLERANCE_MIN_G)


def _unit_part_g(product: Product) -> float:
    return UNIT_PART * _tolerance_g(product)


def _bounded_g(spread_g: float, product: Product) -> float:
    return max(min(spread_g, SPREAD_PART_MAX * product.unit_g), SPREAD_MIN_G)
