# SPDX-License-Identifier: Apache-2.0
"""``shelfgate camera delay``: how late a camera's frames arrive, seen from a page that flashes."""

import argparse
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial

from gateway.camera_calibrate import say
from gateway.camera_files import CameraFiles, page_at
from vision.camera_tools.delay import Flashes, FlashServer, measured
from vision.camera_tools.feed import Feed
from vision.flats import Image

PORT = 8089
SECONDS = 20.0


def add_delay(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate camera delay`` takes, beside the camera."""
    parser.add_argument(
        "--host",
        default="0.0.0.0",  # noqa: S104 - a phone has to reach it, for as long as it is measured
        help="address of the page (%(default)s: all)",
    )
    parser.add_argument("--port", type=int, default=PORT, help="its port (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="how long to look (%(default)s)"
    )


def run_delay(args: argparse.Namespace) -> int:
    """Let a page flash and a camera look at it; say how much later its frames arrive."""
    files = CameraFiles.read(args)
    files.camera(args.name)
    flashes = Flashes(secrets.randbits(32))
    server = page_at(partial(FlashServer, flashes=flashes), args.host, args.port)
    with server:
        threading.Thread(target=server.serve_forever, name="page", daemon=True).start()
        try:
            say(
                f"Open http://ADDRESS-OF-THIS-MACHINE:{server.server_address[1]}/ on a phone, at "
                f"full brightness, and hold it before camera {args.name}. Enter begins."
            )
            sys.stdin.readline()
            with files.feed(args.name) as feed:
                found = measured(args.name, _frames(feed, args.seconds), flashes)
        except KeyboardInterrupt:
            return 130
        finally:
            server.shutdown()
    say(
        f"{found.frames} frames, agreement {found.alike:.2f}. In the camera's [[vision]] table, "
        f"less what the phone's screen takes (some 30 ms):\ndelay_ms = {found.ms:.0f}"
    )
    return 0


def _frames(feed: Feed, seconds: float) -> Iterator[tuple[float, Image]]:
    """Yield a camera's frames with their times of arrival, for so long."""
    feed.newest()  # Opening takes its time, and what waited at a stream's opening is old.
    began_s = time.monotonic()
    while time.monotonic() - began_s < seconds:
        image = feed.newest()
        yield feed.arrived_s, image
