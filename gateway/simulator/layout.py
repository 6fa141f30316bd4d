# SPDX-License-Identifier: Apache-2.0
"""Where things stand in a store, as arrays: what shoppers walk by and cameras look at.

Store coordinates: millimetres, x and y on the floor, z up. Plates are numbered through the store,
shelf by shelf, in the store file's order.
"""

import math
from dataclasses import dataclass, replace

from gateway.domain.store import Camera, Store, Zone

Point2 = tuple[float, float]
Point3 = tuple[float, float, float]
Box = tuple[float, float, float, float]

STAND_MM = 370.0
"""From a shelf's front edge to the middle of who reaches into it."""
VIEW_MARGIN_MM = 400.0
"""How far beyond the box around its floor points a camera still sees feet."""


@dataclass(frozen=True, slots=True)
class PlatePlace:
    """One plate's place.

    Attributes:
        name: Of the plate.
        shelf: Number of its shelf.
        gtin: Product of its facing; None without one.
        facing: Numbers of all plates of that facing, this one included.
        middle_mm: Middle of its surface.
        front_mm: Middle of its facing's part of the front edge: where hands reach in.
        stand_mm: Where one stands to reach it.
        inward: Unit vector from the aisle into the shelf.
        box_mm: Around it on the floor plan: x0, y0, x1, y1.
    """

    name: str
    shelf: int
    gtin: str | None
    facing: tuple[int, ...]
    middle_mm: Point3
    front_mm: Point2
    stand_mm: Point2
    inward: Point2
    box_mm: Box


class Layout:
    """A store's geometry, worked out once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.plates: list[PlatePlace] = []
        self.shelf_plates: list[range] = []
        self.boxes: list[Box] = []
        numbers = {
            plate.name: number
            for number, plate in enumerate(p for shelf in store.shelves for p in shelf.plates)
        }
        facing_of = {
            name: (facing.gtin, tuple(numbers[other] for other in facing.plates))
            for facing in store.facings
            for name in facing.plates
        }
        for number, shelf in enumerate(store.shelves):
            x0, y0, x1, y1 = shelf.front_mm
            length = math.hypot(x1 - x0, y1 - y0)
            along = ((x1 - x0) / length, (y1 - y0) / length)
            inward = (-along[1], along[0])
            first = len(self.plates)
            for plate in shelf.plates:
                gtin, facing = facing_of.get(plate.name, (None, (numbers[plate.name],)))
                front = _moved((x0, y0), along, plate.offset_mm + plate.width_mm / 2)
                middle = _moved(front, inward, shelf.depth_mm / 2)
                self.plates.append(
                    PlatePlace(
                        name=plate.name,
                        shelf=number,
                        gtin=gtin,
                        facing=facing,
                        middle_mm=(*middle, shelf.z_mm),
                        front_mm=front,
                        stand_mm=_moved(front, inward, -STAND_MM),
                        inward=inward,
                        box_mm=_box(front, along, plate.width_mm, inward, shelf.depth_mm),
                    )
                )
            self.shelf_plates.append(range(first, len(self.plates)))
            front = _moved((x0, y0), along, length / 2)
            self.boxes.append(_box(front, along, length, inward, shelf.depth_mm))
        self.plates = [self._centred(place) for place in self.plates]
        self.entries = [zone for zone in store.zones if zone.kind == "entry"]
        self.exits = [zone for zone in store.zones if zone.kind == "exit"]
        self.middle_mm = self._middle()

    def scan_point(self) -> tuple[str | None, str | None, Point2]:
        """Return the first entry scanner, its door, and where one stands to use it."""
        for scanner in self.store.scanners:
            for zone in self.entries:
                if zone.name == scanner.zone:
                    return scanner.name, scanner.door, self._inner_third(zone)
        point = self._inner_third(self.entries[0]) if self.entries else self.middle_mm
        return None, None, point

    def way_in(self) -> Point2:
        """Return where shoppers come from: beyond the entry zone, out of every camera's view."""
        return self._outside(self.entries[0]) if self.entries else self.middle_mm

    def way_out(self) -> tuple[Point2, Point2]:
        """Return a point in the exit zone and one beyond it."""
        if not self.exits:
            return self.middle_mm, self.middle_mm
        return self._inner_third(self.exits[0]), self._outside(self.exits[0])

    def in_entry(self, point: Point2) -> bool:
        """Return whether a floor point lies in an entry zone."""
        return any(inside(zone, point) for zone in self.entries)

    @property
    def along(self) -> int:
        """Number of the axis that the aisle follows: 0 for x, 1 for y."""
        inward = self.plates[0].inward if self.plates else (0.0, 1.0)
        return 0 if abs(inward[1]) >= abs(inward[0]) else 1

    def aisle_point(self, point: Point2, lane_mm: float = 0.0) -> Point2:
        """Return the nearest point of the aisle's middle line, or of a line beside it."""
        if self.along == 0:
            return point[0], self.middle_mm[1] + lane_mm
        return self.middle_mm[0] + lane_mm, point[1]

    def pushed_out(self, point: Point2, margin_mm: float) -> Point2:
        """Return the nearest point that is not within ``margin_mm`` of a gondola."""
        for x0, y0, x1, y1 in self.boxes:
            x, y = point
            gaps = (x - x0 + margin_mm, x1 + margin_mm - x, y - y0 + margin_mm, y1 + margin_mm - y)
            least = min(gaps)
            if least > 0:
                side = gaps.index(least)
                moves = ((-least, 0.0), (least, 0.0), (0.0, -least), (0.0, least))
                point = (x + moves[side][0], y + moves[side][1])
        return point

    def _centred(self, place: PlatePlace) -> PlatePlace:
        """Return a plate that is reached at the middle of its facing."""
        fronts = [self.plates[number].front_mm for number in place.facing]
        x = sum(front[0] for front in fronts) / len(fronts)
        y = sum(front[1] for front in fronts) / len(fronts)
        return replace(place, front_mm=(x, y), stand_mm=_moved((x, y), place.inward, -STAND_MM))

    def _middle(self) -> Point2:
        if not self.plates:
            return 0.0, 0.0
        count = len(self.plates)
        x = sum(place.stand_mm[0] for place in self.plates) / count
        y = sum(place.stand_mm[1] for place in self.plates) / count
        return x, y

    def _inner_third(self, zone: Zone) -> Point2:
        """Return a point of the zone a third of the way in from the side near the shelves."""
        x, y = _middle_of(zone)
        towards_x, towards_y = self.middle_mm[0] - x, self.middle_mm[1] - y
        if abs(towards_x) >= abs(towards_y):
            return x + math.copysign((zone.x_mm[1] - zone.x_mm[0]) / 6, towards_x), y
        return x, y + math.copysign((zone.y_mm[1] - zone.y_mm[0]) / 6, towards_y)

    def _outside(self, zone: Zone) -> Point2:
        x, y = _middle_of(zone)
        away_x, away_y = x - self.middle_mm[0], y - self.middle_mm[1]
        if abs(away_x) >= abs(away_y):
            return x + math.copysign((zone.x_mm[1] - zone.x_mm[0]) / 2 + 400.0, away_x), y
        return x, y + math.copysign((zone.y_mm[1] - zone.y_mm[0]) / 2 + 400.0, away_y)


def inside(zone: Zone, point: Point2) -> bool:
    """Return whether a floor point lies in a zone."""
    return zone.x_mm[0] <= point[0] <= zone.x_mm[1] and zone.y_mm[0] <= point[1] <= zone.y_mm[1]


def view_box(camera: Camera) -> Box:
    """Return the part of the floor where a camera sees feet."""
    xs = [point.mm[0] for point in camera.floor_points]
    ys = [point.mm[1] for point in camera.floor_points]
    return (
        min(xs) - VIEW_MARGIN_MM,
        min(ys) - VIEW_MARGIN_MM,
        max(xs) + VIEW_MARGIN_MM,
        max(ys) + VIEW_MARGIN_MM,
    )


def distance_mm(one: Point2, other: Point2) -> float:
    """Return the distance between two floor points."""
    return math.hypot(one[0] - other[0], one[1] - other[1])


def _middle_of(zone: Zone) -> Point2:
    return (zone.x_mm[0] + zone.x_mm[1]) / 2, (zone.y_mm[0] + zone.y_mm[1]) / 2


def _moved(point: Point2, direction: Point2, by_mm: float) -> Point2:
    return point[0] + direction[0] * by_mm, point[1] + direction[1] * by_mm


def _box(front: Point2, along: Point2, width: float, inward: Point2, depth: float) -> Box:
    corners = [
        _moved(_moved(front, along, side * width / 2), inward, far)
        for side in (-1, 1)
        for far in (0.0, depth)
    ]
    xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return min(xs), min(ys), max(xs), max(ys)
