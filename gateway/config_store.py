# SPDX-License-Identifier: Apache-2.0
"""The store file: what an installer writes, read into the store that the engine knows."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from gateway.config_cameras import camera_of, tag_of
from gateway.config_csv import csv_rows
from gateway.config_read import closest, nearest, read_table
from gateway.config_scanners import number_rules, scanner_of
from gateway.config_tables import (
    KEYS,
    TABLES,
    CameraTable,
    DoorTable,
    FacingTable,
    GondolaTable,
    NumberTable,
    PlateTable,
    ProductTable,
    ScannerTable,
    ShelfTable,
    StoreTable,
    TagTable,
    ZoneTable,
)
from gateway.config_toml import (
    ConfigError,
    Document,
    KeyPath,
    Problem,
    Problems,
    Where,
    load_document,
    read_text,
)
from gateway.domain import store as domain
from gateway.domain.gtin import check_digit

VERSION: Final = 1
EDGE_SLACK_MM: Final = 1.0
"""Plates may overlap or pass the shelf's end by this much: tape measures round."""

Table = TypeVar("Table", bound=msgspec.Struct)


@dataclass
class _Draft:
    """Tables read so far, each with its place, from all the pieces."""

    tables: dict[str, list[tuple[Where, Any]]] = field(
        default_factory=lambda: {key: [] for key in TABLES}
    )
    broken: set[str] = field(default_factory=set)
    """Kinds of which a table could not be read: a name that is missing may be there."""
    store: StoreTable | None = None

    def of(self, kind: str, _cls: type[Table]) -> Iterator[tuple[Where, Table]]:
        """Return the tables of one kind that could be read."""
        yield from self.tables[kind]


@dataclass(frozen=True)
class StoreRead:
    """What a store file and its pieces gave."""

    store: domain.Store | None
    """None when there is an error."""
    known: domain.Store | None
    """What could be read, errors left out; None when the file is no TOML."""
    doubtful: frozenset[str]
    """The kinds of tables of which ``known`` may lack some, for example ``camera``."""
    problems: list[Problem]


def read_store(path: Path) -> StoreRead:
    """Read a store file and its pieces; what is wrong in one table hides nothing in another."""
    problems = Problems()
    draft = _Draft()
    try:
        main = load_document(path)
    except ConfigError as error:
        return StoreRead(None, None, frozenset(TABLES), error.problems)
    _read_piece(main, draft, problems, main=True)
    for piece_path in _paths(main, "include", problems):
        try:
            piece = load_document(piece_path)
        except ConfigError as error:
            problems.found += error.problems
            draft.broken |= set(TABLES)
            continue
        _read_piece(piece, draft, problems, main=False)
    builder = _Builder(draft, problems)
    shelves = builder.shelves()
    products = builder.products()
    facings = builder.facings(products, shelves)
    for csv_path in _paths(main, "planogram", problems):
        facings += builder.planogram(csv_path, products, shelves)
    zones, doors = builder.zones(), builder.doors()
    scanners = builder.scanners(zones, doors)
    cameras, tags = builder.cameras(), builder.tags(shelves)
    builder.warn(Where(main), zones, facings)
    head = draft.store or StoreTable(name="unknown")
    known = domain.Store(
        name=head.name,
        products=dict(sorted(products.items())),
        shelves=tuple(shelves),
        facings=tuple(facings),
        zones=tuple(zones),
        scanners=tuple(scanners),
        doors=tuple(doors),
        cameras=tuple(cameras),
        prices_version=head.prices_version,
        tags=tuple(tags) or msgspec.UNSET,
        in_store_numbers=tuple(number_rules(draft.of("in_store_number", NumberTable), problems))
        or msgspec.UNSET,
    )
    store = None if problems.errors else known
    return StoreRead(store, known, _doubtful(draft, problems), problems.found)


def _doubtful(draft: _Draft, problems: Problems) -> frozenset[str]:
    kinds = {problem.key.partition("[")[0] for problem in problems.errors} | draft.broken
    return frozenset(TABLES) if "include" in kinds else frozenset(kinds)


def _read_piece(document: Document, draft: _Draft, problems: Problems, *, main: bool) -> None:
    root = Where(document)
    data = document.data
    valid = KEYS if main else ("version", *TABLES)
    for key in data:
        if key in KEYS and key not in valid:
            problems.add(root.at(key), "only in the main file", "Move it to the main store file")
        elif key not in valid:
            problems.add(root.at(key), "unknown key", nearest(key, valid))
            draft.broken |= {closest(key, valid) or ""}
    version = data.get("version", None if main else VERSION)
    if type(version) is not int or version != VERSION:
        given = "missing" if version is None else f"is {version!r}"
        remedy = f"Write version = {VERSION}; a newer format needs a newer shelfgate"
        problems.add(root.at("version"), given, remedy)
    if main and "store" in data:
        draft.store = read_table(StoreTable, root.at("store"), problems, data["store"])
    elif main:
        problems.add(root.at("store"), "missing", "Add [store] with the store's name")
    for kind, cls in TABLES.items():
        _read_kind(root.at(kind), cls, draft, problems)


def _read_kind(root: Where, cls: type[msgspec.Struct], draft: _Draft, problems: Problems) -> None:
    kind = str(root.path[0])
    tables = root.document.data.get(kind, [])
    if not isinstance(tables, list):
        problems.add(root, "must come many times", f"Write [[{kind}]]")
        draft.broken.add(kind)
        return
    for index, table in enumerate(tables):
        where = root.at(index)
        item = read_table(cls, where, problems, table)
        if item is None:
            draft.broken.add(kind)
        else:
            draft.tables[kind].append((where, item))


def _paths(main: Document, key: str, problems: Problems) -> list[Path]:
    value = main.data.get(key, [])
    names = [value] if isinstance(value, str) and key == "planogram" else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        remedy = f'Write {key} = ["file"], relative to this file'
        problems.add(Where(main).at(key), "must be a list of file names", remedy)
        return []
    if len(names) != len(set(names)):
        problems.add(Where(main).at(key), "names a file twice", "Name each file once")
        return []
    return [main.path.parent / name for name in names]


class _Builder:
    """Turns tables into the store's structures and checks what one table cannot know."""

    def __init__(self, draft: _Draft, problems: Problems) -> None:
        self._draft = draft
        self._problems = problems
        self._shelf_of: dict[str, str] = {}
        self._plate_order: dict[str, int] = {}

    def products(self) -> dict[str, domain.Product]:
        """Return products by GTIN of 14 digits."""
        places: dict[str, Where] = {}
        products = {}
        for where, table in self._draft.of("product", ProductTable):
            gtin = self._gtin(where.at("gtin"), table.gtin)
            if (table.price_minor is None) != (table.currency is None):
                problem = "price_minor and currency belong together"
                self._problems.add(where, problem, "Give both or neither")
            if gtin is None:
                self._draft.broken.add("product")
                continue
            if not self._once(places, gtin, where.at("gtin"), "GTIN"):
                continue
            tolerance_g = table.tolerance_g or max(1.0, 0.04 * table.unit_g)
            products[gtin] = domain.Product(
                gtin=gtin,
                name=table.name,
                unit_g=table.unit_g,
                tolerance_g=tolerance_g,
                sku=table.sku,
                price_minor=table.price_minor,
                currency=table.currency,
            )
        return products

    def shelves(self) -> list[domain.Shelf]:
        """Return the shelves of all gondolas, in the file's order."""
        gondolas: dict[str, Where] = {}
        names: dict[str, Where] = {}
        plates: dict[str, Where] = {}
        shelves = []
        for where, gondola in self._draft.of("gondola", GondolaTable):
            self._once(gondolas, gondola.name, where.at("name"), "gondola")
            for index, table in enumerate(gondola.shelf):
                at = where.at("shelf", index)
                if not self._once(names, table.name, at.at("name"), "shelf"):
                    continue
                shelf = self._shelf(at, gondola.name, table)
                for number, plate in enumerate(shelf.plates):
                    place = at.at("plate", number, "name") if table.plate else at.at("plates")
                    if self._once(plates, plate.name, place, "plate"):
                        self._shelf_of[plate.name] = shelf.name
                        self._plate_order[plate.name] = number
                shelves.append(shelf)
        return shelves

    def _shelf(self, where: Where, gondola: str, table: ShelfTable) -> domain.Shelf:
        x0, y0, x1, y1 = table.front_mm
        length_mm = math.hypot(x1 - x0, y1 - y0)
        if length_mm < EDGE_SLACK_MM:
            remedy = "Give the start and the end of the front edge"
            self._problems.add(where.at("front_mm"), "has no length", remedy)
        elif (table.plates is None) == (not table.plate):
            remedy = "Give plates = N for equal widths, or one [[gondola.shelf.plate]] each"
            self._problems.add(where, "needs either plates or plate tables", remedy)
            self._draft.broken.add("gondola")
        elif table.plate:
            self._check_plates(where, table.plate, length_mm)
        if table.plates is not None and not table.plate:
            width_mm = length_mm / table.plates
            plates = tuple(
                domain.Plate(
                    name=f"{table.name}.p{number + 1}",
                    offset_mm=number * width_mm,
                    width_mm=width_mm,
                )
                for number in range(table.plates)
            )
        else:
            plates = tuple(self._plate(plate) for plate in table.plate)
        return domain.Shelf(
            name=table.name,
            gondola=gondola,
            front_mm=table.front_mm,
            z_mm=table.z_mm,
            depth_mm=table.depth_mm,
            plates=plates,
            capacity_g=table.capacity_g,
        )

    @staticmethod
    def _plate(table: PlateTable) -> domain.Plate:
        calibration = None
        if table.calibration is not None:
            calibration = domain.Calibration(
                id=table.calibration.id,
                zero_raw=table.calibration.zero_raw,
                counts_per_g=table.calibration.counts_per_g,
            )
        return domain.Plate(
            name=table.name,
            offset_mm=table.offset_mm,
            width_mm=table.width_mm,
            calibration=calibration,
        )

    def _check_plates(self, where: Where, plates: tuple[PlateTable, ...], length_mm: float) -> None:
        for index, plate in enumerate(plates):
            at = where.at("plate", index)
            if plate.calibration is not None and plate.calibration.counts_per_g == 0:
                place = at.at("calibration", "counts_per_g")
                self._problems.add(place, "is 0", "Give ADC counts per gram")
            end_mm = plate.offset_mm + plate.width_mm
            if end_mm > length_mm + EDGE_SLACK_MM:
                problem = (
                    f"plate {plate.name} ends at {end_mm:g} mm, past the shelf's end "
                    f"at {length_mm:g} mm"
                )
                self._problems.add(at, problem, "Check offset_mm, width_mm and the shelf's front")
        ordered = sorted(enumerate(plates), key=lambda item: item[1].offset_mm)
        for (_, left), (index, right) in pairwise(ordered):
            overlap_mm = left.offset_mm + left.width_mm - right.offset_mm
            if overlap_mm > EDGE_SLACK_MM:
                problem = f"plate {right.name} overlaps plate {left.name} by {overlap_mm:g} mm"
                remedy = "Check offset_mm and width_mm of both"
                self._problems.add(where.at("plate", index), problem, remedy)

    def facings(
        self, products: dict[str, domain.Product], shelves: list[domain.Shelf]
    ) -> list[domain.Facing]:
        """Return what ``[[facing]]`` tables say."""
        facings = []
        for where, table in self._draft.of("facing", FacingTable):
            gtin = self._known_gtin(where.at("gtin"), table.gtin, products)
            plates = [
                name
                for index, name in enumerate(table.plates)
                if self._known_plate(where.at("plates", index), name, shelves)
            ]
            if len(set(table.plates)) != len(table.plates):
                self._problems.add(where.at("plates"), "names a plate twice", "Name it once")
            if len({self._shelf_of[name] for name in plates}) > 1:
                remedy = "Write one [[facing]] for each shelf"
                self._problems.add(where.at("plates"), "are on different shelves", remedy)
            if gtin is not None and plates:
                facings.append(domain.Facing(gtin=gtin, plates=tuple(plates)))
        return facings

    def planogram(
        self, path: Path, products: dict[str, domain.Product], shelves: list[domain.Shelf]
    ) -> list[domain.Facing]:
        """Return a CSV planogram's facings: neighbouring plates of one product are one."""
        try:
            text = read_text(path)
        except ConfigError as error:
            self._problems.found += error.problems
            return []
        cells: dict[tuple[str, str], list[str]] = {}
        for line, plate, gtin_text in csv_rows(path, text, self._problems):
            places: dict[KeyPath, int] = {("plate",): line, ("gtin",): line}
            where = Where(Document(path=path, data={}, lines=places))
            gtin = self._known_gtin(where.at("gtin"), gtin_text, products)
            if gtin is None or not self._known_plate(where.at("plate"), plate, shelves):
                continue
            names = cells.setdefault((gtin, self._shelf_of[plate]), [])
            if plate in names:
                self._problems.add(where.at("plate"), "repeats an earlier row", "Remove it")
            names.append(plate)
        facings = []
        for (gtin, _), names in cells.items():
            names.sort(key=self._plate_order.__getitem__)
            run = [names[0]]
            for before, name in pairwise(names):
                if self._plate_order[name] > self._plate_order[before] + 1:
                    facings.append(domain.Facing(gtin=gtin, plates=tuple(run)))
                    run = []
                run.append(name)
            facings.append(domain.Facing(gtin=gtin, plates=tuple(run)))
        return facings

    def zones(self) -> list[domain.Zone]:
        """Return the zones."""
        places: dict[str, Where] = {}
        zones = []
        for where, table in self._draft.of("zone", ZoneTable):
            self._once(places, table.name, where.at("name"), "zone")
            for key, (low, high) in (("x_mm", table.x_mm), ("y_mm", table.y_mm)):
                if low >= high:
                    remedy = "Write the smaller number first"
                    self._problems.add(where.at(key), "the zone has no area", remedy)
            zones.append(
                domain.Zone(name=table.name, kind=table.kind, x_mm=table.x_mm, y_mm=table.y_mm)
            )
        return zones

    def doors(self) -> list[str]:
        """Return the doors' names."""
        places: dict[str, Where] = {}
        return [
            table.name
            for where, table in self._draft.of("door", DoorTable)
            if self._once(places, table.name, where.at("name"), "door")
        ]

    def scanners(self, zones: list[domain.Zone], doors: list[str]) -> list[domain.Scanner]:
        """Return the scanners."""
        places: dict[str, Where] = {}
        kinds = {zone.name: zone.kind for zone in zones}
        scanners = []
        for where, table in self._draft.of("scanner", ScannerTable):
            self._once(places, table.name, where.at("name"), "scanner")
            scanners.append(scanner_of(where, table, self._problems))
            if table.zone is not None:
                self._known(where.at("zone"), "zone", table.zone, kinds)
            if kinds.get(table.zone or "") == "exit":
                remedy = "Name a zone of kind entry"
                self._problems.add(where.at("zone"), f"{table.zone} is an exit zone", remedy)
            if table.door is not None:
                self._known(where.at("door"), "door", table.door, doors)
        return scanners

    def cameras(self) -> list[domain.Camera]:
        """Return the cameras with what was measured of them."""
        places: dict[str, Where] = {}
        cameras = []
        for where, table in self._draft.of("camera", CameraTable):
            self._once(places, table.name, where.at("name"), "camera")
            cameras.append(camera_of(where, table, self._problems))
        return cameras

    def tags(self, shelves: list[domain.Shelf]) -> list[domain.Tag]:
        """Return the tags that could be placed."""
        places: dict[str, Where] = {}
        names = [shelf.name for shelf in shelves]
        tags = []
        for where, table in self._draft.of("tag", TagTable):
            self._once(places, f"{table.dictionary} {table.id}", where.at("id"), "tag")
            if table.shelf is not None:
                self._known_shelf(where.at("shelf"), table.shelf, names)
            tag = tag_of(where, table, shelves, self._problems)
            if tag is not None:
                tags.append(tag)
        return tags

    def _known_shelf(self, where: Where, name: str, names: list[str]) -> None:
        if name not in names and "gondola" not in self._draft.broken:
            remedy = nearest(name, names) if names else "Add [[gondola]] with its shelves"
            self._problems.add(where, f"shelf {name} is not in this store", remedy)

    def warn(self, main: Where, zones: list[domain.Zone], facings: list[domain.Facing]) -> None:
        """Note what is allowed but seldom meant."""
        for kind in ("entry", "exit"):
            if "zone" not in self._draft.broken and not any(zone.kind == kind for zone in zones):
                problem = f"no {kind} zone"
                remedy = f'Add a [[zone]] of kind = "{kind}", or sessions cannot begin or end'
                self._problems.add(main, problem, remedy, severity="warning")
        empty = len(self._shelf_of) - len({name for facing in facings for name in facing.plates})
        if empty and not (self._draft.broken & {"facing", "gondola"}) and not self._problems.errors:
            problem = f"{empty} of {len(self._shelf_of)} plates have no facing"
            remedy = "Add [[facing]] tables or a planogram"
            self._problems.add(main, problem, remedy, severity="warning")

    def _once(self, places: dict[str, Where], name: str, where: Where, what: str) -> bool:
        first = places.setdefault(name, where)
        if first is where:
            return True
        place = f"{first.document.path.name}:{first.line}"
        self._problems.add(
            where, f"{what} {name} is already at {place}", "Give each its own, or remove one"
        )
        return False

    def _known(self, where: Where, kind: str, name: str, known: Collection[str]) -> bool:
        if name in known:
            return True
        if kind not in self._draft.broken:
            problem = f"{kind} {name} is not in this store"
            self._problems.add(where, problem, nearest(name, known) if known else f"Add [[{kind}]]")
        return False

    def _gtin(self, where: Where, text: str) -> str | None:
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) in (8, 12, 13, 14)):
            remedy = "Give 8, 12, 13 or 14 digits"
            self._problems.add(where, f"{digits[:40]!r} is not a GTIN", remedy)
            return None
        expected = check_digit(digits[:-1])
        if digits[-1] != expected:
            problem = f"{digits} has a wrong check digit ({expected} expected)"
            self._problems.add(where, problem, "Compare with the label; a digit is mistyped")
            return None
        return digits.zfill(14)

    def _known_gtin(
        self, where: Where, text: str, products: dict[str, domain.Product]
    ) -> str | None:
        gtin = self._gtin(where, text)
        if gtin is None:
            return None
        return gtin if self._known(where, "product", gtin, products) else None

    def _known_plate(self, where: Where, name: str, shelves: list[domain.Shelf]) -> bool:
        if name in self._shelf_of:
            return True
        if "gondola" not in self._draft.broken:
            names = [plate.name for shelf in shelves for plate in shelf.plates]
            remedy = nearest(name, names) if names else "Add [[gondola]] with its shelves"
            self._problems.add(where, f"plate {name} is not in this store", remedy)
        return False
