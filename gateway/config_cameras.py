# SPDX-License-Identifier: Apache-2.0
"""The store file's cameras and tags: their tables, read and checked."""

import math
from collections.abc import Sequence

from msgspec import UNSET

from gateway.config_rules import degenerate
from gateway.config_tables import CameraTable, LensTable, TagTable
from gateway.config_toml import Problems, Where
from gateway.domain import store as domain

DISTORTION_COUNTS = (0, 4, 5, 8)
SHAPE_SLACK = 0.005
"""How much two images' shapes may differ: sizes are whole pixels."""
TAG_IDS = {
    "4X4_50": 50,
    "4X4_100": 100,
    "4X4_250": 250,
    "5X5_50": 50,
    "5X5_100": 100,
    "5X5_250": 250,
    "6X6_50": 50,
    "6X6_100": 100,
    "6X6_250": 250,
    "APRILTAG_16H5": 30,
    "APRILTAG_25H9": 35,
    "APRILTAG_36H10": 2320,
    "APRILTAG_36H11": 587,
    "ARUCO_MIP_36H12": 250,
    "ARUCO_ORIGINAL": 1024,
}
"""How many tags each dictionary has."""


def camera_of(where: Where, table: CameraTable, problems: Problems) -> domain.Camera:
    """Return a camera; what is wrong with it is noted."""
    for key, pixels in (
        ("floor_points", [point[:2] for point in table.floor_points]),
        ("space_points", [point[:2] for point in table.space_points]),
    ):
        for index, (px, py) in enumerate(pixels):
            if not (0 <= px <= table.size_px[0] and 0 <= py <= table.size_px[1]):
                place = where.at(key, index)
                problems.add(place, "is outside the image", "Check size_px and the point")
    if table.space_points and table.lens is None:
        remedy = "Run shelfgate camera calibrate with a board, or give floor_points alone"
        problems.add(where.at("space_points"), "need the camera's lens", remedy)
    elif table.space_points:
        _check_space(where, table, problems)
    else:
        _check_floor(where, table, problems)
    lens = None if table.lens is None else _lens(where.at("lens"), table, table.lens, problems)
    return domain.Camera(
        name=table.name,
        size_px=table.size_px,
        floor_points=tuple(
            domain.FloorPoint(px=point[:2], mm=point[2:]) for point in table.floor_points
        ),
        position_mm=table.position_mm,
        lens=lens or UNSET,
        space_points=tuple(
            domain.SpacePoint(px=point[:2], mm=point[2:]) for point in table.space_points
        )
        or UNSET,
    )


def _check_floor(where: Where, table: CameraTable, problems: Problems) -> None:
    points, at = table.floor_points, where.at("floor_points")
    if len(points) < 4:
        problem = f"has {len(points)} points" if points else "missing"
        problems.add(at, problem, "Give four or more, each [px, py, x_mm, y_mm]")
    elif degenerate([point[:2] for point in points]) or degenerate([point[2:] for point in points]):
        remedy = "Spread them over the floor; no three of four may be in line"
        problems.add(at, "lie on a line", remedy)


def _check_space(where: Where, table: CameraTable, problems: Problems) -> None:
    pixels = [point[:2] for point in table.floor_points]
    pixels += [point[:2] for point in table.space_points]
    at = where.at("space_points")
    if len(pixels) < 4:
        problem = f"with floor_points are {len(pixels)} points"
        problems.add(at, problem, "Give four or more together")
    elif degenerate(pixels):
        problems.add(at, "lie on a line", "Spread them over the view")


def _lens(where: Where, table: CameraTable, lens: LensTable, problems: Problems) -> domain.Lens:
    wide, high = (size / other for size, other in zip(table.size_px, lens.size_px, strict=True))
    if abs(wide / high - 1.0) > SHAPE_SLACK:
        problem = (
            f"{_size(lens.size_px)} has another shape than the camera's {_size(table.size_px)}"
        )
        remedy = "Calibrate the lens in the mode that the camera runs in"
        problems.add(where.at("size_px"), problem, remedy)
    if len(lens.distortion) not in DISTORTION_COUNTS:
        problem = f"has {len(lens.distortion)} coefficients"
        problems.add(where.at("distortion"), problem, "Give 5, or 8 of a wide lens")
    if not all(0 <= at <= size for at, size in zip(lens.centre_px, lens.size_px, strict=True)):
        problems.add(where.at("centre_px"), "is outside the image", "Check size_px, or calibrate")
    return domain.Lens(
        size_px=lens.size_px,
        focal_px=lens.focal_px,
        centre_px=lens.centre_px,
        distortion=lens.distortion,
    )


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"


def tag_of(
    where: Where, table: TagTable, shelves: Sequence[domain.Shelf], problems: Problems
) -> domain.Tag | None:
    """Return a tag with its place worked out; None when it has none, which is noted.

    Args:
        where: The table's place.
        table: As written.
        shelves: Those of the store; a name that is not among them is noted by the caller.
        problems: Takes what is wrong.
    """
    if table.id >= TAG_IDS[table.dictionary]:
        remedy = f"Give 0 to {TAG_IDS[table.dictionary] - 1}, or another dictionary"
        problems.add(where.at("id"), f"{table.dictionary} has no tag {table.id}", remedy)
    floor, upright = table.floor_mm is not None, table.shelf is not None
    if floor == upright:
        remedy = "Give floor_mm for one on the floor, or shelf, offset_mm and z_mm"
        problems.add(where, "needs one place", remedy)
        return None
    if table.floor_mm is not None:
        return _on_floor(where, table, table.floor_mm, problems)
    return _on_shelf(where, table, shelves, problems)


def _on_floor(
    where: Where, table: TagTable, floor_mm: tuple[float, float], problems: Problems
) -> domain.Tag:
    for key in ("offset_mm", "z_mm"):
        if getattr(table, key) is not None:
            problems.add(where.at(key), "is of a tag on a shelf", "Remove it, or floor_mm")
    right = down = None
    if table.turn_deg is not None:
        turn = math.radians(table.turn_deg)
        right = (math.cos(turn), math.sin(turn), 0.0)
        down = (math.sin(turn), -math.cos(turn), 0.0)
    return _tag(table, (*floor_mm, 0.0), right, down)


def _on_shelf(
    where: Where, table: TagTable, shelves: Sequence[domain.Shelf], problems: Problems
) -> domain.Tag | None:
    if table.turn_deg is not None:
        problems.add(where.at("turn_deg"), "is of a tag on the floor", "Remove it, or shelf")
    for key in ("offset_mm", "z_mm"):
        if getattr(table, key) is None:
            problems.add(where.at(key), "missing", "Give the place of the tag's middle")
    shelf = next((one for one in shelves if one.name == table.shelf), None)
    if shelf is None or table.offset_mm is None or table.z_mm is None:
        return None
    x0, y0, x1, y1 = shelf.front_mm
    length = math.hypot(x1 - x0, y1 - y0)
    if length == 0.0:
        return None
    along = ((x1 - x0) / length, (y1 - y0) / length, 0.0)
    x, y = (start + table.offset_mm * part for start, part in zip((x0, y0), along, strict=False))
    return _tag(table, (x, y, table.z_mm), along, (0.0, 0.0, -1.0))


def _tag(
    table: TagTable,
    centre_mm: tuple[float, float, float],
    right: tuple[float, float, float] | None,
    down: tuple[float, float, float] | None,
) -> domain.Tag:
    return domain.Tag(
        id=table.id,
        dictionary=table.dictionary,
        size_mm=table.size_mm,
        centre_mm=centre_mm,
        right=right,
        down=down,
    )
