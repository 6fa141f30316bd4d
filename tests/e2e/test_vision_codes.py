# SPDX-License-Identifier: Apache-2.0
"""``shelfgate vision``: a camera and the scanner that it is as well, each with a will."""

import json
import resource
from pathlib import Path

import cv2
import pytest

from gateway.domain.store import Camera, FloorPoint, Scanner, Store, Zone
from gateway.simulator.store_files import write_store
from tests.e2e.helpers import Peer, Program, closed, outside_broker
from tests.vision.test_codes import SIZE_WH, drawn
from tests.vision.test_vision_worker import POINTS

pytest.importorskip("zxingcpp")
MODELS = Path(__file__).parents[2] / "fixtures" / "model"
ROOT = "shelfgate/v1/demo"


def film(path):
    """Write a clip of a second that shows a code."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, SIZE_WH)
    for _ in range(10):
        writer.write(drawn("a.b.c", scale=4))
    writer.release()


def test_what_a_camera_reads_is_a_scan_and_both_are_lost_with_the_process(tmp_path):
    clip, store, settings = (tmp_path / name for name in ("clip.mp4", "store.toml", "s.toml"))
    film(clip)
    points = tuple(FloorPoint(px=point[:2], mm=point[2:]) for point in POINTS)
    camera = Camera(name="top", size_px=SIZE_WH, floor_points=points, position_mm=(0, 0, 3_200.0))
    zone = Zone(name="in", kind="entry", x_mm=(-100.0, 100.0), y_mm=(-100.0, 100.0))
    write_store(
        store,
        Store(
            name="demo",
            products={},
            shelves=(),
            cameras=(camera,),
            zones=(zone,),
            scanners=(Scanner(name="gate", zone="in", door="front"),),
            doors=("front",),
        ),
    )
    with (
        outside_broker(tmp_path, "instore") as broker,
        closed(Peer(broker.port, f"{ROOT}/scanner/#", f"{ROOT}/camera/top/status")) as peer,
    ):
        settings.write_text(
            'gateway = "gw-1"\ndatabase = "gateway.db"\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\nprotocol = 4\n'
            f'[[vision]]\ncamera = "top"\nurl = "{clip}"\nmodel = "{MODELS / "people.onnx"}"\n'
            f'hands = "{MODELS / "hands.onnx"}"\n'
            'codes = { scanner = "gate", region = [250, 30, 250, 250] }\n'
        )
        files = ("--settings", settings, "--store", store)
        program = Program(tmp_path, "vision", "-m", "gateway.cli", "vision", *files).start()
        try:

            def told(leaf):
                return [json.loads(one[2]) for one in peer.messages if one[1] == f"{ROOT}/{leaf}"]

            [scan] = peer.wait(lambda: told("scanner/gate/scan")[:1], "a scan")
            assert (scan["text"], scan["aim"], scan["seq"]) == ("a.b.c", "]Q1", 0)
            assert resource.prlimit(program.pid, resource.RLIMIT_CORE) == (0, 0)
            assert "online" in [one["state"] for one in told("scanner/gate/status")]
            program.kill()
            for device in ("scanner/gate", "camera/top"):
                peer.wait(lambda d=device: told(f"{d}/status")[-1]["state"] == "offline", device)
            assert len(told("scanner/gate/scan")) == 1
        finally:
            program.kill()
    assert "Traceback" not in program.words()
