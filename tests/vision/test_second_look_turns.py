# SPDX-License-Identifier: Apache-2.0
"""A second look has a second: what it leaves out then, and that the camera sees on meanwhile."""

import asyncio
import itertools
import json
import threading

import numpy as np
import pytest

from tests.vision.test_second_look import REQUEST, Colours, picture
from tests.vision.test_vision_worker import Broker, Frames, config, feed, running
from vision import worker as worker_module
from vision.capture import Frame
from vision.recall import Recall
from vision.second_look import SecondLook, middle_first, read_request
from vision.worker import Worker

NOW_NS = 100_000_000_000
COUNT = 61
WHOLE = (384, 512)


class Time:
    """A clock that only detections move, each by as much, and a live one before each."""

    def __init__(self, takes_s, live_s=0.0, left_s=1.0):
        self.takes_s, self.live_s, self.left = takes_s, live_s, left_s
        self.seen = []

    def left_s(self):
        return self.left

    async def timed(self, call, kept, *values):
        self.left -= self.live_s
        people = call(kept, *values)
        if people is not None:
            self.left -= self.takes_s
            assert self.left >= 0.0, "a detection that ends too late"
            self.seen.append(kept.number)
        return people, self.takes_s


@pytest.fixture(scope="module")
def second():
    """Return a look back on three seconds, with twenty small pictures a second."""
    recall = Recall()
    for number in range(COUNT):
        at_ns = NOW_NS - 50_000_000 * (COUNT - 1 - number)
        image = np.zeros((48, 64, 3), np.uint8)
        recall.keep(Frame(image, number, at_ns, (64, 48)))
    placer = Worker(config(), None)._placer
    return SecondLook(recall, placer, Colours())


def answered(second, clock, known_s):
    request = read_request(json.dumps(REQUEST | {"ago_ms": [3_000, 0]}).encode())
    work = second.answer_within(request, NOW_NS, clock.left_s, known_s, clock.timed)
    return asyncio.run(work)


def test_a_look_is_thinned_to_its_time_from_the_middle_outwards(second):
    clock = Time(0.1, live_s=0.1)
    first_ns, frames = answered(second, clock, 0.1)
    assert len(frames) == len(clock.seen) == 5
    middle = COUNT // 2
    away = [abs(number - middle) for number in clock.seen]
    assert away == sorted(away)
    assert clock.seen[0] == middle
    assert np.ptp(clock.seen) > 0.7 * COUNT, "they are spread over the time that was asked for"
    times = [first_ns + 1_000_000 * frame["after_ms"] for frame in frames]
    assert times == [NOW_NS - 50_000_000 * (COUNT - 1 - one) for one in sorted(clock.seen)]


@pytest.mark.parametrize("known_s", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("live_s", [0.0, 0.3])
def test_a_look_ends_in_time_however_slow_detections_are(second, known_s, live_s):
    clock = Time(0.3, live_s)
    _, frames = answered(second, clock, known_s)
    assert 1 <= len(frames) <= 3


def test_a_model_too_slow_for_any_look_says_that_there_is_nothing_to_tell(second):
    for clock, known_s in ((Time(1.5), 1.5), (Time(0.1, left_s=-0.5), 0.0)):
        assert answered(second, clock, known_s) == (NOW_NS, [])
        assert clock.seen == []


def test_the_frames_nearest_the_middle_come_first():
    assert middle_first([], 3) == []
    assert middle_first("abcdefg", 1) == ["d"]
    assert middle_first("abcdefg", 3) == ["d", "b", "f"]
    assert sorted(middle_first("abcdefg", 9)) == list("abcdefg")


class Turns(Colours):
    """Keeps, on each square of a look, the camera's next frame waiting for its turn."""

    def __init__(self, frames):
        super().__init__()
        self.frames, self.wanted = frames, threading.Event()
        self.in_time = []
        self.clock_s = 0.0

    def detect(self, frame):
        if frame.shape[:2] != WHOLE:
            self.clock_s += 0.3
            self.wanted.clear()
            self.frames.left.put(self.frames.blank)
            self.in_time.append(self.wanted.wait(20.0))
        return super().detect(frame)


def test_the_camera_sees_on_during_a_look_and_the_look_ends_in_time(monkeypatch):
    async def main():
        broker, frames = Broker(), Frames()
        frames.blank = picture()
        detector = Turns(frames)
        worker = Worker(
            config(blind_after_s=0.0),
            broker.publish,
            detector=detector,
            open_source=lambda _url: frames,
        )
        boottime_ns, timed = worker_module.boottime_ns, worker._timed

        async def noted(calls, call, *values):
            if call.__name__ == "people":
                detector.wanted.set()
            return await timed(calls, call, *values)

        monkeypatch.setattr(worker, "_timed", noted)
        async with running(worker):
            await feed(broker, frames, 6)
            worker._pace._took_s.clear()  # However slow this machine is.
            started_ns = boottime_ns()
            monkeypatch.setattr(
                worker_module, "boottime_ns", lambda: started_ns + round(1e9 * detector.clock_s)
            )
            before = len(detector.sizes)
            worker.look(json.dumps(REQUEST).encode())
            await broker.until(lambda: broker.of("looked"))
            frames.left.put(None)
        return broker.of("looked")[0], detector, detector.sizes[before:]

    looked, detector, sizes = asyncio.run(main())
    assert 1 <= len(looked["frames"]) <= 4
    assert all(detector.in_time), "a frame waited for the end of the look"
    closer = [size != WHOLE for size in sizes]
    assert not any(one and next_one for one, next_one in itertools.pairwise(closer))
