# SPDX-License-Identifier: Apache-2.0
"""The simulated camera: it hangs where the store file says, and OpenCV can read it."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the vision extra is not installed")

from gateway.config import load_store  # noqa: E402
from gateway.simulator.camera import body_of, pinhole, scene_of  # noqa: E402
from gateway.simulator.processes import accepts, free_ports  # noqa: E402
from gateway.simulator.world import World  # noqa: E402
from vision.rendering import HAND_RADIUS_MM, Renderer  # noqa: E402

DEMO = Path(__file__).parents[3] / "fixtures" / "stores" / "demo.toml"


@pytest.fixture(scope="module")
def store():
    return load_store(DEMO)


def test_the_camera_sees_floor_points_where_the_store_file_has_them(store):
    [camera] = store.cameras
    view = pinhole(camera)
    places = [(*point.mm, 0.0) for point in camera.floor_points]
    assert np.abs(view.project(places) - [point.px for point in camera.floor_points]).max() < 0.05
    assert view.position_mm == pytest.approx(camera.position_mm, abs=1)
    # Heights too: a hand above the aisle is seen farther out than the floor below it.
    [hand], [below] = view.project([(500, 0, 1_250)]), view.project([(500, 0, 0)])
    assert hand[0] > below[0] + 20


def test_most_hands_in_shelves_are_seen(store):
    renderer = Renderer(pinhole(store.cameras[0]), scene_of(store))
    seen = total = 0
    for seed in range(2):
        world = World(store, seed, open_doors=True)
        while not world.over:
            for _ in range(15):
                world.step(1 / 60)
            poses = world.poses()
            labels = renderer.labels([body_of(pose) for pose in poses])
            for pose, visible in zip(poses, labels.wrists_visible, strict=True):
                for wrist, good in zip(pose.wrists_mm, visible, strict=True):
                    if abs(wrist[1]) > 900 - HAND_RADIUS_MM:
                        total += 1
                        seen += bool(good)
    assert total > 30
    assert seen / total > 0.75


def test_opencv_reads_live_frames_and_the_end_of_input_ends_the_process(store):
    [port] = free_ports(1)
    command = [sys.executable, "-m", "gateway.simulator.camera", "--store", str(DEMO)]
    command += ["--camera", store.cameras[0].name, "--port", str(port)]
    world = World(store, 1, open_doors=True)
    while not world.poses():
        world.step(1 / 60)
    line = msgspec.json.encode(world.poses()) + b"\n"
    enough = threading.Event()
    with subprocess.Popen(command, stdin=subprocess.PIPE) as camera:

        def feed():
            while not enough.wait(0.03):
                camera.stdin.write(line)
                camera.stdin.flush()

        feeding = threading.Thread(target=feed)
        feeding.start()
        try:
            assert asyncio.run(accepts(port, lambda: camera.poll() is None))
            capture = cv2.VideoCapture(f"http://127.0.0.1:{port}/", cv2.CAP_FFMPEG)
            images = [capture.read() for _ in range(5)]
            capture.release()
        finally:
            enough.set()
            feeding.join()
            camera.stdin.close()
        assert camera.wait(20) == 0
    assert all(good and image.shape == (384, 512, 3) for good, image in images)
