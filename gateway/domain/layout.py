# SPDX-License-Identifier: Apache-2.0
"""What follows from a store: where each plate is, what belongs on it. Derived, never stored."""

from collections import Counter
from dataclasses import dataclass
from math import hypot
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.domain.store import Facing, Plate, Shelf, Store

HAND_INWARD_MM: Final = (20.0, 300.0)
HAND_ABOVE_MM: Final = (20.0, 190.0)
"""Where a wrist is while its hand takes something: behind the front edge, above the plate."""


@dataclass(frozen=True, slots=True)
class PlatePlace:
    """Where a plate is."""

    name: str
    index: int
    """In its shelf's order."""
    calibration: str | None
    """Id of its calibration."""
    scale: tuple[float, float] | None
    """Its numbers, zero and counts per gram: they may be mended under the same id."""
    low_mm: float
    high_mm: float
    """Its ends along the shelf's front edge, from its start."""
    front_mm: tuple[float, float]
    """Middle of the plate's front edge on the floor."""

    @property
    def middle_mm(self) -> float:
        """Return its middle along the shelf's front edge, from its start."""
        return (self.low_mm + self.high_mm) / 2


class FacingPlace(NamedTuple):
    """Where along its shelf's front a product belongs, in mm from the start."""

    gtin: str
    first_mm: float
    """Middle of its first plate."""
    last_mm: float
    """Middle of its last."""


class ShelfPlaces:
    """A shelf as a box in the store, its plates in order, and how samples become grams."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.facings: list[FacingPlace] = []
        x0, y0, x1, y1 = shelf.front_mm
        self._start = np.array((x0, y0))
        self._along = np.array((x1 - x0, y1 - y0)) / hypot(x1 - x0, y1 - y0)
        self._inward = np.array((-self._along[1], self._along[0]))
        self.plates = [self._place(index, plate) for index, plate in enumerate(shelf.plates)]
        calibrations = [plate.calibration for plate in shelf.plates]
        self._zero_raw = np.array([c.zero_raw if c else np.nan for c in calibrations])
        self._counts_per_g = np.array([c.counts_per_g if c else np.nan for c in calibrations])

    def _place(self, index: int, plate: Plate) -> PlatePlace:
        return PlatePlace(
            name=plate.name,
            index=index,
            calibration=of.id if (of := plate.calibration) else None,
            scale=(of.zero_raw, of.counts_per_g) if of else None,
            low_mm=plate.offset_mm,
            high_mm=plate.offset_mm + plate.width_mm,
            front_mm=self.front_point(plate.offset_mm + plate.width_mm / 2),
        )

    def hand_mm(
        self, points_mm: NDArray[np.float64], low_mm: float, high_mm: float
    ) -> NDArray[np.float64]:
        """Return how far points ``(n, 3)`` are from where a hand works: ``(n,)``, 0 inside.

        Args:
            points_mm: In store coordinates.
            low_mm: Begin of the stretch along the front edge, from its start.
            high_mm: Its end.
        """
        flat = points_mm[:, :2] - self._start
        local = np.column_stack((flat @ self._along, flat @ self._inward, points_mm[:, 2]))
        (near_mm, far_mm), (above_mm, top_mm) = HAND_INWARD_MM, HAND_ABOVE_MM
        z_mm = self.shelf.z_mm
        low = np.array((low_mm, near_mm, z_mm + above_mm))
        high = np.array((high_mm, min(far_mm, self.shelf.depth_mm), z_mm + top_mm))
        outside = np.maximum(np.maximum(low - local, local - high), 0.0)
        distances: NDArray[np.float64] = np.sqrt((outside**2).sum(axis=1))
        return distances

    def front_point(self, along_mm: float) -> tuple[float, float]:
        """Return the point of the front edge on the floor, so far from its start."""
        x_mm, y_mm = self._start + self._along * along_mm
        return float(x_mm), float(y_mm)

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
        gondolas: dict[str, list[str]] = {}
        for shelf in store.shelves:
            gondolas.setdefault(shelf.gondola, []).append(shelf.name)
        self.beside = {
            shelf.name: [name for name in gondolas[shelf.gondola] if name != shelf.name]
            for shelf in store.shelves
        }
        """The other shelves of each shelf's gondola."""
        for facing in store.facings:
            middles = [self.plates[plate].middle_mm for plate in facing.plates]
            self.shelves[self.shelf_of[facing.plates[0]]].facings.append(
                FacingPlace(facing.gtin, min(middles), max(middles))
            )
        self.counted = {facing.plates[0]: facing for facing in self._countable()}
        """By its first plate: each facing whose units are counted."""
        self.counted_on = {
            plate: first for first, facing in self.counted.items() for plate in facing.plates
        }
        self._facings_of: dict[tuple[str, str], list[Facing]] = {}
        for facing in store.facings:
            at = (self.shelf_of[facing.plates[0]], facing.gtin)
            self._facings_of.setdefault(at, []).append(facing)
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

    def _countable(self) -> list[Facing]:
        """Return the facings that have calibrated plates to themselves.

        Only such plates weigh nothing when they are empty, and carry one product.
        """
        uses = Counter(plate for facing in self.store.facings for plate in facing.plates)
        return [
            facing
            for facing in self.store.facings
            if all(
                uses[plate] == 1 and self.plates[plate].calibration is not None
                for plate in facing.plates
            )
        ]

    def facing_of(self, gtin: str, plate: str) -> str | None:
        """Return the counted facing, by its first plate, that a product at a plate belongs to.

        None: the nearest facing of it on that shelf is not counted, or there is none.
        """
        at = self.plates.get(plate)
        if at is None:
            return None

        def far_mm(facing: Facing) -> float:
            return min(abs(self.plates[one].middle_mm - at.middle_mm) for one in facing.plates)

        beside = self._facings_of.get((self.shelf_of[plate], gtin), ())
        nearest = min(beside, key=far_mm, default=None)
        return None if nearest is None else self.counted_on.get(nearest.plates[0])

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
