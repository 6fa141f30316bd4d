# SPDX-License-Identifier: Apache-2.0
"""A small store for one case: at most 36 plates, every one of them stocked.

Units stand at a place along their shelf and have a width, so that a bag leans on three plates and a
facing that has shifted leaves two products on one plate. Products come in awkward company: a
neighbour of nearly the same weight, a bottle beside one of half its weight.
"""

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np

from gateway.domain.gtin import check_digit
from gateway.domain.store import (
    Calibration,
    Camera,
    Facing,
    FloorPoint,
    Plate,
    Product,
    Scanner,
    Shelf,
    Store,
    Zone,
)
from gateway.simulator.exam.conditions import Goods
from gateway.simulator.layout import Layout, Point2, Point3

PLATES_PER_SHELF: Final = 9
DEPTH_MM: Final = 400.0
LEVELS_MM: Final = (750.0, 1_200.0)
DOOR: Final = "front"
SCANNER: Final = "entry"
CAMERA_HEIGHT_MM: Final = 3_200.0
TWO_PLATES: Final = 0.12
"""Share of facings on two plates."""
SAME_WEIGHT: Final = 0.2
HALF_WEIGHT: Final = 0.1
"""Shares of products that weigh about what their neighbour does, or half or twice as much."""
WIDTH_MM: Final = (55.0, 95.0)
BAG_MM: Final = (230.0, 320.0)
SCARCE: Final = 0.4
"""Share of products of which hardly any are left, where a store runs low."""
BAGS: Final = 2
"""Products so wide that they lean on the plates beside their own."""

Shares = tuple[tuple[int, float], ...]


@dataclass(slots=True, eq=False)
class Unit:
    """One thing for sale: what it weighs, and where it stands from when to when.

    Attributes:
        gtin: Its product.
        weight_g: Truly; wherever it lies.
        shelf: Number of its shelf.
        at_mm: Its middle, along the shelf's front from its start.
        shares: Which plates carry how much of it.
        since_s: It stands there from then on.
        gone_s: Until then.
    """

    gtin: str
    weight_g: float
    shelf: int
    at_mm: float
    shares: Shares
    since_s: float = -math.inf
    gone_s: float = math.inf

    def there(self, at_s: float) -> bool:
        """Return whether it stands there at a time, and nobody is going to take it later."""
        return self.since_s <= at_s and self.gone_s == math.inf


class TrueProduct(NamedTuple):
    """What a product is like, whatever the catalogue says of it."""

    weight_g: float
    """True mean of its units."""
    width_mm: float


class Spot(NamedTuple):
    """A place along a shelf's front."""

    shelf: int
    at_mm: float


@dataclass(slots=True)
class Room:
    """The store, its geometry and all units."""

    store: Store
    layout: Layout
    true_products: dict[str, TrueProduct]
    goods: Goods
    plate_mm: float
    units: list[Unit] = field(default_factory=list)

    def shares(self, spot: Spot, width_mm: float, rng: np.random.Generator) -> Shares:
        """Return how a thing of some width spreads its weight over the plates under it."""
        plates = self.layout.shelf_plates[spot.shelf]
        low, high = spot.at_mm - width_mm / 2, spot.at_mm + width_mm / 2
        parts: list[tuple[int, float]] = []
        for index, plate in enumerate(plates):
            left, right = index * self.plate_mm, (index + 1) * self.plate_mm
            # What stands out beyond the ends rests on the last plates.
            left = -math.inf if index == 0 else left
            right = math.inf if index == len(plates) - 1 else right
            covered = min(high, right) - max(low, left)
            if covered > 0.08 * width_mm:
                parts.append((plate, covered * float(rng.uniform(0.7, 1.3))))
        total = sum(part for _, part in parts)
        return tuple((plate, part / total) for plate, part in parts)

    def run_low(self, rng: np.random.Generator) -> None:
        """Leave one or two units on some facings; let plates weigh nothing when they are empty."""
        for gtin in self.true_products:
            if rng.random() < SCARCE:
                units = [unit for unit in self.units if unit.gtin == gtin]
                for unit in units[int(rng.integers(1, 3)) :]:
                    self.units.remove(unit)
        zeroed = Calibration(id="zeroed", zero_raw=0.0, counts_per_g=1.0)
        shelves = tuple(
            msgspec.structs.replace(
                shelf,
                plates=tuple(
                    msgspec.structs.replace(plate, calibration=zeroed) for plate in shelf.plates
                ),
            )
            for shelf in self.store.shelves
        )
        self.store = msgspec.structs.replace(self.store, shelves=shelves)
        self.layout = Layout(self.store)

    @property
    def zeroed(self) -> bool:
        """Return whether empty plates weigh about nothing."""
        return self.store.shelves[0].plates[0].calibration is not None

    def plate_of(self, spot: Spot) -> int:
        """Return the number of the plate at a spot."""
        plates = self.layout.shelf_plates[spot.shelf]
        return plates[min(max(int(spot.at_mm // self.plate_mm), 0), len(plates) - 1)]

    def home(self, gtin: str) -> Spot:
        """Return the middle of a product's facing."""
        places = self.layout.plates
        numbers = [number for number, place in enumerate(places) if place.gtin == gtin]
        shelf = places[numbers[0]].shelf
        first = self.layout.shelf_plates[shelf].start
        middle = sum(number - first + 0.5 for number in numbers) / len(numbers)
        return Spot(shelf, middle * self.plate_mm)

    def gtin_at(self, spot: Spot) -> str:
        """Return the product whose place a spot is."""
        gtin = self.layout.plates[self.plate_of(spot)].gtin
        assert gtin is not None, "every plate has a facing"
        return gtin

    def point(self, spot: Spot, *, inward_mm: float, above_mm: float) -> Point3:
        """Return a point in the store: so far behind a spot of the front edge and above it."""
        place = self.layout.plates[self.layout.shelf_plates[spot.shelf].start]
        shelf = self.store.shelves[spot.shelf]
        x0, y0 = shelf.front_mm[:2]
        along = (place.inward[1], -place.inward[0])
        return (
            x0 + along[0] * spot.at_mm + place.inward[0] * inward_mm,
            y0 + along[1] * spot.at_mm + place.inward[1] * inward_mm,
            shelf.z_mm + above_mm,
        )

    def gondola_plates(self, shelf: int) -> list[int]:
        """Return the plates of a shelf's whole gondola."""
        name = self.store.shelves[shelf].gondola
        return [
            plate
            for number, one in enumerate(self.store.shelves)
            if one.gondola == name
            for plate in self.layout.shelf_plates[number]
        ]

    def standing(self, gtin: str, at_s: float, shelf: int | None = None) -> list[Unit]:
        """Return the units of a product that can be taken at a time, the ones in front first."""
        return [
            unit
            for unit in reversed(self.units)
            if unit.gtin == gtin and unit.there(at_s) and shelf in {None, unit.shelf}
        ]


def build(rng: np.random.Generator, goods: Goods) -> Room:
    """Return a store, drawn and stocked."""
    plate_mm = float(rng.integers(12, 16)) * 10.0
    shelves = _shelves(rng, plate_mm)
    planogram = _Planogram(rng)
    bags = rng.choice(len(shelves), BAGS, replace=False)
    for number, shelf in enumerate(shelves):
        planogram.fill(shelf, bag=number in bags)
    for gtin, product in planogram.products.items():
        error = float(rng.normal(0.0, goods.catalogue))
        error = min(max(error, -goods.catalogue_max), goods.catalogue_max)
        true = planogram.true_products[gtin]
        planogram.true_products[gtin] = true._replace(weight_g=product.unit_g * (1.0 + error))
    store = _store(rng, shelves, planogram)
    room = Room(store, Layout(store), planogram.true_products, goods, plate_mm)
    for facing in planogram.facings:
        _stock(rng, room, facing)
    return room


def _shelves(rng: np.random.Generator, plate_mm: float) -> list[Shelf]:
    """Return two gondolas of two shelves: face to face, side by side, or across and apart."""
    wide = PLATES_PER_SHELF * plate_mm
    half = float(rng.uniform(850.0, 1_100.0))
    first = (-wide / 2, half, wide / 2, half)
    fronts = {
        0: (first, (wide / 2, -half, -wide / 2, -half)),
        1: ((-wide, half, 0.0, half), (0.0, half, wide, half)),
        2: ((-wide, half, 0.0, half), (wide, -half, 0.0, -half)),
    }[int(rng.integers(3))]
    shelves = []
    for gondola, front in enumerate(fronts, start=1):
        for level, z_mm in enumerate(LEVELS_MM, start=1):
            name = f"g{gondola}.s{level}"
            plates = tuple(
                Plate(name=f"{name}.p{place + 1}", offset_mm=place * plate_mm, width_mm=plate_mm)
                for place in range(PLATES_PER_SHELF)
            )
            shelves.append(
                Shelf(
                    name=name,
                    gondola=f"g{gondola}",
                    front_mm=front,
                    z_mm=z_mm,
                    depth_mm=DEPTH_MM,
                    plates=plates,
                )
            )
    return shelves


class _Planogram:
    """Gives every plate a product; neighbours are often hard to tell apart by weight."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.products: dict[str, Product] = {}
        self.facings: list[Facing] = []
        self.true_products: dict[str, TrueProduct] = {}

    def fill(self, shelf: Shelf, *, bag: bool) -> None:
        """Fill a shelf, with a bag in its middle if there is one."""
        rng = self._rng
        names = [plate.name for plate in shelf.plates]
        middle = len(names) // 2
        before_g: float | None = None
        while names:
            wide = 2 if len(names) > 1 and rng.random() < TWO_PLATES else 1
            is_bag = bag and len(shelf.plates) - len(names) >= middle
            unit_g = self._bag_g() if is_bag else self._unit_g(before_g)
            width_mm = float(rng.uniform(*(BAG_MM if is_bag else WIDTH_MM)))
            bag = bag and not is_bag
            product = _product(len(self.products), unit_g, bag=is_bag)
            self.products[product.gtin] = product
            self.true_products[product.gtin] = TrueProduct(0.0, width_mm)
            self.facings.append(Facing(gtin=product.gtin, plates=tuple(names[:wide])))
            del names[:wide]
            before_g = product.unit_g

    def _bag_g(self) -> float:
        return float(round(self._rng.uniform(90.0, 220.0)))

    def _unit_g(self, before_g: float | None) -> float:
        """Return a product's weight, given its neighbour's."""
        chance = self._rng.random()
        if before_g is not None and chance < SAME_WEIGHT:
            return float(round(before_g * self._rng.uniform(0.97, 1.03)))
        if before_g is not None and chance < SAME_WEIGHT + HALF_WEIGHT:
            ratio = 2.0 if before_g < 550.0 else 0.5
            return float(round(before_g * ratio * self._rng.uniform(0.98, 1.02)))
        return float(round(math.exp(self._rng.uniform(math.log(45.0), math.log(1_100.0)))))


def _product(number: int, unit_g: float, *, bag: bool) -> Product:
    body = f"0952139{number:06d}"
    return Product(
        gtin=body + check_digit(body),
        name=f"{'Bag' if bag else 'Product'} {number + 1}",
        unit_g=unit_g,
        tolerance_g=max(2.0, round(0.03 * unit_g, 1)),
    )


def _store(rng: np.random.Generator, shelves: list[Shelf], planogram: _Planogram) -> Store:
    xs = [x for shelf in shelves for x in (shelf.front_mm[0], shelf.front_mm[2])]
    low, high = min(xs), max(xs)
    return Store(
        name="exam",
        products=planogram.products,
        shelves=tuple(shelves),
        facings=tuple(planogram.facings),
        zones=(
            Zone(name="in", kind="entry", x_mm=(low - 2_300, low - 400), y_mm=(-700.0, 700.0)),
            Zone(name="out", kind="exit", x_mm=(high + 400, high + 2_300), y_mm=(-700.0, 700.0)),
        ),
        scanners=(Scanner(name=SCANNER, zone="in", door=DOOR),),
        doors=(DOOR,),
        cameras=_cameras(low, high, 2 if rng.random() < 0.35 else 1),
    )


def _cameras(low: float, high: float, count: int) -> tuple[Camera, ...]:
    """Return cameras that see the floor from door to door; two of them overlap in the middle."""
    left, right = low - 1_600.0, high + 1_600.0
    views = [(left, right)] if count == 1 else [(left, 500.0), (-500.0, right)]
    cameras = []
    for number, (x0, x1) in enumerate(views, start=1):
        pixels = ((20.0, 364.0), (492.0, 364.0), (492.0, 20.0), (20.0, 20.0))
        corners = ((x0, -900.0), (x1, -900.0), (x1, 900.0), (x0, 900.0))
        points = tuple(FloorPoint(px=px, mm=mm) for px, mm in zip(pixels, corners, strict=True))
        place: Point3 = ((x0 + x1) / 2, 0.0, CAMERA_HEIGHT_MM)
        cameras.append(
            Camera(name=f"cam{number}", size_px=(512, 384), floor_points=points, position_mm=place)
        )
    return tuple(cameras)


def _stock(rng: np.random.Generator, room: Room, facing: Facing) -> None:
    """Stand units on a facing, somewhat beside its place."""
    home = room.home(facing.gtin)
    true = room.true_products[facing.gtin]
    shift_mm = float(rng.normal(0.0, room.goods.shift_mm))
    spread_mm = max(0.0, len(facing.plates) * room.plate_mm - true.width_mm) / 2
    count = int(np.clip(6_000.0 / true.weight_g, 6, 12))
    for _ in range(count):
        at_mm = home.at_mm + shift_mm + float(rng.uniform(-spread_mm, spread_mm))
        spot = Spot(home.shelf, at_mm)
        weight_g = true.weight_g * (1.0 + float(rng.normal(0.0, room.goods.unit)))
        shares = room.shares(spot, true.width_mm, rng)
        room.units.append(Unit(facing.gtin, weight_g, home.shelf, at_mm, shares))


def ends(room: Room) -> tuple[Point2, Point2]:
    """Return where people come from and where they go to, out of every camera's sight."""
    entry, leave = room.store.zones
    return (entry.x_mm[0] - 300.0, 0.0), (leave.x_mm[1] + 300.0, 0.0)


def middle(zone: Zone) -> Point2:
    """Return the middle of a zone."""
    return sum(zone.x_mm) / 2, sum(zone.y_mm) / 2
