# SPDX-License-Identifier: Apache-2.0
"""``shelfgate camera calibrate`` and ``board``: a camera's lens and place, as TOML."""

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET

from gateway.camera_files import CameraFiles, check_shape, fronts_of, in_words, of_shape, size_of
from gateway.domain.store import Camera, FloorPoint, SpacePoint, Tag
from gateway.store_edit import write_camera_keys
from vision.boards import Board
from vision.calibration import (
    LensFit,
    Sighting,
    calibrate_lens,
    distinct,
    find_board,
    missing_places,
)
from vision.calibration_pose import ViewFit, fit_view, unposed
from vision.calibration_tags import find_tags, points_of, steady
from vision.camera_tools.feed import CameraError, read_frames, write_bytes, write_picture
from vision.flats import Image
from vision.geometry import CalibrationError
from vision.overlay import Overlay, area_of

VIEWS_WANTED = 25
LOOK_EVERY_S = 0.4
SECONDS = 180.0
TAG_FRAMES = 15
NUMBERS = 4, 5


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``calibrate``, but for the camera and the files."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--board", metavar="COLUMNSxROWSxMM", help="find the lens from this board, as measured"
    )
    how.add_argument(
        "--tags", action="store_true", help="find the place from the store file's [[tag]] tables"
    )
    how.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="PX,PY,X,Y[,Z]",
        help="a pixel and its place in mm; four times or more, in place of the store file's",
    )
    parser.add_argument(
        "--from",
        dest="sources",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="pictures or videos, in place of the live camera",
    )
    parser.add_argument(
        "--wide", action="store_true", help="of --board: a lens that sees more than 100 degrees"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="of --board: how long to watch the camera (%(default)g)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="draw floor grid, shelves and points over a frame, as .png or .jpg",
    )
    parser.add_argument("--write", action="store_true", help="write the result into the store file")


def run_board(args: argparse.Namespace) -> int:
    """Write the board's picture."""
    board = Board.parse(args.board)
    if args.output.suffix.lower() != ".png":
        raise CameraError(f"{args.output}: is no PNG's name. Give one that ends in .png")
    write_bytes(args.output, board.png())
    width, height = board.size_mm
    say(
        f"{args.output}: {board.columns} x {board.rows} squares of {board.square_mm:g} mm, "
        f"{width:g} x {height:g} mm and a margin. Print at 100 %, then measure"
    )
    return 0


def run_calibrate(args: argparse.Namespace) -> int:
    """Calibrate one camera."""
    files = CameraFiles.read(args)
    camera = files.camera(args.name)
    if args.board is not None:
        return _lens(args, files)
    image: Image | None = None
    if args.tags:
        frames = list(_frames(args, files, TAG_FRAMES))
        image = frames[-1]
        camera = _by_tags(camera, frames, files)
    elif args.point:
        camera = _by_points(camera, args.point)
    before_writing = args.point and args.write and args.name in files.urls
    if not args.tags and (args.sources or before_writing):
        image = _look(args, files, camera)
    fit = fit_view(camera)
    _tell(camera, fit)
    if args.picture is not None:
        if image is None:
            image = _look(args, files, camera)
        _draw(args.picture, image, camera, fit, files)
    if args.tags or args.point:
        keys = _point_keys(camera)
        _give(args, camera.name, keys)
    return 0


def _lens(args: argparse.Namespace, files: CameraFiles) -> int:
    board = Board.parse(args.board)
    camera = files.camera(args.name)
    if args.sources:
        sightings, looked = [], 0
        for path in args.sources:
            for image in read_frames(path):
                looked += 1
                seen = find_board(image, board)
                if seen is not None:
                    sightings.append(seen)
        if not sightings:
            raise CalibrationError(
                f"board {board}: not seen in any of {looked} pictures. Check --board, light and "
                "focus; half of the board has to be in view"
            )
        say(f"board {board}: seen in {len(sightings)} of {looked} pictures")
    else:
        sightings = _watch(args, files, board)
    fit = calibrate_lens(sightings, board, wide=args.wide)
    if not of_shape(camera, fit.size_wh):
        raise CameraError(
            f"camera {camera.name}: pictures of {in_words(fit.size_wh)}, but size_px "
            f"says {in_words(camera.size_px)}. Correct size_px, or the pictures"
        )
    say(
        f"lens: {fit.views} views, {fit.field_deg:.0f} degrees across, corners fit to "
        f"{fit.rms_px:.2f} pixels, focal length known to {100 * fit.focal_sigma:.2f} %"
    )
    _give(args, camera.name, {"lens": lens_toml(fit)})
    return 0


def _watch(args: argparse.Namespace, files: CameraFiles, board: Board) -> list[Sighting]:
    """Look for the board in a live camera until it was everywhere."""
    kept: list[Sighting] = []
    sys.stderr.write(f"show board {board} to the camera: near and far, everywhere, tilted\n")
    with files.feed(args.name) as feed:
        end_s = time.monotonic() + args.seconds
        next_s = 0.0
        while time.monotonic() < end_s:
            try:
                image = feed.newest()
            except CameraError:
                if not kept:
                    raise
                break  # What was seen until then may do.
            if time.monotonic() < next_s:
                continue
            next_s = time.monotonic() + LOOK_EVERY_S
            seen = find_board(image, board)
            if seen is None or len(distinct([*kept, seen])) == len(kept):
                continue
            kept.append(seen)
            missing = missing_places(kept, seen.size_wh)
            where = f"; not yet in the {', '.join(missing)}" if missing else ""
            sys.stderr.write(f"{len(kept)} of {VIEWS_WANTED} views{where}\n")
            if len(kept) >= VIEWS_WANTED and not missing:
                break
    if not kept:
        raise CalibrationError(
            f"board {board}: not seen in {args.seconds:g} s. Check --board, light and focus; half "
            "of the board has to be in view"
        )
    return kept


def _frames(args: argparse.Namespace, files: CameraFiles, count: int) -> Iterator[Image]:
    """Yield up to so many frames: of the files given, else of the live camera."""
    if args.sources:
        given = 0
        for path in args.sources:
            for image in read_frames(path):
                yield image
                given += 1
                if given == count:
                    return
        return
    with files.feed(args.name) as feed:
        yield feed.newest()
        for _ in range(count - 1):
            try:
                image = feed.newest()
            except CameraError:
                return
            yield image


def _by_tags(camera: Camera, frames: Sequence[Image], files: CameraFiles) -> Camera:
    """Return the camera with the points of the tags that its frames show."""
    tags: tuple[Tag, ...] = () if files.store is None else files.store.tags or ()
    if not tags:
        raise CameraError("tags: none in the store file. Add [[tag]] tables with their places")
    check_shape(camera, size_of(frames[-1]))
    seen = steady(find_tags(image, tags) for image in frames)
    height, width = frames[-1].shape[:2]
    scale = camera.size_px[0] / width, camera.size_px[1] / height
    # Pixels' middles are whole numbers.
    rings = {key: (ring + 0.5) * scale - 0.5 for key, ring in seen.items()}
    lens = None if camera.lens is UNSET else unposed(camera.lens, camera.size_px)
    points = points_of(tags, rings, lens)
    unseen = [tag for tag in tags if (tag.dictionary, tag.id) not in seen]
    for tag in unseen:
        say(f"tag {tag.id} of {tag.dictionary}: not seen")
    used = {(tag.dictionary, tag.id) for tag in points.tags}
    for key in sorted(set(seen) - used):
        say(f"tag {key[1]} of {key[0]}: on a shelf, which counts only for a camera with a lens")
    if len(points.px) < 4:
        raise CalibrationError(
            f"tags: {len(used)} seen that count, which give {len(points.px)} of 4 points. Put up "
            "more tags, nearer or larger ones, or give turn_deg of those on the floor"
        )
    if lens is None:
        floor = tuple(
            FloorPoint(px=(float(px[0]), float(px[1])), mm=(float(mm[0]), float(mm[1])))
            for px, mm in zip(points.px, points.mm, strict=True)
        )
        return msgspec.structs.replace(camera, floor_points=floor, space_points=UNSET)
    space = tuple(
        SpacePoint(px=(float(px[0]), float(px[1])), mm=(float(mm[0]), float(mm[1]), float(mm[2])))
        for px, mm in zip(points.px, points.mm, strict=True)
    )
    return msgspec.structs.replace(camera, floor_points=(), space_points=space)


def _by_points(camera: Camera, words: Sequence[str]) -> Camera:
    floor: list[FloorPoint] = []
    space: list[SpacePoint] = []
    for text in words:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in NUMBERS or not all(map(math.isfinite, numbers)):
            raise CameraError(f"--point {text}: not PX,PY,X,Y or PX,PY,X,Y,Z. Give these numbers")
        px, mm = (numbers[0], numbers[1]), numbers[2:]
        if not (0 <= px[0] <= camera.size_px[0] and 0 <= px[1] <= camera.size_px[1]):
            raise CameraError(f"--point {text}: outside the image. Check size_px and the point")
        if len(mm) == 2 or mm[2] == 0.0:
            floor.append(FloorPoint(px=px, mm=(mm[0], mm[1])))
        else:
            space.append(SpacePoint(px=px, mm=(mm[0], mm[1], mm[2])))
    if space and camera.lens is UNSET:
        raise CameraError(
            f"camera {camera.name}: has no lens, so points above the floor do not count. "
            "Calibrate it with --board first, or give points on the floor"
        )
    return msgspec.structs.replace(
        camera, floor_points=tuple(floor), space_points=tuple(space) or UNSET
    )


def _tell(camera: Camera, fit: ViewFit) -> None:
    for px, mm, error_px, error_mm in zip(
        fit.points_px, fit.points_mm, fit.errors_px, fit.errors_mm, strict=True
    ):
        place = ", ".join(f"{value:.0f}" for value in mm)
        say(
            f"  pixel [{px[0]:.1f}, {px[1]:.1f}] at [{place}] mm: off by "
            f"{error_mm:.1f} mm ({error_px:.2f} pixels)"
        )
    place = ", ".join(f"{value:.0f}" for value in fit.view.position_mm)
    say(f"camera {camera.name}: at [{place}] mm; points are off by {fit.rms_mm:.1f} mm (rms)")
    if fit.spare <= 0:
        say("with so few points every view fits: give more of them to see how good it is")


def _look(args: argparse.Namespace, files: CameraFiles, camera: Camera) -> Image:
    """Return a frame, which is of the shape that points are given in."""
    image = next(_frames(args, files, 1))
    check_shape(camera, size_of(image))
    if size_of(image) != camera.size_px:
        say(
            f"camera {camera.name}: gives {in_words(size_of(image))}; points count in pixels of "
            f"size_px, {in_words(camera.size_px)}, to which camera snapshot scales its picture"
        )
    return image


def _draw(path: Path, image: Image, camera: Camera, fit: ViewFit, files: CameraFiles) -> None:
    fronts = fronts_of(files)
    area = area_of(fronts, fit.points_mm[:, :2])
    overlay = Overlay(fit.view, camera.size_px, fronts, area)
    shown = image.copy()
    overlay.floor(shown)
    overlay.shelves(shown)
    overlay.points(shown, fit)
    write_picture(path, shown)
    say(f"{path}: floor grid of 500 mm, shelves and points over the camera's picture")


def lens_toml(fit: LensFit) -> str:
    """Return a lens as the store file's ``lens``."""
    width, height = fit.size_wh
    parts = [
        f"size_px = [{width}, {height}]",
        f"focal_px = [{fit.focal_px[0]:.3f}, {fit.focal_px[1]:.3f}]",
        f"centre_px = [{fit.centre_px[0]:.3f}, {fit.centre_px[1]:.3f}]",
        f"distortion = [{', '.join(f'{part:.8f}' for part in fit.distortion)}]",
    ]
    return f"{{ {', '.join(parts)} }}"


def _point_keys(camera: Camera) -> dict[str, str | None]:
    floor = [(*point.px, *point.mm) for point in camera.floor_points]
    space = [(*point.px, *point.mm) for point in camera.space_points or ()]
    return {
        "floor_points": _rows(floor) if floor else None,
        "space_points": _rows(space) if space else None,
    }


def _rows(points: Sequence[tuple[float, ...]]) -> str:
    rows = "".join(
        "    ["
        + ", ".join(
            f"{value:.2f}" if index < 2 else f"{value:.1f}" for index, value in enumerate(point)
        )
        + "],\n"
        for point in points
    )
    return f"[\n{rows}]"


def _give(args: argparse.Namespace, name: str, keys: dict[str, str | None]) -> None:
    """Print the result as TOML, or write it into the store file."""
    if args.write:
        path = write_camera_keys(args.store, name, keys)
        say(f"{path}: camera {name} has its new {' and '.join(k for k, v in keys.items() if v)}")
        return
    say(f"# for [[camera]] {name} in {args.store}:")
    for key, value in keys.items():
        if value is not None:
            say(f"{key} = {value}")


def say(words: str) -> None:
    """Print a line at once: a program may read it through a pipe."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()
