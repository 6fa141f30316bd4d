# SPDX-License-Identifier: Apache-2.0
"""What lies on the plates, in true grams: units are moved, never made or lost.

A hand that takes or puts something leans on the plate a little before the weight itself changes,
and the weight changes over some tenths of a second.
"""

import math
import random
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.domain.store import Product
from gateway.simulator.layout import Layout

FloatArray = npt.NDArray[np.float64]

UNIT_SPREAD = 0.005
"""Standard deviation of units of one product, as a share of their weight."""
SHELF_FILL_G = 9_000.0
"""No facing is stocked with more than this, nor with more than ``UNITS_MAX``."""
UNITS_MAX = 14
TRUE_UNITS_MAX = 10_000
"""Of one act or line of a truth; more is a slip of the pen."""
UNITS_MIN = 5


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing for sale, with what it really weighs."""

    gtin: str
    weight_g: float


class TrueAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What really happened; times are on the clock of the world's origin.

    Attributes:
        shopper: Who did it.
        gtin: Product.
        quantity: Units moved.
        direction: ``pick`` or ``put-back``.
        plates: Names of the plates that felt it.
        start_ns: The hand touched the plate.
        end_ns: The weight had changed completely.
        misplaced: The product does not belong on these plates.
        lift_ns: The weight began to change; None where nobody noted it.
        hand: Whose hand did it, where it was not the shopper's own.
        undecidable: No observer with these sensors could tell who did it.
    """

    shopper: str
    gtin: str
    quantity: Annotated[int, msgspec.Meta(ge=1, le=TRUE_UNITS_MAX)]
    direction: Literal["pick", "put-back"]
    plates: tuple[str, ...]
    start_ns: int
    end_ns: int
    misplaced: bool = False
    lift_ns: int | None = None
    hand: str | None = None
    undecidable: bool = False


@dataclass(slots=True)
class Truth:
    """What an honest witness would know."""

    acts: list[TrueAct] = field(default_factory=list)
    baskets: dict[str, dict[str, int]] = field(default_factory=dict)
    """By shopper: units by GTIN; complete once the shopper left."""
    scans: dict[str, int] = field(default_factory=dict)
    """How often each held a token to the scanner: again when the door stayed shut."""
    entered_ns: dict[str, int] = field(default_factory=dict)
    left_ns: dict[str, int] = field(default_factory=dict)

    def note(self, act: TrueAct) -> None:
        """Write the next act down; it changes its shopper's basket. Staff has none."""
        self.acts.append(act)
        basket = self.baskets.get(act.shopper)
        if basket is None:
            return
        left = basket.get(act.gtin, 0) + (
            act.quantity if act.direction == "pick" else -act.quantity
        )
        assert left >= 0, "nobody puts back what is on nobody's bill"
        if left:
            basket[act.gtin] = left
        else:
            basket.pop(act.gtin, None)


@dataclass(frozen=True, slots=True)
class Placed:
    """A unit on the plates, with the share of its weight that each of them carries."""

    unit: Unit
    shares: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Handling:
    """A hand at work: leans, and lets the weight change smoothly."""

    start_s: float
    lift_s: float
    end_s: float
    lean_g: float
    changes_g: tuple[tuple[int, float], ...]

    def extra_g(self, now_s: float) -> list[tuple[int, float]]:
        """Return, by plate, what to add to the resting load at this time."""
        left = 1.0
        if now_s >= self.lift_s:
            u = (now_s - self.lift_s) / (self.end_s - self.lift_s)
            left = 1.0 - u * u * (3.0 - 2.0 * u)
        lean = 0.0
        if self.start_s <= now_s < self.end_s:
            lean = self.lean_g * math.sin(
                math.pi * (now_s - self.start_s) / (self.end_s - self.start_s)
            )
        lean /= len(self.changes_g)
        return [(plate, lean - change * left) for plate, change in self.changes_g]


class Stock:
    """All units on all plates."""

    def __init__(self, layout: Layout, rng: random.Random) -> None:
        self._layout = layout
        self._rng = rng
        self._products = layout.store.products
        self.true_unit_g = {
            gtin: product.unit_g * (1.0 + _cut(rng.gauss(0.0, 0.5)) * _error_share(product))
            for gtin, product in sorted(self._products.items())
        }
        self.resting_g: FloatArray = np.zeros(len(layout.plates))
        self._placed: dict[int, list[Placed]] = {}
        self._handlings: list[Handling] = []
        for number, place in enumerate(layout.plates):
            if place.gtin is not None and place.facing[0] == number:
                self._fill(number, place.gtin)

    def home(self, plate: int) -> int:
        """Return the plate that stands for its facing: the first one."""
        return self._layout.plates[plate].facing[0]

    def count(self, plate: int, gtin: str) -> int:
        """Return how many units of a product lie on a plate's facing."""
        return sum(placed.unit.gtin == gtin for placed in self._placed.get(self.home(plate), []))

    def units(self) -> dict[str, int]:
        """Return how many units of each product lie on the plates."""
        counts: dict[str, int] = {}
        for placed in self._placed.values():
            for one in placed:
                counts[one.unit.gtin] = counts.get(one.unit.gtin, 0) + 1
        return counts

    def take(
        self, plate: int, gtin: str, quantity: int, now_s: float
    ) -> tuple[list[Unit], Handling]:
        """Begin to take units; the caller holds them from now on."""
        home = self._placed[self.home(plate)]
        chosen = [one for one in reversed(home) if one.unit.gtin == gtin][:quantity]
        assert len(chosen) == quantity, "shoppers look before they take"
        for one in chosen:
            home.remove(one)
        changes: dict[int, float] = {}
        for one in chosen:
            for at, share in one.shares:
                changes[at] = changes.get(at, 0.0) - share * one.unit.weight_g
        return [one.unit for one in chosen], self._handle(changes, now_s)

    def put(self, plate: int, units: list[Unit], now_s: float) -> Handling:
        """Begin to put units on a plate."""
        home = self._placed.setdefault(self.home(plate), [])
        changes: dict[int, float] = {}
        for unit in units:
            place = self._layout.plates[plate]
            where = place.facing if place.gtin == unit.gtin else (plate,)
            shares = self._shares(where)
            home.append(Placed(unit, shares))
            for at, share in shares:
                changes[at] = changes.get(at, 0.0) + share * unit.weight_g
        return self._handle(changes, now_s)

    def load_g(self, now_s: float) -> FloatArray:
        """Return the ``(plates,)`` true load at this time, hands included."""
        self._handlings = [one for one in self._handlings if one.end_s > now_s]
        load = self.resting_g.copy()
        for handling in self._handlings:
            for plate, extra in handling.extra_g(now_s):
                load[plate] += extra
        return load

    def _handle(self, changes: dict[int, float], now_s: float) -> Handling:
        rng = self._rng
        for plate, change in changes.items():
            self.resting_g[plate] += change
        lift_s = now_s + rng.uniform(0.08, 0.2)
        handling = Handling(
            start_s=now_s,
            lift_s=lift_s,
            end_s=lift_s + rng.uniform(0.2, 0.4),
            lean_g=rng.uniform(15.0, 90.0) * rng.choice((1.0, 1.0, 1.0, -0.4)),
            changes_g=tuple(sorted(changes.items())),
        )
        self._handlings.append(handling)
        return handling

    def _fill(self, plate: int, gtin: str) -> None:
        weight = self.true_unit_g[gtin]
        count = int(max(UNITS_MIN, min(UNITS_MAX, SHELF_FILL_G / weight)))
        where = self._layout.plates[plate].facing
        self._placed[plate] = []
        for _ in range(count):
            unit = Unit(gtin, weight * (1.0 + self._rng.gauss(0.0, UNIT_SPREAD)))
            placed = Placed(unit, self._shares(where))
            self._placed[plate].append(placed)
            for at, share in placed.shares:
                self.resting_g[at] += share * unit.weight_g

    def _shares(self, plates: tuple[int, ...]) -> tuple[tuple[int, float], ...]:
        """Return how a unit that lies across plates spreads its weight over them."""
        if len(plates) == 1:
            return ((plates[0], 1.0),)
        parts = [self._rng.uniform(0.6, 1.4) for _ in plates]
        return tuple((plate, part / sum(parts)) for plate, part in zip(plates, parts, strict=True))


def _cut(value: float) -> float:
    return max(-1.0, min(1.0, value))


def _error_share(product: Product) -> float:
    """Return the greatest catalogue error: within the product's tolerance, at most 4 %."""
    return min(product.tolerance_g / product.unit_g, 0.04)
