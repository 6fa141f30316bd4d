# SPDX-License-Identifier: Apache-2.0
"""The worker: what it publishes, from rendered video through the models to the contract."""

import asyncio
import contextlib
import json
import logging
import math
import queue
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.domain.store import Plate, Shelf, Store
from vision.appearance import APART2, LOOK
from vision.detectors import Detections, ModelError
from vision.figure import Body, resting_wrists
from vision.geometry import CalibrationError, ShelfFront
from vision.rendering import Renderer
from vision.scenes import demo_camera, demo_scene
from vision.timeline import Stamp
from vision.worker import Worker, WorkerConfig, check, shelf_fronts

CAMERA = demo_camera()
PIXELS = ((60, 60), (450, 60), (450, 330), (60, 330))
POINTS = tuple((float(x), float(y), *map(float, CAMERA.view().floor((x, y))[0])) for x, y in PIXELS)
FRONTS = (ShelfFront((-750, 900), (750, 900), 800, 1250),)


def config(url="fake", **changes):
    models = Path(__file__).parents[2] / "fixtures" / "model"
    fields = {
        "store": "demo",
        "camera": "cam1",
        "url": str(url),
        "model": str(models / "people.onnx"),
        "hands": str(models / "hands.onnx"),
        "fps_max": 1000.0,
        "size_px": (512, 384),
        "floor_points": POINTS,
        "position_mm": (0.0, 0.0, 3200.0),
        "fronts": FRONTS,
    }
    return WorkerConfig(**(fields | changes))


class Broker:
    """Keeps what is published and lets a test wait for what it is looking for."""

    def __init__(self):
        self.messages = []
        self.down = False
        self.refused = asyncio.Event()
        self._new = asyncio.Event()

    async def publish(self, topic, payload, qos=0, *, retain=False):
        if self.down:
            self.refused.set()
            raise ConnectionError("no connection")
        self.messages.append((topic, json.loads(payload), qos, retain))
        self._new.set()

    def of(self, kind):
        return [message for topic, message, _, _ in self.messages if topic.endswith("/" + kind)]

    async def until(self, found):
        while not found():
            self._new.clear()
            await self._new.wait()


@contextlib.asynccontextmanager
async def running(worker):
    stop = asyncio.Event()
    async with asyncio.timeout(240), asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()


class OnePerson:
    """A detector that sees the same person in every frame, at the same floor place."""

    def detect(self, frame):
        height, width = frame.shape[:2]
        view = CAMERA.view()
        scale = np.array([width / 512, height / 384])
        none = np.full((1, 2), np.nan)
        return Detections(
            boxes_xyxy=np.array([[0.0, 0, 10, 10]]),
            scores=np.array([0.9]),
            head_px=none,
            head_scores=np.zeros(1),
            feet_px=view.project((300, -200, 0)) * scale,
            feet_scores=np.ones(1),
            wrists_px=np.stack([view.project((200, 960, 1000)) * scale, none], axis=1),
            wrist_scores=np.array([[0.9, 0.0]]),
        )


class Frames:
    """A camera that the test feeds."""

    live, period_ns = False, 50_000_000

    def __init__(self, size_wh=(512, 384)):
        self.left = queue.Queue()
        self.blank = np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)

    def grab(self):
        self.grabbed = self.left.get(timeout=50)
        return None if self.grabbed is None else Stamp(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def retrieve(self):
        return self.grabbed

    def close(self):
        pass


async def feed(broker, frames, count):
    """Give the camera frames one by one, each when the one before was told of."""
    for _ in range(count):
        known = len(broker.of("people"))
        frames.left.put(frames.blank)
        await broker.until(lambda known=known: len(broker.of("people")) > known)


@pytest.mark.parametrize("size_wh", [(512, 384), (1024, 768)])
def test_people_are_published_by_the_contract(size_wh, caplog):
    caplog.set_level(logging.INFO, logger="vision.worker")

    async def main():
        broker, frames = Broker(), Frames(size_wh)
        worker = Worker(
            config(), broker.publish, detector=OnePerson(), open_source=lambda _url: frames
        )
        async with running(worker):
            await feed(broker, frames, 2)
            while not broker.of("people")[-1]["people"]:
                await feed(broker, frames, 1)
            frames.left.put(None)
        return worker, broker

    worker, broker = asyncio.run(main())
    told = "camera cam1: looks up to 1000 times a second, with people.onnx in onnxruntime"
    assert caplog.text.count(told) == 1
    assert len(worker.boot) == 16
    assert int(worker.boot, 16) >= 0
    messages = broker.of("people")
    assert [message["seq"] for message in messages] == list(range(len(messages)))
    times = [message["t_ms"] for message in messages]
    assert times == sorted(times)
    for message in messages:
        assert message["v"] == 1
        assert message["boot"] == worker.boot
        assert message["host_mono_ms"] > 0
        assert message["host_boot"]
    assert messages[0]["people"] == []  # the first sighting may be noise
    [person] = messages[-1]["people"]
    assert person["track"] == "1"
    assert np.allclose(person["floor_mm"], [300, -200], atol=2)
    assert person["floor_sigma_mm"] >= 40
    assert "appearance" not in person  # of so small a box nothing can be said
    [wrist] = person["wrists"]
    assert np.allclose(wrist["mm"], [200, 960, 1000], atol=25)
    assert wrist["ray_mm"][0] == [0, 0, 3200]
    assert {qos for topic, _, qos, _ in broker.messages if topic.endswith("people")} == {0}


def test_the_status_follows_the_camera_and_is_retained():
    async def main():
        broker, first, second = Broker(), Frames(), Frames()
        opened = iter([first, second])
        worker = Worker(
            config(), broker.publish, detector=OnePerson(), open_source=lambda _url: next(opened)
        )
        async with running(worker):
            await feed(broker, first, 1)
            first.left.put(None)
            await broker.until(lambda: len(broker.of("status")) == 2)
            await feed(broker, second, 1)
            await broker.until(lambda: len(broker.of("status")) == 3)
            second.left.put(None)
        return worker, broker

    worker, broker = asyncio.run(main())
    statuses = broker.of("status")
    states = [status["state"] for status in statuses]
    assert states[:3] == ["online", "offline", "online"]
    assert states[-1] == "offline"
    assert "no more frames" in statuses[1]["reason"]
    assert statuses[-1]["reason"] == "stopped"
    assert {status["boot"] for status in statuses} == {worker.boot}
    kept = [(qos, retain) for topic, _, qos, retain in broker.messages if "status" in topic]
    assert set(kept) == {(1, True)}
    topic, payload = worker.will
    assert topic == "shelfgate/v1/demo/camera/cam1/status"
    assert json.loads(payload)["state"] == "offline"
    assert json.loads(payload)["boot"] == worker.boot


def test_a_camera_that_falls_silent_is_told_and_told_back():
    async def main():
        broker, frames = Broker(), Frames()
        worker = Worker(
            config(),
            broker.publish,
            detector=OnePerson(),
            open_source=lambda _url: frames,
            silence_s=0.02,
        )
        async with running(worker):
            await broker.until(lambda: len(broker.of("status")) == 2)
            frames.left.put(frames.blank)
            await broker.until(lambda: len(broker.of("status")) >= 3)
            frames.left.put(None)
        return broker.of("status")

    statuses = asyncio.run(main())
    assert [status["state"] for status in statuses[:3]] == ["online", "offline", "online"]
    assert statuses[1]["reason"] == "no frame for 0.02 s"


def test_of_a_camera_that_comes_and_goes_faster_than_it_can_be_told_the_newest_counts():
    async def main():
        broker, frames = Broker(), Frames()
        worker = Worker(
            config(), broker.publish, detector=OnePerson(), open_source=lambda _url: frames
        )
        async with running(worker):
            await feed(broker, frames, 1)
            for number in range(1_000):
                worker._note(f"gone {number}")
                worker._note(None)
            worker._note("gone at last")
            await broker.until(lambda: len(broker.of("status")) == 2)
            frames.left.put(None)
        return broker.of("status")

    statuses = asyncio.run(main())
    assert [status.get("reason") for status in statuses[:2]] == [None, "gone at last"]
    assert len(statuses) <= 4  # The camera's real end, and the worker's.


def test_without_a_connection_frames_are_lost_and_counted_and_the_worker_goes_on():
    async def main():
        broker, frames = Broker(), Frames()
        worker = Worker(
            config(), broker.publish, detector=OnePerson(), open_source=lambda _url: frames
        )
        async with running(worker):
            await feed(broker, frames, 1)
            broker.down = True
            frames.left.put(frames.blank)
            await broker.refused.wait()
            broker.down = False
            await feed(broker, frames, 1)
            frames.left.put(None)
        return worker, broker

    worker, broker = asyncio.run(main())
    assert worker.messages_lost >= 1
    assert [message["seq"] for message in broker.of("people")] == [0, 2]


def test_a_view_or_model_that_cannot_be_used_is_refused(tmp_path):
    broker = None
    with pytest.raises(CalibrationError, match="Give 4 or more"):
        Worker(config(floor_points=POINTS[:3]), broker)
    with pytest.raises(CalibrationError, match="Give position_mm"):
        Worker(config(position_mm=None), broker)

    with pytest.raises(CalibrationError, match="Give 4 or more"):
        check(config(floor_points=POINTS[:3]))
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"no model")
    for model, problem in ((tmp_path / "none.onnx", "no such file"), (rubbish, "rubbish.onnx")):
        unfit = config(model=str(model))
        with pytest.raises(ModelError, match=problem):
            check(unfit)
        with pytest.raises(ModelError, match=problem):
            asyncio.run(Worker(unfit, Broker().publish).run(asyncio.Event()))
    check(config())


def test_shelf_fronts_are_one_for_each_gondola_side():
    plates = (Plate(name="p", offset_mm=0, width_mm=500),)
    line = (750.0, 900.0, -750.0, 900.0)
    shelves = [
        Shelf(
            name=f"g1.s{level}",
            gondola="g1",
            front_mm=line,
            z_mm=height,
            depth_mm=350 - 50 * level,
            plates=plates,
        )
        for level, height in enumerate((800.0, 1250.0))
    ]
    fronts = shelf_fronts(Store(name="s", products={}, shelves=tuple(shelves)))
    levels = (800.0, 1250.0)
    assert fronts == (ShelfFront((750.0, 900.0), (-750.0, 900.0), *levels, levels, 350.0),)


def walker(share):
    """Return someone who goes along the aisle and reaches to a shelf half-way."""
    x = -700 + 1400 * share
    rest = resting_wrists((x, 450.0), math.pi / 2, 1700.0)
    wrists = (rest[0], (x + 100, 960.0, 1000.0)) if 0.4 < share < 0.6 else rest
    return Body((x, 450.0), math.pi / 2, 1700.0, wrists, look=11)


def test_a_rendered_video_becomes_a_track_and_wrists_at_the_shelf(tmp_path):
    path = tmp_path / "aisle.mp4"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (512, 384))
    renderer, rng = Renderer(CAMERA, demo_scene()), np.random.default_rng(2)
    for number in range(80):
        video.write(renderer.render([walker(number / 80)], rng))
    video.release()

    async def main():
        broker = Broker()

        def at_the_shelf():
            return [
                person
                for message in broker.of("people")
                for person in message["people"]
                if any(wrist["mm"][1] > 900 for wrist in person["wrists"])
            ]

        async with running(Worker(config(path, fps_max=20.0), broker.publish)):
            await broker.until(at_the_shelf)
        return broker, at_the_shelf()

    broker, reaching = asyncio.run(main())
    for message in broker.of("people"):
        for person in message["people"]:
            assert abs(person["floor_mm"][1] - 450) < 200
            assert abs(person["floor_mm"][0]) < 900
    looks = [
        person["appearance"]
        for message in broker.of("people")
        for person in message["people"]
        if "appearance" in person
    ]
    assert looks
    assert {len(look) for look in looks} == {LOOK}
    assert np.var(looks, axis=0).sum() < APART2 / 4  # all of one body
    for person in reaching:
        wrist = min(person["wrists"], key=lambda wrist: abs(wrist["mm"][1] - 960))
        assert abs(wrist["mm"][0] - person["floor_mm"][0] - 100) < 250
        assert 800 < wrist["mm"][2] < 1300
