# SPDX-License-Identifier: Apache-2.0
"""The pictures of ``shelfgate camera view``: frames with what a detector finds drawn on them."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np

from gateway.camera_files import CameraFiles, fronts_of
from gateway.vision_link import worker_config
from vision.camera_tools.feed import CameraError, Feed
from vision.camera_tools.live import PageServer, Screen
from vision.detectors import Detector
from vision.flats import Image
from vision.framing import Framing, uncropped
from vision.overlay import Overlay, heading
from vision.placing import Placer
from vision.worker import detector_of

RATE_FRAMES = 30


def show_camera(
    files: CameraFiles, name: str, overlay: Overlay, server: PageServer, *, persons: bool
) -> int:
    """Serve pictures of a camera until interrupted; the exit status.

    Raises:
        CameraError: It gives no frames.
        ModelError: The model of the settings cannot be used.
    """
    table = files.vision.get(name) if persons else None
    detector: Detector | None = None
    if table is not None and table.model is None:
        sys.stderr.write(
            f"camera {name}: no model, so no persons are shown. Give model in its [[vision]] "
            "table, or --no-persons\n"
        )
    elif table is not None:
        assert files.store is not None, "the overlay is made of it"
        detector = detector_of(worker_config(table, files.store))
    framing = Framing(overlay.size_wh)
    if table is not None:
        framing = Framing(overlay.size_wh, table.resolution, table.crop, table.mask)
    placer = Placer(overlay.view, overlay.size_wh, fronts_of(files))
    serving = threading.Thread(target=server.serve_forever, name="viewers", daemon=True)
    screen = server.screen
    try:
        with files.feed(name) as feed:
            feed.newest()  # A camera that is away is told before anybody opens the page.
            serving.start()
            _show(feed, screen, partial(annotated, framing, detector, placer, overlay))
    except KeyboardInterrupt:
        return 0
    finally:
        screen.close()
        if serving.is_alive():
            server.shutdown()
    return 0


def _show(feed: Feed, screen: Screen, drawn: Callable[..., Image]) -> None:
    times: deque[float] = deque(maxlen=RATE_FRAMES)
    while True:
        watched = screen.wait_for_viewer()
        try:
            image = feed.newest()
        except CameraError:
            if feed.count and not watched:
                continue
            raise
        if not watched:
            times.clear()
            continue
        times.append(time.monotonic())
        rate = (len(times) - 1) / max(times[-1] - times[0], 1e-3)
        screen.show(drawn(image, rate=rate))


def annotated(
    framing: Framing,
    detector: Detector | None,
    placer: Placer,
    overlay: Overlay,
    image: Image,
    *,
    rate: float,
) -> Image:
    """Return a frame with what is in it; black where the camera's crop and mask hide it.

    Args:
        framing: What of the frame the worker looks at.
        detector: Of persons; None draws nobody.
        placer: The camera's.
        overlay: Floor and shelves.
        image: ``(h, w, 3)`` BGR.
        rate: Frames a second, 0 where that is not known yet.
    """
    cut = framing.cut(image)
    shown = np.zeros((cut.size_wh[1], cut.size_wh[0], 3), dtype=np.uint8)
    (x, y), (height, width) = cut.origin_px, cut.image.shape[:2]
    shown[y : y + height, x : x + width] = cut.image
    overlay.floor(shown)
    overlay.shelves(shown)
    words = f"{shown.shape[1]} x {shown.shape[0]}"
    if rate > 0.0:
        words += f", {rate:.1f} frames a second"
    if detector is not None:
        found = uncropped(detector.detect(cut.image), cut.origin_px)
        overlay.persons(shown, found, placer)
        words += f", persons: {len(found)}"
    heading(shown, words)
    return shown
