# SPDX-License-Identifier: Apache-2.0
"""``shelfgate camera``: list, snapshot, view, delay, board, calibrate. What an installer does."""

import argparse
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gateway.camera_calibrate import add_calibrate, run_board, run_calibrate, say
from gateway.camera_delay import add_delay, run_delay
from gateway.camera_files import (
    CameraFiles,
    fronts_of,
    in_words,
    of_shape,
    page_at,
    points_mm_of,
    size_of,
)
from gateway.domain.store import Camera
from vision.boards import DEFAULT, BoardError
from vision.calibration_pose import fit_view, view_of
from vision.camera_tools.devices import find_devices
from vision.camera_tools.feed import CameraError, measure, write_picture
from vision.camera_tools.live import PageServer, Screen
from vision.detectors import ModelError
from vision.geometry import CalibrationError
from vision.overlay import Overlay, area_of
from vision.scaling import shrunk

HELP_WIDTH = 78
MEASURE_S = 2.0
SETTLE_S = 1.0
"""A camera that has just been opened finds its exposure in this time."""
PORT = 8088


def add_parsers(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands to a parser; each sets ``run``, which takes the parsed arguments."""
    listing = _command(
        commands,
        "list",
        "Show USB cameras by names that stay the same, and the cameras of the settings: whether "
        "each gives frames, their size and how many a second, and what to do where the size is not "
        "size_px.",
        "shelfgate camera list --settings settings.toml --store store.toml",
        run_list,
    )
    _add_files(listing, required=False)
    snapshot = _command(
        commands,
        "snapshot",
        "Write one picture of a camera to a file, in the size of size_px where it has its shape; "
        "--overlay draws the floor's grid and the shelves where the store file has them. Nothing "
        "else of shelfgate writes pictures.",
        "shelfgate camera snapshot ceiling --settings settings.toml --store store.toml "
        "--output ceiling.png --overlay",
        run_snapshot,
    )
    _add_camera(snapshot)
    snapshot.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE", help="a .png or .jpg file"
    )
    snapshot.add_argument("--overlay", action="store_true", help="draw floor grid and shelves")
    view = _command(
        commands,
        "view",
        "Show a camera live on a page of this machine, with persons, wrists, floor grid, shelf "
        "fronts and frame rate. Pictures stay in memory. Ctrl-C ends it.",
        "shelfgate camera view ceiling --settings settings.toml --store store.toml",
        run_view,
    )
    _add_camera(view)
    view.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    view.add_argument("--port", type=int, default=PORT, help="its port (%(default)s)")
    view.add_argument("--no-persons", action="store_true", help="run no model")
    delay = _command(
        commands,
        "delay",
        "Measure how late a camera's frames arrive, for delay_ms in its table: a page flashes on "
        "a phone that is held before the camera.",
        "shelfgate camera delay ceiling --settings settings.toml --store store.toml",
        run_delay,
    )
    _add_camera(delay)
    add_delay(delay)
    _add_calibration(commands)


def _add_calibration(commands: "argparse._SubParsersAction[Any]") -> None:
    board = _command(
        commands,
        "board",
        "Make the ChArUco board for camera calibrate: a PNG to print at 100 %%, glued to "
        "something flat. Measure a square afterwards and give that size to calibrate.",
        f"shelfgate camera board --board {DEFAULT} --output board.png",
        run_board,
    )
    board.add_argument(
        "--board", default=DEFAULT, metavar="COLUMNSxROWSxMM", help="squares (%(default)s: A4)"
    )
    board.add_argument("--output", "-o", type=Path, required=True, metavar="FILE", help="a PNG")
    calibrate = _command(
        commands,
        "calibrate",
        "Find a camera's lens from a board shown to it (--board), or its place from tags of the "
        "store file (--tags) or from points on the floor (--point, or those of the store file). "
        "Says how far each point is off in mm; --write puts the result into the store file.",
        (
            (
                "shelfgate camera calibrate ceiling --settings settings.toml --store store.toml "
                f"--board {DEFAULT} --write"
            ),
            (
                "shelfgate camera calibrate ceiling --settings settings.toml --store store.toml "
                "--tags --picture check.png --write"
            ),
            (
                "shelfgate camera calibrate ceiling --store store.toml --from still.png "
                "--picture check.png"
            ),
        ),
        run_calibrate,
    )
    _add_camera(calibrate)
    add_calibrate(calibrate)


def run(command: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a command; what an installer can remedy is told in a line."""
    try:
        return command(args)
    except BoardError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (CameraError, CalibrationError, ModelError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def run_list(args: argparse.Namespace) -> int:
    """List the machine's and the settings' cameras."""
    devices = find_devices()
    say(f"USB cameras of this machine: {len(devices) or 'none'}")
    for device in devices:
        say(f"  {device.path}  {device.label}")
        for name in (*device.by_id, *device.by_path):
            say(f"    {name}")
    if args.settings is None:
        return 0
    files = CameraFiles.read(args)
    bad = 0
    say(f"cameras of {args.settings}: {len(files.urls) or 'none'}")
    for name in files.urls:
        known = files.find(name)
        about = "not in the store file" if known is None else _calibrated(files, name)
        try:
            size_wh, rate = measure(files.feed(name), MEASURE_S)
        except CameraError as error:
            bad += 1
            say(f"  {name}: no frames, {about}\n    {error}")
            continue
        say(f"  {name}: {in_words(size_wh)}, {rate:.1f} frames a second, {about}")
        if known is not None and size_wh != known.size_px:
            bad += not of_shape(known, size_wh)
            say(f"    {_sized(known, size_wh)}")
    return 1 if bad else 0


def _sized(camera: Camera, size_wh: tuple[int, int]) -> str:
    """Return what to do about a picture's size that is not ``size_px``."""
    told = f"size_px is {in_words(camera.size_px)}"
    if of_shape(camera, size_wh):
        return (
            f"{told}, of the same shape: frames are scaled to it. Read points off the picture "
            "that camera snapshot writes"
        )
    remedy = f"Write size_px = [{size_wh[0]}, {size_wh[1]}] and calibrate again"
    return f"{told}, another shape. {remedy}, or correct the camera's mode"


def _calibrated(files: CameraFiles, name: str) -> str:
    camera = files.camera(name)
    try:
        fit = fit_view(camera)
    except CalibrationError as error:
        return f"not calibrated ({error})"
    kind = "lens and points" if camera.lens else "floor points"
    return f"calibrated by {kind}" + (f" to {fit.rms_mm:.0f} mm" if fit.spare > 0 else "")


def run_snapshot(args: argparse.Namespace) -> int:
    """Write one picture."""
    files = CameraFiles.read(args)
    camera = files.camera(args.name)
    overlay = _overlay(files, args.name) if args.overlay else None
    with files.feed(args.name) as feed:
        began_s, image = time.monotonic(), feed.newest()
        while time.monotonic() - began_s < SETTLE_S:
            try:
                image = feed.newest()
            except CameraError:
                break  # A file of one frame; that frame is there.
    given = size_of(image)
    if of_shape(camera, given) and given != camera.size_px:
        image = shrunk(image, camera.size_px)
    if overlay is not None:
        overlay.floor(image)
        overlay.shelves(image)
    write_picture(args.output, image)
    told = f"{args.output}: {in_words(size_of(image))} pixels of camera {args.name}"
    if not of_shape(camera, given):
        say(f"{told}. These pixels are not size_px: {_sized(camera, given)}")
    elif given != camera.size_px:
        say(f"{told}, scaled from {in_words(given)} to size_px: points are read off here")
    else:
        say(told)
    return 0


def run_view(args: argparse.Namespace) -> int:
    """Serve a camera's page until interrupted."""
    from gateway.camera_view import show_camera  # noqa: PLC0415 - it needs the model's runtime

    files = CameraFiles.read(args)
    overlay = _overlay(files, args.name)
    screen = Screen()
    server = page_at(partial(PageServer, name=args.name, screen=screen), args.host, args.port)
    with server:
        host, port = server.server_address[:2]
        say(f"http://{host!s}:{port}/ shows camera {args.name}; Ctrl-C ends it")
        if not str(host).startswith("127."):
            sys.stderr.write("whoever reaches this address sees the camera\n")
        return show_camera(files, args.name, overlay, server, persons=not args.no_persons)


def _overlay(files: CameraFiles, name: str) -> Overlay:
    camera = files.camera(name)
    fronts = fronts_of(files)
    area = area_of(fronts, [point[:2] for point in points_mm_of(camera)])
    return Overlay(view_of(camera), camera.size_px, fronts, area)


def _command(
    commands: "argparse._SubParsersAction[Any]",
    name: str,
    purpose: str,
    example: str | tuple[str, ...],
    command: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    examples = (example,) if isinstance(example, str) else example
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose.partition(". ")[0].removesuffix("."),
        description=textwrap.fill(purpose, HELP_WIDTH).replace("%%", "%"),
        epilog="\n  ".join(("Example:" if len(examples) == 1 else "Examples:", *examples)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=lambda args: run(command, args))
    return parser


def _add_files(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the operator's settings")
    parser.add_argument(
        "--store", type=Path, required=required, metavar="FILE", help="the installer's store file"
    )


def _add_camera(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the camera's name in the store file")
    _add_files(parser, required=True)
    parser.add_argument(
        "--url", help="what OpenCV opens, in place of the settings' [[vision]] table"
    )
