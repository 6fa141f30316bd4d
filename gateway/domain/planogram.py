# SPDX-License-Identifier: Apache-2.0
"""Which neighbours in a planogram weigh so much alike that a weight cannot tell them apart."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from math import hypot
from typing import Final

from gateway.domain.events import Alike, Units
from gateway.domain.store import Product, Shelf, Store

SPREADS: Final = 1.8
"""Two weights are alike within so many standard deviations of their difference. At 1.8, whoever
calls the nearer of two equally spread products is wrong one time in ten: below a probability of 0.9
the engine asks a person."""
NOISE_G: Final = 3.0
"""A smaller difference is lost in the noise of plates, whatever the tolerances say."""
QUANTITIES: Final = ((1, 1), (1, 2), (2, 1))
"""Units of one and the other. Two and two are alike where one and one are."""
TOLD_MAX: Final = 100
"""How many pairs are told one by one."""
COMPARED_MAX: Final = 50_000
"""How many neighbours are compared, the store's first ones: a store of 306 plates has some 300. So
many take a quarter of a second on a PC."""


def alike(store: Store) -> list[Alike]:
    """Return the pairs of products that weigh alike, each once a shelf, in the store's order.

    Neighbours are products that share a plate, or lie on adjacent plates of one shelf. Of a pair
    that is alike in several quantities, those that are told apart least are named.
    """
    at: dict[str, list[Product]] = {}
    for facing in store.facings:
        for plate in facing.plates:
            at.setdefault(plate, []).append(store.products[facing.gtin])
    met: dict[tuple[str, str, str], dict[str, None]] = {}
    neighbours = (found for shelf in store.shelves for found in _neighbours(shelf, at))
    for shelf_name, one, other, plates in islice(neighbours, COMPARED_MAX):
        heavy, light = (one, other) if _rank(one) < _rank(other) else (other, one)
        met.setdefault((shelf_name, heavy.gtin, light.gtin), {}).update(dict.fromkeys(plates))
    pairs = (
        _pair(store.products[heavy], store.products[light], list(plates))
        for (_, heavy, light), plates in met.items()
    )
    return [pair for pair in pairs if pair is not None]


def _rank(one: Product) -> tuple[float, str]:
    return -one.unit_g, one.gtin


def _neighbours(
    shelf: Shelf, at: Mapping[str, Sequence[Product]]
) -> Iterator[tuple[str, Product, Product, tuple[str, ...]]]:
    """Yield the shelf, two of its products and the plates at which they meet, plate by plate."""
    names = [plate.name for plate in shelf.plates]
    for index, name in enumerate(names):
        for one, other in combinations(at.get(name, ()), 2):
            if one.gtin != other.gtin:
                yield shelf.name, one, other, (name,)
        for beside in names[index + 1 : index + 2]:
            for one, other in product(at.get(name, ()), at.get(beside, ())):
                if one.gtin != other.gtin:
                    yield shelf.name, one, other, (name, beside)


def _pair(one: Product, other: Product, plates: list[str]) -> Alike | None:
    """Return in which quantities two products weigh alike; None: in none."""
    best: tuple[float, Alike] | None = None
    for of_one, of_other in QUANTITIES:
        difference_g = abs(of_one * one.unit_g - of_other * other.unit_g)
        spread_g = hypot(of_one * one.tolerance_g, of_other * other.tolerance_g)
        limit_g = max(NOISE_G, SPREADS * spread_g)
        if difference_g <= limit_g and (best is None or difference_g / limit_g < best[0]):
            pair = Alike(
                _units(one, of_one), _units(other, of_other), plates, difference_g > NOISE_G
            )
            best = (difference_g / limit_g, pair)
    return None if best is None else best[1]


def _units(one: Product, quantity: int) -> Units:
    return Units(one.gtin, quantity, round(quantity * one.unit_g, 3))
