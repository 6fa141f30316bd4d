# SPDX-License-Identifier: Apache-2.0
"""The store file's format, version 1: one struct a table. ``docs/store-file.md`` explains it."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z",
        max_length=64,
        description="a name of letters, digits, dots, hyphens and underscores, 64 at most",
    ),
]
Millimetres = Annotated[float, Meta(ge=-1e6, le=1e6, description="a place in millimetres")]
Size = Annotated[float, Meta(gt=0, le=1e5, description="a size in millimetres, above 0")]
Text = Annotated[str, Meta(min_length=1, max_length=200, description="a text of 1 to 200 letters")]


class StoreTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[store]``."""

    name: Name
    prices_version: Text | None = None


class ProductTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[product]]``."""

    gtin: Annotated[str, Meta(description="a GTIN of 8, 12, 13 or 14 digits, in quotes")]
    name: Text
    unit_g: Annotated[
        float, Meta(gt=0, le=1e5, description="the weight of one unit in grams, above 0")
    ]
    tolerance_g: (
        Annotated[
            float,
            Meta(gt=0, le=1e5, description="one unit's standard deviation in grams, above 0"),
        ]
        | None
    ) = None
    """4 % of ``unit_g`` when absent, 1 g at least."""
    sku: Text | None = None
    price_minor: (
        Annotated[int, Meta(ge=0, le=10**12, description="a price in minor units, such as cents")]
        | None
    ) = None
    currency: (
        Annotated[str, Meta(pattern="^[A-Z]{3}$", description="an ISO 4217 code, such as EUR")]
        | None
    ) = None


class CalibrationTable(msgspec.Struct, frozen=True, kw_only=True):
    """``calibration = { id, zero_raw, counts_per_g }``."""

    id: Text
    zero_raw: Annotated[float, Meta(ge=-1e10, le=1e10, description="the counts at zero load")]
    counts_per_g: Annotated[float, Meta(ge=-1e9, le=1e9, description="ADC counts per gram, not 0")]


class PlateTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[gondola.shelf.plate]]``."""

    name: Name
    offset_mm: Annotated[
        float, Meta(ge=0, le=1e5, description="millimetres from the start of the shelf's front")
    ]
    width_mm: Size
    calibration: CalibrationTable | None = None


class ShelfTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[gondola.shelf]]``: ``plates = N`` for equal widths, or ``plate`` tables."""

    name: Name
    front_mm: Annotated[
        tuple[Millimetres, Millimetres, Millimetres, Millimetres],
        Meta(description="the front edge on the floor plan in millimetres: [x0, y0, x1, y1]"),
    ]
    z_mm: Annotated[
        float, Meta(ge=0, le=1e4, description="the height of the plates' surface in millimetres")
    ]
    depth_mm: Size
    plates: (
        Annotated[int, Meta(ge=1, le=64, description="how many plates of equal width, 1 to 64")]
        | None
    ) = None
    plate: Annotated[tuple[PlateTable, ...], Meta(max_length=64)] = ()
    capacity_g: Annotated[
        float, Meta(gt=0, le=1e7, description="the greatest load of a plate in grams, above 0")
    ] = 30_000.0


class GondolaTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[gondola]]``."""

    name: Name
    shelf: Annotated[tuple[ShelfTable, ...], Meta(max_length=100)] = ()


class FacingTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[facing]]``."""

    gtin: Annotated[str, Meta(description="the GTIN of a product of this store, in quotes")]
    plates: Annotated[
        tuple[str, ...],
        Meta(min_length=1, max_length=64, description="the names of plates of one shelf"),
    ]


Span = Annotated[
    tuple[Millimetres, Millimetres],
    Meta(description="from and to in millimetres, for example [-1500, -900]"),
]


class ZoneTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[zone]]``."""

    name: Name
    kind: Annotated[Literal["entry", "exit"], Meta(description='"entry" or "exit"')]
    x_mm: Span
    y_mm: Span


class ScannerTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[scanner]]``."""

    name: Name
    reads: Annotated[Literal["tokens", "products"], Meta(description='"tokens" or "products"')] = (
        "tokens"
    )
    zone: (
        Annotated[str, Meta(description="the name of the entry zone that it stands in")] | None
    ) = None
    door: Annotated[str, Meta(description="the name of the door that it opens")] | None = None


Places = Annotated[
    tuple[Annotated[int, Meta(ge=0, le=12)], Annotated[int, Meta(ge=1, le=12)]],
    Meta(description="first place and the one behind the last, counted from 0, such as [2, 6]"),
]


class NumberTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[in_store_number]]``: how in-store numbers with one prefix are built."""

    prefix: Annotated[
        str,
        Meta(pattern="^[0-9]{1,11}$", description="the digits that such numbers begin with"),
    ]
    item: Places
    measure: Annotated[
        Literal["weight", "price", "count"], Meta(description='"weight", "price" or "count"')
    ]
    value: Places
    decimals: Annotated[int, Meta(ge=0, le=6, description="how many decimals it has, 0 to 6")]
    inner_check: Annotated[
        Literal["none", "gs1-4", "gs1-5"], Meta(description='"none", "gs1-4" or "gs1-5"')
    ] = "none"
    currency: (
        Annotated[str, Meta(pattern="^[A-Z]{3}$", description="an ISO 4217 code, such as EUR")]
        | None
    ) = None


class DoorTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[door]]``."""

    name: Name


Pixel = Annotated[float, Meta(ge=-1e5, le=1e5)]


ImageSize = Annotated[
    tuple[Annotated[int, Meta(ge=16, le=20_000)], Annotated[int, Meta(ge=16, le=20_000)]],
    Meta(description="width and height of the image that the points were measured in"),
]
Focal = Annotated[float, Meta(ge=1, le=1e5)]


class LensTable(msgspec.Struct, frozen=True, kw_only=True):
    """``lens`` of a ``[[camera]]``."""

    size_px: Annotated[
        ImageSize, Meta(description="width and height of the images that it was calibrated with")
    ]
    focal_px: Annotated[
        tuple[Focal, Focal], Meta(description="the focal length in pixels: [across, down]")
    ]
    centre_px: Annotated[tuple[Pixel, Pixel], Meta(description="the principal point in pixels")]
    distortion: Annotated[
        tuple[Annotated[float, Meta(ge=-1e3, le=1e3)], ...],
        Meta(max_length=8, description="5 or 8 coefficients, as shelfgate camera calibrate gives"),
    ] = ()


class CameraTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[camera]]``."""

    name: Name
    size_px: ImageSize
    floor_points: Annotated[
        tuple[tuple[Pixel, Pixel, Millimetres, Millimetres], ...],
        Meta(max_length=64, description="four points or more, each [px, py, x_mm, y_mm]"),
    ] = ()
    space_points: Annotated[
        tuple[tuple[Pixel, Pixel, Millimetres, Millimetres, Millimetres], ...],
        Meta(max_length=256, description="points, each [px, py, x_mm, y_mm, z_mm]"),
    ] = ()
    """For a camera with a lens: points that need not be on the floor."""
    position_mm: (
        Annotated[
            tuple[Millimetres, Millimetres, Millimetres],
            Meta(description="where the camera hangs; needed where it looks straight down"),
        ]
        | None
    ) = None
    lens: LensTable | None = None


Dictionary = Literal[
    "4X4_50",
    "4X4_100",
    "4X4_250",
    "5X5_50",
    "5X5_100",
    "5X5_250",
    "6X6_50",
    "6X6_100",
    "6X6_250",
    "APRILTAG_16H5",
    "APRILTAG_25H9",
    "APRILTAG_36H10",
    "APRILTAG_36H11",
    "ARUCO_MIP_36H12",
    "ARUCO_ORIGINAL",
]


class TagTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[tag]]``: on the floor by ``floor_mm``, or on a shelf's front by ``shelf``."""

    id: Annotated[int, Meta(ge=0, le=1023, description="the tag's number in its dictionary")]
    dictionary: Annotated[
        Dictionary, Meta(description="a family of tags, such as 4X4_50 or APRILTAG_36H11")
    ]
    size_mm: Size
    floor_mm: (
        Annotated[
            tuple[Millimetres, Millimetres], Meta(description="its middle on the floor: [x, y]")
        ]
        | None
    ) = None
    turn_deg: (
        Annotated[
            float,
            Meta(ge=-360, le=360, description="degrees from the store's x axis to its upper edge"),
        ]
        | None
    ) = None
    shelf: Annotated[str, Meta(description="the shelf on whose front it is upright")] | None = None
    offset_mm: (
        Annotated[
            float,
            Meta(ge=-1e5, le=1e5, description="mm from the front's start to its middle"),
        ]
        | None
    ) = None
    z_mm: Annotated[float, Meta(ge=0, le=1e4, description="its middle's height in mm")] | None = (
        None
    )


TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "product": ProductTable,
    "gondola": GondolaTable,
    "facing": FacingTable,
    "zone": ZoneTable,
    "scanner": ScannerTable,
    "door": DoorTable,
    "camera": CameraTable,
    "tag": TagTable,
    "in_store_number": NumberTable,
}
"""The tables that come many times, by their key."""
KEYS: Final = ("version", "include", "planogram", "store", *TABLES)
