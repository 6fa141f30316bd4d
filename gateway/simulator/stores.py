# SPDX-License-Identifier: Apache-2.0
"""Stores made to measure, for benches and tests."""

from gateway.domain.gtin import check_digit
from gateway.domain.store import (
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

BAY_MM = 1_800.0
PLATES_PER_SHELF = 12
HALF_AISLE_MM = 1_000.0
DEPTH_MM = 400.0
LEVELS_MM = (800.0, 1_250.0)


def nano_store(plates: int = 306, cameras: int = 3) -> Store:
    """Return one long aisle between two rows of gondolas with two shelves each.

    Args:
        plates: How many in all; shelves hold 12, the last one what is left.
        cameras: How many, spread along the aisle; neighbours overlap a little.
    """
    shelves: list[Shelf] = []
    products: dict[str, Product] = {}
    facings: list[Facing] = []
    made = 0
    while made < plates:
        number = len(shelves)
        shelf = _shelf(number, min(PLATES_PER_SHELF, plates - made))
        shelves.append(shelf)
        for plate in shelf.plates:
            product = _product(made)
            products[product.gtin] = product
            facings.append(Facing(gtin=product.gtin, plates=(plate.name,)))
            made += 1
    bays = (len(shelves) + 3) // 4
    low, high = -BAY_MM * bays / 2, BAY_MM * bays / 2
    return Store(
        name="nano",
        products=products,
        shelves=tuple(_shifted(shelf, low) for shelf in shelves),
        facings=tuple(facings),
        zones=(
            Zone(name="in", kind="entry", x_mm=(low - 1_800, low - 300), y_mm=(-900, 900)),
            Zone(name="out", kind="exit", x_mm=(high + 300, high + 1_800), y_mm=(-900, 900)),
        ),
        scanners=(Scanner(name="entry", zone="in", door="front"),),
        doors=("front",),
        cameras=tuple(_cameras(low - 900, high + 900, cameras)),
    )


def _shelf(number: int, count: int) -> Shelf:
    """Return a shelf of the bay ``number // 4``: two sides, two levels."""
    bay, side, level = number // 4, number // 2 % 2, number % 2
    near, far = bay * BAY_MM, (bay + 1) * BAY_MM
    # The products lie to the left of the front edge.
    front = (
        (near, HALF_AISLE_MM, far, HALF_AISLE_MM)
        if side == 0
        else (far, -HALF_AISLE_MM, near, -HALF_AISLE_MM)
    )
    name = f"g{2 * bay + side + 1}.s{level + 1}"
    width = BAY_MM / count
    return Shelf(
        name=name,
        gondola=f"g{2 * bay + side + 1}",
        front_mm=front,
        z_mm=LEVELS_MM[level],
        depth_mm=DEPTH_MM,
        plates=tuple(
            Plate(name=f"{name}.p{place + 1}", offset_mm=place * width, width_mm=width)
            for place in range(count)
        ),
    )


def _shifted(shelf: Shelf, by_mm: float) -> Shelf:
    x0, y0, x1, y1 = shelf.front_mm
    return Shelf(
        name=shelf.name,
        gondola=shelf.gondola,
        front_mm=(x0 + by_mm, y0, x1 + by_mm, y1),
        z_mm=shelf.z_mm,
        depth_mm=shelf.depth_mm,
        plates=shelf.plates,
    )


def _product(number: int) -> Product:
    body = f"0952132{number:06d}"
    unit_g = round(60.0 * (1_200.0 / 60.0) ** ((number * 37 % 101) / 100.0), 0)
    return Product(
        gtin=body + check_digit(body),
        name=f"Product {number + 1}",
        unit_g=unit_g,
        tolerance_g=max(2.0, round(0.03 * unit_g, 1)),
    )


def _cameras(low: float, high: float, count: int) -> list[Camera]:
    wide = (high - low) / count
    cameras = []
    for number in range(count):
        x0, x1 = low + number * wide, low + (number + 1) * wide
        points = (
            FloorPoint(px=(20.0, 364.0), mm=(x0, -900.0)),
            FloorPoint(px=(492.0, 364.0), mm=(x1, -900.0)),
            FloorPoint(px=(492.0, 20.0), mm=(x1, 900.0)),
            FloorPoint(px=(20.0, 20.0), mm=(x0, 900.0)),
        )
        cameras.append(Camera(name=f"cam{number + 1}", size_px=(512, 384), floor_points=points))
    return cameras
