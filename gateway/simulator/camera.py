# SPDX-License-Identifier: Apache-2.0
"""A live overhead camera: rendered pictures of the simulated shoppers, as MJPEG over HTTP.

Runs as a process of its own, so that painting never delays the shelves:
``python -m gateway.simulator.camera --store FILE --camera NAME --port N``. Bodies come in on
standard input, one JSON list a line; each line becomes a frame. Its end ends the process.
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from hashlib import blake2b
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET

from gateway.config import load_store
from gateway.domain.store import Camera, Store
from gateway.simulator.layout import Layout
from gateway.simulator.shoppers import Pose
from vision.calibration_pose import view_of
from vision.geometry import Camera as Pinhole
from vision.geometry import FloorView
from vision.jpeg import to_jpeg
from vision.rendering import Body, Colour, Gondola, Plate, Renderer, Scene
from vision.scenes import product_colour

BOUNDARY = b"shelfgate-frame"
FRAME_WAIT_S = 5.0
STOCK_MM = 150.0


def pinhole(camera: Camera) -> Pinhole:
    """Return the camera that sees the floor points where the store file says.

    Square pixels and a centred principal point are assumed; with the place known, the focal length
    is the one that makes the floor's axes and the line to the camera perpendicular.
    """
    if camera.lens is not UNSET:
        posed = view_of(camera)
        assert isinstance(posed, Pinhole)
        return posed
    view = FloorView.from_points(
        [point.px for point in camera.floor_points],
        [point.mm for point in camera.floor_points],
        size_wh=camera.size_px,
        position_mm=camera.position_mm,
    )
    width, height = camera.size_px
    shift = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    centred = shift @ view.homography
    place = view.position_mm

    def columns(focal: float) -> np.ndarray:
        found = np.diag([1 / focal, 1 / focal, 1.0]) @ centred
        return np.asarray(found / np.linalg.norm(found[:, 0]))

    def error(focal: float) -> float:
        r1, r2, translation = columns(focal).T
        away = -(r1 * place[0] + r2 * place[1] + np.cross(r1, r2) * place[2])
        return float(np.linalg.norm(away - translation) / place[2])

    focals = np.geomspace(0.2 * width, 5.0 * width, 400)
    low = high = int(np.argmin([error(focal) for focal in focals]))
    fine = np.linspace(focals[max(low - 1, 0)], focals[min(high + 1, 399)], 400)
    focal = float(fine[int(np.argmin([error(one) for one in fine]))])
    r1, r2, _ = columns(focal).T
    u, _, v = np.linalg.svd(np.column_stack([r1, r2, np.cross(r1, r2)]))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Pinhole(intrinsics, u @ v, place, camera.size_px)


def scene_of(store: Store) -> Scene:
    """Return a store's fixtures, stocked, in plain colours."""
    layout = Layout(store)
    gondolas: dict[str, tuple[tuple[float, float, float, float], list[float]]] = {}
    for shelf, box in zip(store.shelves, layout.boxes, strict=True):
        known = gondolas.get(shelf.gondola)
        around = box if known is None else _around(known[0], box)
        levels = [shelf.z_mm] if known is None else [*known[1], shelf.z_mm]
        gondolas[shelf.gondola] = (around, levels)
    plates = []
    for place in layout.plates:
        x0, y0, x1, y1 = place.box_mm
        inner = (x0 + 25, y0 + 25, x1 - 25, y1 - 25)
        stock = STOCK_MM if place.gtin else 0.0
        plates.append(Plate(inner, place.middle_mm[2], colour_of(place.gtin or ""), stock))
    return Scene(
        tuple(Gondola(box, tuple(sorted(set(levels)))) for box, levels in gondolas.values()),
        tuple(plates),
    )


def colour_of(gtin: str) -> Colour:
    """Return a product's colour."""
    seed = int.from_bytes(blake2b(gtin.encode(), digest_size=8).digest())
    return product_colour(np.random.default_rng(seed))


def body_of(pose: Pose) -> Body:
    """Return a pose as the renderer takes it."""
    left, right = (colour_of(gtin) if gtin else None for gtin in pose.held)
    return Body(
        floor_mm=pose.floor_mm,
        heading_rad=pose.heading_rad,
        height_mm=pose.height_mm,
        wrists_mm=pose.wrists_mm,
        look=pose.look,
        held=(left, right),
        stride_mm=pose.stride_mm,
    )


class Stream:
    """The newest frame, for any number of viewers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jpeg = b""
        self._number = 0
        self.viewers = 0

    def show(self, jpeg: bytes) -> None:
        """Replace the frame."""
        with self._changed:
            self._jpeg = jpeg
            self._number += 1
            self._changed.notify_all()

    def newer(self, than: int) -> tuple[int, bytes] | None:
        """Wait for a frame after number ``than``; None if there is none for a while."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._number > than, FRAME_WAIT_S):
                return None
            return self._number, self._jpeg

    def enter(self, change: int) -> None:
        """Count a viewer in or out."""
        with self._changed:
            self.viewers += change


class Server(ThreadingHTTPServer):
    """Serves one stream on loopback."""

    daemon_threads = True

    def __init__(self, port: int, stream: Stream) -> None:
        super().__init__(("127.0.0.1", port), Viewer)
        self.stream = stream

    def handle_error(self, request: object, client_address: object) -> None:
        """A viewer that hangs up is no error worth a traceback."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # narrower there


class Viewer(BaseHTTPRequestHandler):
    """One viewer: gets frames as they come, as ``multipart/x-mixed-replace``."""

    def do_GET(self) -> None:
        """Send frames until the viewer goes."""
        assert isinstance(self.server, Server)
        stream = self.server.stream
        self.send_response(HTTPStatus.OK)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        stream.enter(1)
        try:
            number = 0
            while (frame := stream.newer(number)) is not None:
                number, jpeg = frame
                head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                self.wfile.write(head % (BOUNDARY, len(jpeg)) + jpeg + b"\r\n")
        finally:
            stream.enter(-1)

    def log_message(self, *_: object) -> None:
        """Say nothing: requests are not news."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the camera's process; return its exit status."""
    parser = argparse.ArgumentParser(description="Serve a rendered camera as MJPEG on loopback.")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--camera", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    store = load_store(options.store)
    camera = next(one for one in store.cameras if one.name == options.camera)
    renderer = Renderer(pinhole(camera), scene_of(store))
    stream = Stream()
    try:
        server = Server(options.port, stream)
    except OSError as error:
        sys.stderr.write(
            f"camera {options.camera}: port {options.port} cannot be opened"
            f" ({error.strerror}). Choose a free port\n"
        )
        return 1
    threading.Thread(target=server.serve_forever, name="viewers", daemon=True).start()
    rng = np.random.default_rng(options.port)
    decoder = msgspec.json.Decoder(list[Pose])
    for line in sys.stdin.buffer:
        if stream.viewers:
            poses = decoder.decode(line)
            stream.show(to_jpeg(renderer.render([body_of(pose) for pose in poses], rng)))
    server.shutdown()
    return 0


def _around(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


if __name__ == "__main__":
    sys.exit(main())
