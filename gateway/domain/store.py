# SPDX-License-Identifier: Apache-2.0
"""The store as the engine knows it: layout, planogram, products. Frozen, checked when built.

Store coordinates are millimetres: x and y on the floor, z up.
"""

from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is sold by the unit."""

    gtin: str
    """14 digits, check digit verified."""
    name: str
    unit_g: float
    """Unit weight, grams."""
    tolerance_g: float
    """Standard deviation of one unit's weight around ``unit_g``, catalogue error included."""
    sku: str | None = None
    price_minor: int | None = None
    currency: str | None = None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Turns ADC counts into grams: ``(raw - zero_raw) / counts_per_g``."""

    id: str
    zero_raw: float
    counts_per_g: float


class Plate(msgspec.Struct, frozen=True, kw_only=True):
    """One weighing platform, placed along its shelf's front edge."""

    name: str
    """Unique in the store, for example ``g1.s2.p3``."""
    offset_mm: float
    """From the start of the shelf's front edge to the plate's near corner."""
    width_mm: float
    calibration: Calibration | None = None


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """Plates side by side behind one front edge."""

    name: str
    """Unique in the store; the device is ``shelf/<name>``."""
    gondola: str
    front_mm: tuple[float, float, float, float]
    """Front edge on the floor plan: x0, y0, x1, y1. Looking from its start to its end, the products
    lie to the left and the aisle to the right."""
    z_mm: float
    """Height of the plates' surface."""
    depth_mm: float
    plates: tuple[Plate, ...]
    capacity_g: float = 30_000.0
    """Weights beyond this, up or down, cannot be true and are ignored."""


class Facing(msgspec.Struct, frozen=True, kw_only=True):
    """One product's place on one or more plates of one shelf."""

    gtin: str
    plates: tuple[str, ...]


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle on the floor."""

    name: str
    kind: Literal["entry", "exit"]
    x_mm: tuple[float, float]
    y_mm: tuple[float, float]


class Scanner(msgspec.Struct, frozen=True, kw_only=True):
    """A scanner that reads entry tokens for a zone, and the door that it opens; or products."""

    name: str
    zone: str | None
    """Where whoever holds a token to it stands; None for one that reads products."""
    door: str | None = None
    reads: Literal["products"] | UnsetType = UNSET
    """Entry tokens where it is left out."""


class NumberRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of in-store number is built: 13 digits, the last one the check digit.

    Places are counted from 0, and the second of two is the first one behind.
    """

    prefix: str
    item: tuple[int, int]
    """Where the retailer's own number of the product stands."""
    measure: Literal["weight", "price", "count"]
    value: tuple[int, int]
    """Where the weight (kg), price or count stands."""
    decimals: int
    inner_check: Literal["none", "gs1-4", "gs1-5"] = "none"
    """The value's own check digit, right before it."""
    currency: str | None = None
    """Of a price, ISO 4217."""


class FloorPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A pixel whose place on the floor is known."""

    px: tuple[float, float]
    mm: tuple[float, float]


class SpacePoint(msgspec.Struct, frozen=True, kw_only=True):
    """A pixel whose place in the store is known, on the floor or above it."""

    px: tuple[float, float]
    mm: tuple[float, float, float]


class Lens(msgspec.Struct, frozen=True, kw_only=True):
    """A camera's intrinsics: what it is whatever it looks at."""

    size_px: tuple[int, int]
    """Width and height of the images that it was calibrated with."""
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    """The principal point."""
    distortion: tuple[float, ...] = ()
    """OpenCV's coefficients: k1, k2, p1, p2, k3, and for wide lenses k4, k5, k6."""


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """A camera and what an installer measured of it.

    What came after the first version is left out where it is not given, so that a store file
    that has nothing of it keeps its version.
    """

    name: str
    size_px: tuple[int, int]
    """Width and height of the image that the points were measured in."""
    floor_points: tuple[FloorPoint, ...]
    position_mm: tuple[float, float, float] | None = None
    """Where it hangs; floor points alone tell this only of a camera that is clearly tilted."""
    lens: Lens | UnsetType = UNSET
    space_points: tuple[SpacePoint, ...] | UnsetType = UNSET


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    """An ArUco or AprilTag tag at a known place."""

    id: int
    dictionary: str
    """As OpenCV calls it, without ``DICT_``."""
    size_mm: float
    """Side of its black square."""
    centre_mm: tuple[float, float, float]
    right: tuple[float, float, float] | None = None
    """Unit vector along its upper edge, as printed; None where only its centre is known."""
    down: tuple[float, float, float] | None = None


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a store that does not change by itself."""

    name: str
    products: dict[str, Product]
    """By GTIN."""
    shelves: tuple[Shelf, ...]
    facings: tuple[Facing, ...] = ()
    zones: tuple[Zone, ...] = ()
    scanners: tuple[Scanner, ...] = ()
    doors: tuple[str, ...] = ()
    cameras: tuple[Camera, ...] = ()
    prices_version: str | None = None
    tags: tuple[Tag, ...] | UnsetType = UNSET
    """For calibrating cameras."""
    in_store_numbers: tuple[NumberRule, ...] | UnsetType = UNSET

    @property
    def version(self) -> str:
        """Return a hash of the content: equal stores have equal versions on every machine."""
        content = msgspec.json.encode(self, order="deterministic")
        return blake2b(content, digest_size=8).hexdigest()
