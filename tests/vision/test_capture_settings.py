# SPDX-License-Identifier: Apache-2.0
"""Settings of a camera's capture, from the file to the worker, and their mistakes."""

import msgspec
import pytest

from gateway.config_settings import read_settings
from gateway.config_vision import Vision
from gateway.domain.store import Camera, FloorPoint, Store
from gateway.vision_link import check_vision, worker_config
from tests.vision.test_vision_worker import POINTS, config
from vision.worker import Worker

HEAD = 'gateway = "gw-1"\ndatabase = "gateway.db"\n\n[[vision]]\ncamera = "top"\n'
URL = 'url = "/dev/v4l/by-id/usb-cam-video-index0"\n'
STORE = Store(
    name="s",
    products={},
    shelves=(),
    cameras=(
        Camera(
            name="top",
            size_px=(512, 384),
            floor_points=tuple(FloorPoint(px=tuple(p[:2]), mm=tuple(p[2:])) for p in POINTS),
            position_mm=(0.0, 0.0, 3200.0),
        ),
    ),
)


def read(folder, lines):
    path = folder / "settings.toml"
    path.write_text(f'{HEAD}{URL}model = "{config().model}"\n{lines}\n')
    return read_settings(path)


def test_what_is_set_of_a_camera_reaches_its_worker(tmp_path):
    lines = (
        "resolution = [1280, 720]\nfps = 15\ncrop = [10, 20, 300, 200]\n"
        "mask = [[[0, 0], [50.5, 0], [0, 50]]]\ndelay_ms = 120\nblind_after_s = 0"
    )
    got = read(tmp_path, lines)
    assert got.problems == []
    worker = worker_config(got.settings.vision[0], STORE)
    assert worker.resolution == (1280, 720)
    assert (worker.fps, worker.delay_ms, worker.blind_after_s) == (15, 120, 0)
    assert worker.framing.size_wh == (512, 384)
    assert worker.framing.crop == (10, 20, 300, 200)
    assert worker.framing.mask == (((0, 0), (50.5, 0), (0, 50)),)


def test_without_settings_all_of_every_frame_is_looked_at(tmp_path):
    [table] = read(tmp_path, "").settings.vision
    worker = worker_config(table, STORE)
    assert (worker.resolution, worker.fps, worker.crop, worker.mask) == (None, None, None, ())
    assert (worker.delay_ms, worker.blind_after_s) == (None, 5)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("resolution = [0, 720]", "resolution[0]: is 0. Give [width, height] in px, 16 to 8192"),
        ("resolution = 720", "resolution: is a number (720). Give [width, height]"),
        ("fps = 0", "fps: is 0. Give frames a second to take from the camera, above 0"),
        ("crop = [0, 0, 100]", "crop: has 3 entries. Give [x, y, width, height] in pixels"),
        ("crop = [-1, 0, 100, 100]", "crop[0]: is -1. Give [x, y, width, height]"),
        ("mask = [[[0, 0], [1, 1]]]", "mask[0]: has 2 entries. Give at most 100 polygons"),
        ("mask = [[0, 0], [1, 1], [2, 2]]", "mask[0]"),
        ("mask = [[[0, 0], [1, 1], [2, nan]]]", "mask[0][2][1]: is nan. Give a finite number"),
        ("delay_ms = -1", "delay_ms: is -1. Give ms from a picture to its arrival, 0 to 10000"),
        ("blind_after_s = 'no'", 'blind_after_s: is text ("no"). Give seconds frozen or covered'),
    ],
)
def test_a_mistake_names_its_line_and_a_remedy(tmp_path, line, problem):
    got = read(tmp_path, line)
    assert got.settings is None
    told = [str(found) for found in got.problems]
    assert any(f"settings.toml:8: vision[0].{problem}" in text for text in told), told


def test_a_crop_that_leaves_the_calibrations_picture_is_found_by_a_check(tmp_path):
    got = read(tmp_path, "crop = [500, 0, 100, 100]")
    cameras = [item for item in got.tables if isinstance(item[1], Vision)]
    [problem] = check_vision(cameras, STORE)
    assert "crop: [500, 0, 100, 100] leaves the picture of 512x384 px" in str(problem)
    assert "Give [x, y, width, height] inside it" in str(problem)


def test_why_a_camera_is_offline_reaches_the_engine():
    """The status as the worker sends it, through the in-store codec."""
    from drivers.instore.codec import Known, decode
    from gateway.domain.inputs import Stamp

    worker = Worker(config(), None)
    payload = worker._status("offline", "frozen:\nthe same picture " + "x" * 300)
    counts = msgspec.json.decode(payload)["counts"]
    assert counts == dict.fromkeys(
        ("frames", "dropped", "skipped", "thinned", "blind", "refused", "lost"), 0
    )
    camera = Camera(name="cam1", size_px=(9, 9), floor_points=())
    known = Known.of(Store(name="demo", products={}, shelves=(), cameras=(camera,)))
    at = Stamp(mono_ns=0, utc_ns=0, utc_trusted=True, utc_error_ms=None, boot="b")
    got = decode(known, worker.status_topic, payload, retained=True, stamp=at)
    assert got.reason.startswith("frozen:?the same picture xxx")
    assert len(got.reason) == 200
