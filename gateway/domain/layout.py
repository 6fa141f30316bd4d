# SPDX-License-Identifier: Apache-2.0
"""What follows from a store: where each plate is, what belongs on it. Derived, never stored."""

from math import hypot
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.domain.store import Facing, Plate, Shelf, Store

HAND_INWARD_MM: Final = (20.0, 300.0)
HAND_ABOVE_MM: Final = (20.0, 190.0)
"""Where a wrist is while its hand takes something: behind the front edge, above the plate."""


class PlatePlace:
    """A plate as a box in the store: the space in which a hand is at the plate."""

    def __init__(self, shelf: Shelf, index: int, plate: Plate) -> None:
        x0, y0, x1, y1 = shelf.front_mm
        length_mm = hypot(x1 - x0, y1 - y0)
        self.name = plate.name
        self.index = index
        self.calibration = plate.calibration.id if plate.calibration else None
        self._start = np.array((x0, y0))
        self._along = np.array((x1 - x0, y1 - y0)) / length_mm
        self._inward = np.array((-self._along[1], self._along[0]))
        self._z_mm, self._depth_mm = shelf.z_mm, shelf.depth_mm
        self.low_mm, self.high_mm = plate.offset_mm, plate.offset_mm + plate.width_mm
        self.middle_mm = (self.low_mm + self.high_mm) / 2
        middle = self._start + self._along * (plate.offset_mm + plate.width_mm / 2)
        self.front_mm: tuple[float, float] = (float(middle[0]), float(middle[1]))
        """Middle of the plate's front edge on the floor."""

    def box_mm(
        self, points_mm: NDArray[np.float64], low_mm: float, high_mm: float
    ) -> NDArray[np.float64]:
        """Return how far points ``(n, 3)`` are from where a hand works over a stretch of the shelf.

        Args:
            points_mm: In store coordinates.
            low_mm: Begin of the stretch along the front edge, from its start.
            high_mm: Its end.
        """
        flat = points_mm[:, :2] - self._start
        local = np.column_stack((flat @ self._along, flat @ self._inward, points_mm[:, 2]))
        low = np.array((low_mm, HAND_INWARD_MM[0], self._z_mm + HAND_ABOVE_MM[0]))
        high = np.array(
            (high_mm, min(HAND_INWARD_MM[1], self._depth_mm), self._z_mm + HAND_ABOVE_MM[1])
        )
        outside = np.maximum(np.maximum(low - local, local - high), 0.0)
        distances: NDArray[np.float64] = np.sqrt((outside**2).sum(axis=1))
        return distances

    def front_point(self, along_mm: float) -> tuple[float, float]:
        """Return the point of the shelf's front edge on the floor, so far from its start."""
        x_mm, y_mm = self._start + self._along * along_mm
        return float(x_mm), float(y_mm)


class FacingPlace(NamedTuple):
    """Where along its shelf's front a product belongs, in mm from the start."""

    gtin: str
    first_mm: float
    """Middle of its first plate."""
    last_mm: float
    """Middle of its last."""


class ShelfPlaces:
    """A shelf with its plates in order, and how to turn their samples into grams."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.facings: list[FacingPlace] = []
        self.plates = [PlatePlace(shelf, i, plate) for i, plate in enumerate(shelf.plates)]
        calibrations = [plate.calibration for plate in shelf.plates]
        self._zero_raw = np.array([c.zero_raw if c else np.nan for c in calibrations])
        self._counts_per_g = np.array([c.counts_per_g if c else np.nan for c in calibrations])

    def hand_mm(
        self, points_mm: NDArray[np.float64], low_mm: float, high_mm: float
    ) -> NDArray[np.float64]:
        """Return how far points ``(n, 3)`` are from where a hand works: ``(n,)``, 0 inside.

        Args:
            points_mm: In store coordinates.
            low_mm: Begin of the stretch along the front edge, from its start.
            high_mm: Its end.
        """
        return self.plates[0].box_mm(points_mm, low_mm, high_mm)

    def front_point(self, along_mm: float) -> tuple[float, float]:
        """Return the point of the front edge on the floor, so far from its start."""
        return self.plates[0].front_point(along_mm)

    def grams(self, rows: list[list[float | None]], *, raw: bool) -> NDArray[np.float64]:
        """Return samples as ``(n, p)`` grams; NaN where there is none or it cannot be true.

        Counts of a plate without a calibration have no meaning in grams, so they are NaN too.
        """
        block = np.array(rows, dtype=np.float64)
        if raw:
            block = (block - self._zero_raw) / self._counts_per_g
        beyond = ~(np.abs(block) <= self.shelf.capacity_g)
        if beyond.any():
            block[beyond] = np.nan
        return block


class Layout:
    """A store's derived tables."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.version = store.version
        self.shelves = {shelf.name: ShelfPlaces(shelf) for shelf in store.shelves}
        self.plates = {
            place.name: place for shelf in self.shelves.values() for place in shelf.plates
        }
        self.shelf_of = {
            place.name: name for name, shelf in self.shelves.items() for place in shelf.plates
        }
        for facing in store.facings:
            middles = [self.plates[plate].middle_mm for plate in facing.plates]
            self.shelves[self.shelf_of[facing.plates[0]]].facings.append(
                FacingPlace(facing.gtin, min(middles), max(middles))
            )
        self.entry = [zone for zone in store.zones if zone.kind == "entry"]
        self.exit = [zone for zone in store.zones if zone.kind == "exit"]
        self.zones = {zone.name: zone for zone in store.zones}
        self.scanners = {scanner.name: scanner for scanner in store.scanners}
        self.devices = {
            *(f"shelf/{shelf.name}" for shelf in store.shelves),
            *(f"camera/{camera.name}" for camera in store.cameras),
            *(f"scanner/{scanner.name}" for scanner in store.scanners),
            *(f"door/{door}" for door in store.doors),
        }

    def facing_problems(self, facings: tuple[Facing, ...]) -> list[str]:
        """Return why a planogram does not fit this store; empty when it does."""
        problems = []
        for facing in facings:
            if facing.gtin not in self.store.products:
                problems.append(f"unknown product {facing.gtin}")
            if not facing.plates:
                problems.append(f"product {facing.gtin} has no plate")
            unknown = [plate for plate in facing.plates if plate not in self.plates]
            problems += [f"unknown plate {plate}" for plate in unknown]
            if not unknown and len({self.shelf_of[plate] for plate in facing.plates}) > 1:
                problems.append(f"product {facing.gtin} has one facing on more than one shelf")
        return problems
