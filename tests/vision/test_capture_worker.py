# SPDX-License-Identifier: Apache-2.0
"""A worker whose camera sees nothing: what the store's broker hears of it."""

import asyncio

import numpy as np

from tests.vision.test_vision_worker import Broker, Frames, OnePerson, config, running
from vision.timeline import Stamp
from vision.worker import Worker


class Stamped(Frames):
    """A camera whose frames come with the second at which they came."""

    def grab(self):
        given = self.left.get(timeout=50)
        if given is None:
            return None
        second, self.grabbed = given
        return Stamp(round(second * 1e9))


def scene(number):
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.roll(ramp, 40 * number)[:, None], (384, 512, 3)))


def test_a_camera_that_sees_nothing_is_offline_tells_of_nobody_and_comes_back():
    async def main():
        broker, frames = Broker(), Stamped()
        worker = Worker(
            config(), broker.publish, detector=OnePerson(), open_source=lambda _url: frames
        )
        async with running(worker):
            for second in range(5):
                frames.left.put((second, scene(1)))
                await broker.until(lambda told=second + 1: len(broker.of("people")) == told)
            for second in range(5, 9):
                frames.left.put((second, scene(1)))
            await broker.until(lambda: len(broker.of("status")) == 2)
            assert worker.counts.blind >= 1
            frames.left.put((9, scene(2)))
            await broker.until(lambda: len(broker.of("status")) == 3)
            await broker.until(lambda: len(broker.of("people")) == 6)
            frames.left.put(None)
        return worker, broker

    worker, broker = asyncio.run(main())
    online, offline, back = broker.of("status")[:3]
    assert [status["state"] for status in (online, offline, back)] == [
        "online",
        "offline",
        "online",
    ]
    assert offline["reason"] == "frozen: the same picture for 5 s"
    assert (back["counts"]["blind"], back["counts"]["lost"]) == (4, 1)
    assert [message["seq"] for message in broker.of("people")] == [0, 1, 2, 3, 4, 5]
    assert worker.counts.frames == 10


def test_an_unexpected_error_in_the_capture_becomes_the_reason_and_the_worker_goes_on():
    class Fails(Frames):
        def retrieve(self):
            raise RuntimeError("a bug")

    async def main():
        broker, bad, good = Broker(), Fails(), Frames()
        opened = iter([bad, good])
        worker = Worker(
            config(), broker.publish, detector=OnePerson(), open_source=lambda _url: next(opened)
        )
        async with running(worker):
            bad.left.put(bad.blank)
            await broker.until(lambda: len(broker.of("status")) == 2)
            good.left.put(good.blank)
            await broker.until(lambda: len(broker.of("status")) == 3)
            await broker.until(lambda: broker.of("people"))
            good.left.put(None)
        return broker.of("status")

    _, offline, back = asyncio.run(main())[:3]
    assert offline["state"] == "offline"
    assert "RuntimeError at test_capture_worker.py" in offline["reason"]
    assert back["state"] == "online"
